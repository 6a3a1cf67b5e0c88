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

N_COLUMNS = 1021  # a prime: no layer's width divides it, so the columns mix
_END_ENTRIES = 512  # entries of a long container that count, at its start and as many at its end
_IGNORED_TYPES = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_PRIMITIVE_TYPES = (bool, int, float, complex, str, bytes, type(None), PurePath)


def hash_state(predictor, modules: list[types.ModuleType] = ()) -> str:
    """sha256 in hex of all that ``method`` holds, and the globals of ``modules`` with what their classes hold.

    Functions are not state, nor are the modules and classes that something refers to.
    """
    hasher = hashlib.sha256()
    visited: dict[int, tuple[int, object]] = {}  # with the object itself, so that no other gets its id
    pending = [("", predictor), *((module.__name__, _get_module_state(module)) for module in modules)]
    while pending:
        name, value = pending.pop()
        hasher.update(f"{name}:{type(value).__name__}|".encode())
        if isinstance(value, _PRIMITIVE_TYPES):
            hasher.update(repr(value).encode())
        elif isinstance(value, _IGNORED_TYPES):
            continue
        elif id(value) in visited:
            hasher.update(b"%d" % visited[id(value)][0])
        else:
            visited[id(value)] = len(visited), value
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                hasher.update(f"{value.dtype}{tuple(value.shape)}".encode())
                hasher.update(digest_tensor(value.detach().contiguous().reshape(-1).view(torch.uint8)))
            elif isinstance(value, np.ndarray) and value.dtype != object:
                hasher.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
            else:
                pending += _list_children(value)
    return hasher.hexdigest()


def _get_module_state(module: types.ModuleType) -> dict:
    """The globals of a module and, by "Class.name", of the classes that it defines; none of Python's own entries."""
    namespace = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    classes = [value for value in namespace.values() if isinstance(value, type) and value.__module__ == module.__name__]
    return namespace | {
        f"{cls.__name__}.{name}": value
        for cls in classes
        for name, value in vars(cls).items()
        if not name.startswith("__")
    }


def digest_tensor(data: torch.Tensor) -> bytes:
    """What stands for a tensor's bytes: their CRC-32, or on a GPU their column sums."""
    if data.device.type == "cpu":
        return b"%d" % zlib.crc32(data.numpy())
    ints = data[: len(data) // 4 * 4].view(torch.int32)
    n_folded = len(ints) // N_COLUMNS * N_COLUMNS
    column_sums = ints[:n_folded].view(-1, N_COLUMNS).sum(0, dtype=torch.int64)
    return torch.cat([column_sums, ints[n_folded:].long(), data[len(ints) * 4 :].long()]).cpu().numpy().tobytes()


def _list_children(value) -> list[tuple[str, object]]:
    """What an object holds, named: a container's entries, else its attributes."""
    if isinstance(value, dict):
        return [
            (f"[{_format_key(key)}]", content) for key, content in _take_head_and_tail(value.items(), len(value))
        ] + _make_length_entry(value)
    if isinstance(value, (list, tuple)):
        return [(f"[{i}]", held) for i, held in enumerate(_take_head_and_tail(value, len(value)))] + _make_length_entry(
            value
        )
    if isinstance(value, (set, frozenset)):
        return [
            ("{}", key) for key in _take_head_and_tail(sorted(map(_format_key, value)), len(value))
        ] + _make_length_entry(value)
    held = dict(getattr(value, "__dict__", {}))
    held |= {name: getattr(value, name) for name in _list_slot_names(type(value)) if hasattr(value, name)}
    return [(f".{name}", held[name]) for name in sorted(held)] or _list_reduced_children(value)


def _list_reduced_children(value) -> list[tuple[str, object]]:
    """The parts of what ``copy`` would make it from; none of what can't be copied, as a lock or an open file."""
    try:
        reduced_value = value.__reduce_ex__(4)
    except (TypeError, ValueError, RuntimeError):
        return []
    fields = [reduced_value] if isinstance(reduced_value, str) else reduced_value
    return [(f"~{i}", list(field) if isinstance(field, Iterator) else field) for i, field in enumerate(fields)]


def _format_key(key) -> str:
    """A key's own text where it has one, else its type: an optimiser's keys are tensors, which are met elsewhere."""
    if isinstance(key, tuple):
        return f"({', '.join(map(_format_key, key))})"
    return repr(key) if isinstance(key, _PRIMITIVE_TYPES) else type(key).__name__


def _list_slot_names(cls: type) -> list[str]:
    slot_groups = [getattr(base, "__slots__", ()) for base in cls.__mro__]
    return [
        name for group in slot_groups for name in ((group,) if isinstance(group, str) else group) if name[:2] != "__"
    ]


def _take_head_and_tail(items, size: int) -> list:
    """All of a short container, the first and the last ENDS entries of a long one."""
    if size <= 2 * _END_ENTRIES:
        return list(items)
    return [*islice(items, _END_ENTRIES), *islice(reversed(items), _END_ENTRIES)]


def _make_length_entry(value) -> list[tuple[str, int]]:
    return [("len", len(value))]
