"""JSON files that a stage writes for others: each key has a type and a range, and a digest shows any edit.

A sealed file has the key ``digest``, the sha256 of all its other keys. As in a lineage record it is no signature.
A type is one that ``golf.config.validation`` knows, or ``dict`` or ``list`` for any object or array.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from golf.artifacts import io
from golf.config.validation import Range, coerce, format_value
from golf.errors import ArtifactError

__all__ = [
    "Count",
    "PositiveCount",
    "Seconds",
    "Sha256",
    "find_type_errors",
    "read_record",
    "read_sealed",
    "require_keys",
    "write_sealed",
]

_DIGEST = "digest"
_HEX_DIGITS = frozenset("0123456789abcdef")


class _Sha256Text:
    """64 lower-case hex digits, in place of a Range."""

    def contains(self, value: str) -> bool:
        return len(value) == 64 and set(value) <= _HEX_DIGITS

    def __str__(self) -> str:
        return "64 hex digits"


Seconds = Annotated[float, Range(low=0, high=1e9)]  # at most 30 years
Count = Annotated[int, Range(low=0, high=1 << 53)]  # exact in every reader of JSON
PositiveCount = Annotated[int, Range(low=1, high=1 << 53)]
Sha256 = Annotated[str, _Sha256Text()]


def write_sealed(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object with its digest; a ``digest`` that it already has is replaced."""
    body = _drop_digest(record)
    io.write_json(path, body | {_DIGEST: io.sha256_json(body)})


def read_sealed(path: str | Path, **types: Any) -> dict[str, Any]:
    """Return the object in a sealed file, without its digest. types: the type of each key that it must have.

    Raises ArtifactError naming a missing, mistyped or out-of-range key, or saying that the file was edited.
    """
    record = read_record(path, **types, **{_DIGEST: str})
    body = _drop_digest(record)
    if io.sha256_json(body) != record[_DIGEST]:
        raise ArtifactError(path, "does not match its digest: it was edited")
    return body


def read_record(path: str | Path, **types: Any) -> dict[str, Any]:
    """Return the object in a JSON file without digest. types: the type of each key that it must have.

    Raises ArtifactError naming a missing, mistyped or out-of-range key.
    """
    return require_keys(path, io.read_json(path), types)


def require_keys(
    path: str | Path, record: Mapping[str, Any], types: Mapping[str, Any], location: str = "", hint: str | None = None
) -> dict[str, Any]:
    """Return a copy of ``record``, which stands in the file at ``path``, once it has each key with its type.

    location: the dotted key of ``record`` in the file. Raises ArtifactError.
    """
    prefix = f"{location}." if location else ""
    if missing := [f"{prefix}{key}" for key in types if key not in record]:
        raise ArtifactError(path, f"lacks {', '.join(missing)}", hint)
    if problems := find_type_errors(record, types, prefix):
        raise ArtifactError(path, "; ".join(problems), hint)
    return dict(record)


def find_type_errors(record: Mapping[str, Any], types: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for each key of ``types`` whose value in ``record`` is of another type or out of range."""
    return [problem for key, type_hint in types.items() for problem in _check(type_hint, record[key], prefix + key)]


def _check(type_hint: Any, value: object, key_path: str) -> list[str]:
    if type_hint in (dict, list):
        name = "an object" if type_hint is dict else "a list"
        return [] if isinstance(value, type_hint) else [f"{key_path}: must be {name}, got {format_value(value)}"]
    return coerce(type_hint, value, key_path)[1]


def _drop_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != _DIGEST}
