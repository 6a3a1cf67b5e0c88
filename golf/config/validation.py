"""Strict conversion of mappings to frozen dataclasses; every unknown, missing or invalid key is reported.

A field's type is its contract: ``int``, ``float``, ``bool``, ``str``, ``Literal[...]``, ``X | None``,
``tuple[X, ...]``, a nested dataclass, or any of these as ``Annotated[type, Range]``; another object with Range's
methods may stand for the Range. A dataclass may define ``validate()``, which yields (key, message) for contradictions
between its fields. It is called if all fields are valid, even where the mapping has unknown keys or a nested dataclass
has contradictions, so that no problem hides another.
"""

import dataclasses
import math
import reprlib
import sys
import types
import typing
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Decay",
    "Fraction",
    "NonNegativeInt",
    "Range",
    "coerce",
    "format_value",
    "from_mapping",
]


@dataclass(frozen=True)
class Range:
    """Allowed numbers: from ``low`` to ``high``, both included unless ``open_low`` or ``open_high`` is set."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def contains(self, value: float) -> bool:
        """Return whether ``value`` is allowed."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"{'above' if self.open_low else 'at least'} {self.low:,}" if self.low > -math.inf else ""
        high = f"{'below' if self.open_high else 'at most'} {self.high:,}" if self.high < math.inf else ""
        return " and ".join(part for part in (low, high) if part)


NonNegativeInt = typing.Annotated[int, Range(low=0)]
Fraction = typing.Annotated[float, Range(low=0, high=1)]
Decay = typing.Annotated[float, Range(low=0, high=1, open_high=True)]


def from_mapping(cls: type, mapping: object, key_path: str) -> tuple[Any, list[str]]:
    """Return an instance of dataclass ``cls`` from ``mapping``, and the problems, each starting with its dotted key.

    The instance is valid only if the list is empty; it is None if a field is missing or invalid.

    key_path: the dotted key of ``mapping`` itself.
    """
    prefix = f"{key_path}." if key_path else ""
    if not isinstance(mapping, dict):
        return None, [f"{key_path or 'the file'}: expected a section with keys, got {format_value(mapping)}"]
    type_hints = typing.get_type_hints(cls, include_extras=True)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key in mapping:
        if key not in type_hints:
            name = key[:60] if isinstance(key, str) and key.isprintable() else format_value(key)
            problems.append(f"{prefix}{name}: unknown key")
    for key, type_hint in type_hints.items():
        if key not in mapping:
            problems.append(f"{prefix}{key}: missing")
            continue
        result, value_problems = coerce(type_hint, mapping[key], f"{prefix}{key}")
        problems += value_problems
        if result is not None or not value_problems:
            values[key] = result
    if len(values) < len(type_hints):
        return None, problems
    result = cls(**values)
    contradictions = getattr(result, "validate", lambda: ())()
    return result, problems + [f"{prefix}{key}: {message}" for key, message in contradictions]


def coerce(type_hint: Any, value: object, key_path: str) -> tuple[Any, list[str]]:
    """Return ``value`` converted to ``type_hint``, or None if it is invalid, and the problems."""
    if typing.get_origin(type_hint) is typing.Annotated:
        base, allowed = typing.get_args(type_hint)
        result, problems = coerce(base, value, key_path)
        if not problems and not allowed.contains(result):
            return None, [f"{key_path}: must be {allowed}, got {format_value(value)}"]
        return result, problems
    if dataclasses.is_dataclass(type_hint):
        return from_mapping(typing.cast(type, type_hint), value, key_path)
    origin, type_args = typing.get_origin(type_hint), typing.get_args(type_hint)
    if origin is typing.Literal:
        if value in type_args and type(value) in {type(a) for a in type_args}:
            return value, []
        return None, [f"{key_path}: must be one of {', '.join(map(str, type_args))}, got {format_value(value)}"]
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in type_args:
            return None, []
        result, problems = coerce(next(a for a in type_args if a is not type(None)), value, key_path)
        return result, [problem.replace(", got", " or null, got", 1) for problem in problems]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return None, [f"{key_path}: must be a list, got {format_value(value)}"]
        items = [coerce(type_args[0], item, f"{key_path}[{i}]") for i, item in enumerate(value)]
        problems = [problem for _, item_problems in items for problem in item_problems]
        return None if problems else tuple(item for item, _ in items), problems
    return _coerce_scalar(type_hint, value, key_path)


def _coerce_scalar(type_hint: type, value: Any, key_path: str) -> tuple[Any, list[str]]:
    if type_hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if type(value) is not type_hint:
        type_name = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[type_hint]
        return None, [f"{key_path}: must be {type_name}, got {format_value(value)}"]
    if isinstance(value, float) and not math.isfinite(value):
        return None, [f"{key_path}: must be a finite number, got {value}"]
    return value, []


def format_value(value: object) -> str:
    """Return a short form of ``value`` for messages."""
    if isinstance(value, dict):
        return "a section"
    try:
        return "nothing (null)" if value is None else reprlib.repr(value)[:99]
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "an integer of more than 4,300 digits"
