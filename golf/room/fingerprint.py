"""The state of a method in one hash: every tensor, array and number that can be reached from it.

A tensor on the CPU counts with the CRC-32 of its bytes, as a hash would take a share of the evaluation. One on a GPU is
summed there by columns, as integers of its bits, so that it need not be copied. A change that keeps the CRC, or these
1,021 sums, is not seen. Of long containers the length and both ends count.
An object of C without attributes, as a deque, counts with what a copy of it would be made from.
"""

import hashlib
import types
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath

import numpy as np
import torch

COLUMNS = 1021  # a prime: no layer's width divides it, so the columns mix
ENDS = 512  # entries of a long container that count, at its start and as many at its end
PASSED_OVER = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
PLAIN = (bool, int, float, complex, str, bytes, type(None), PurePath)


def of(method, modules: list[types.ModuleType] = ()) -> str:
    """sha256 in hex of all that ``method`` holds, and the globals of ``modules`` with what their classes hold.

    Functions are not state, nor are the modules and classes that something refers to.
    """
    total = hashlib.sha256()
    met: dict[int, tuple[int, object]] = {}  # with the object itself, so that no other gets its id
    waiting = [("", method), *((module.__name__, own(module)) for module in modules)]
    while waiting:
        name, value = waiting.pop()
        total.update(f"{name}:{type(value).__name__}|".encode())
        if isinstance(value, PLAIN):
            total.update(repr(value).encode())
        elif isinstance(value, PASSED_OVER):
            continue
        elif id(value) in met:
            total.update(b"%d" % met[id(value)][0])
        else:
            met[id(value)] = len(met), value
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                total.update(f"{value.dtype}{tuple(value.shape)}".encode())
                total.update(digits(value.detach().contiguous().reshape(-1).view(torch.uint8)))
            elif isinstance(value, np.ndarray) and value.dtype != object:
                total.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
            else:
                waiting += parts(value)
    return total.hexdigest()


def own(module: types.ModuleType) -> dict:
    """The globals of a module and, by "Class.name", of the classes that it defines; none of Python's own entries."""
    held = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    classes = [value for value in held.values() if isinstance(value, type) and value.__module__ == module.__name__]
    return held | {
        f"{cls.__name__}.{name}": value
        for cls in classes
        for name, value in vars(cls).items()
        if not name.startswith("__")
    }


def digits(data: torch.Tensor) -> bytes:
    """What stands for a tensor's bytes: their CRC-32, or on a GPU their column sums."""
    if data.device.type == "cpu":
        return b"%d" % zlib.crc32(data.numpy())
    words = data[: len(data) // 4 * 4].view(torch.int32)
    whole = len(words) // COLUMNS * COLUMNS
    sums = words[:whole].view(-1, COLUMNS).sum(0, dtype=torch.int64)
    return torch.cat([sums, words[whole:].long(), data[len(words) * 4 :].long()]).cpu().numpy().tobytes()


def parts(value) -> list[tuple[str, object]]:
    """What an object holds, named: a container's entries, else its attributes."""
    if isinstance(value, dict):
        return [(f"[{key_of(key)}]", held) for key, held in both_ends(value.items(), len(value))] + length(value)
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", held) for i, held in enumerate(both_ends(value, len(value)))] + length(value)
    if isinstance(value, (set, frozenset)):
        return [("{}", key) for key in both_ends(sorted(map(key_of, value)), len(value))] + length(value)
    held = dict(getattr(value, "__dict__", {}))
    held |= {name: getattr(value, name) for name in slots(type(value)) if hasattr(value, name)}
    return [(f".{name}", held[name]) for name in sorted(held)] or reduced(value)


def reduced(value) -> list[tuple[str, object]]:
    """The parts of what ``copy`` would make it from; none of what can't be copied, as a lock or an open file."""
    try:
        recipe = value.__reduce_ex__(4)
    except (TypeError, ValueError, RuntimeError):
        return []
    steps = [recipe] if isinstance(recipe, str) else recipe
    return [(f"~{i}", list(step) if isinstance(step, Iterator) else step) for i, step in enumerate(steps)]


def key_of(key) -> str:
    """A key's own text where it has one, else its type: an optimiser's keys are tensors, which are met elsewhere."""
    if isinstance(key, tuple):
        return f"({', '.join(map(key_of, key))})"
    return repr(key) if isinstance(key, PLAIN) else type(key).__name__


def slots(cls: type) -> list[str]:
    named = [getattr(base, "__slots__", ()) for base in cls.__mro__]
    return [name for group in named for name in ((group,) if isinstance(group, str) else group) if name[:2] != "__"]


def both_ends(items, size: int) -> list:
    """All of a short container, the first and the last ENDS entries of a long one."""
    if size <= 2 * ENDS:
        return list(items)
    return [*islice(items, ENDS), *islice(reversed(items), ENDS)]


def length(value) -> list[tuple[str, int]]:
    return [("len", len(value))]
