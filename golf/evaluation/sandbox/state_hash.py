"""Hash a predictor's state: every tensor, array, number and string that can be reached from it.

A CPU tensor counts with the CRC-32 of its bytes, because a cryptographic hash would take a noticeable share of the
evaluation. A GPU tensor is summed by columns on the GPU, as integers of its bits, so that it is not copied. A change
that keeps the CRC, or all 1,021 sums, is not seen. Of a long container only the length and both ends count.
Objects implemented in C without attributes, and those whose attributes are only a part (such as a deque's subclass or
``random.Random``), are hashed through ``__reduce_ex__``.
"""

import collections
import hashlib
import random
import types
import zlib
from collections.abc import Iterator, Reversible, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

__all__ = ["N_HASH_COLUMNS", "digest_tensor", "hash_state"]

N_HASH_COLUMNS = 1021  # a prime, which divides no layer's width, so that each sum mixes columns
_END_ENTRIES = 512  # entries of a long container that count, at each end
_IGNORED_TYPES = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_REDUCED_TYPES = (collections.deque, bytearray, random.Random)  # instances may have attributes beside what C keeps
_PRIMITIVE_TYPES = (bool, int, float, complex, str, bytes, type(None), PurePath)


def hash_state(predictor: object, modules: Sequence[types.ModuleType] = ()) -> str:
    """Hash everything ``predictor`` holds, the globals of ``modules`` and their classes' attributes: sha256 in hex.

    Functions are not state, nor are modules and classes that an object refers to.
    """
    hasher = hashlib.sha256()
    visited: dict[int, tuple[int, object]] = {}  # keeps the object alive, so that its id is not reused
    pending: list[tuple[str, Any]] = [("", predictor)]
    pending += [(module.__name__, _get_module_state(module)) for module in modules]
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


def _get_module_state(module: types.ModuleType) -> dict[str, Any]:
    """A module's globals and, as "Class.name", the attributes of classes that it defines, without dunder names."""
    namespace = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    classes = [value for value in namespace.values() if isinstance(value, type) and value.__module__ == module.__name__]
    return namespace | {
        f"{cls.__name__}.{name}": value
        for cls in classes
        for name, value in vars(cls).items()
        if not name.startswith("__")
    }


def digest_tensor(data: torch.Tensor) -> bytes:
    """Digest a flat uint8 tensor: its CRC-32, or on a GPU its column sums and the bytes after the last full row."""
    if data.device.type == "cpu":
        return b"%d" % zlib.crc32(data.numpy())
    ints = data[: len(data) // 4 * 4].view(torch.int32)
    n_folded = len(ints) // N_HASH_COLUMNS * N_HASH_COLUMNS
    column_sums = ints[:n_folded].view(-1, N_HASH_COLUMNS).sum(0, dtype=torch.int64)
    return torch.cat([column_sums, ints[n_folded:].long(), data[len(ints) * 4 :].long()]).cpu().numpy().tobytes()


def _list_children(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, by name: its attributes, those of its class's slots, and a container's entries."""
    attributes = _list_attributes(value)
    if isinstance(value, dict):
        entries = [(f"[{_format_key(key)}]", item) for key, item in _take_head_and_tail(value.items(), len(value))]
        return [*entries, ("len", len(value)), *attributes]
    if isinstance(value, (list, tuple)):
        entries = [(f"[{i}]", item) for i, item in enumerate(_take_head_and_tail(value, len(value)))]
        return [*entries, ("len", len(value)), *attributes]
    if isinstance(value, (set, frozenset)):
        entries = [("{}", key) for key in _take_head_and_tail(sorted(map(_format_key, value)), len(value))]
        return [*entries, ("len", len(value)), *attributes]
    if isinstance(value, _REDUCED_TYPES):
        return [*attributes, *_list_reduced_children(value)]
    return attributes or _list_reduced_children(value)


def _list_attributes(value: Any) -> list[tuple[str, Any]]:
    """The attributes of an instance and those in slots, by name."""
    attributes = {name: held for name, held in getattr(value, "__dict__", {}).items() if isinstance(name, str)}
    attributes |= {name: getattr(value, name) for name in _list_slot_names(type(value)) if hasattr(value, name)}
    return [(f".{name}", attributes[name]) for name in sorted(attributes)]


def _list_reduced_children(value: Any) -> list[tuple[str, Any]]:
    """The parts that ``copy`` would rebuild an object from; none for one that cannot be copied, such as a lock."""
    try:
        reduced_value = value.__reduce_ex__(4)
    except (TypeError, ValueError, RuntimeError):
        return []
    fields = [reduced_value] if isinstance(reduced_value, str) else reduced_value
    return [(f"~{i}", list(field) if isinstance(field, Iterator) else field) for i, field in enumerate(fields)]


def _format_key(key: object) -> str:
    """A primitive key's text, else its type: an optimizer's keys are tensors, which are hashed where they are held."""
    if isinstance(key, tuple):
        return f"({', '.join(map(_format_key, key))})"
    return repr(key) if isinstance(key, _PRIMITIVE_TYPES) else type(key).__name__


def _list_slot_names(cls: type) -> list[str]:
    slot_groups = [getattr(base, "__slots__", ()) for base in cls.__mro__]
    return [
        name for group in slot_groups for name in ((group,) if isinstance(group, str) else group) if name[:2] != "__"
    ]


def _take_head_and_tail(items: Reversible[Any], size: int) -> list[Any]:
    """All entries of a short container, the first and last ``_END_ENTRIES`` of a long one."""
    if size <= 2 * _END_ENTRIES:
        return list(items)
    return [*islice(items, _END_ENTRIES), *islice(reversed(items), _END_ENTRIES)]
