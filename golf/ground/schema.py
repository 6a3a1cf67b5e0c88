"""Mappings to frozen dataclasses, strictly: every unknown, missing, mistyped or out-of-range key is reported.

A field's type is its contract: ``int``, ``float``, ``bool``, ``str``, ``Literal[...]``, ``X | None``,
``tuple[X, ...]``, a nested dataclass, or any of these as ``Annotated[type, Bound]``. A dataclass may define
``problems()``, which yields (key, message) for contradictions between its fields; it is asked whenever all fields are
well-formed, so that an unknown key or a contradiction inside a section hides no other problem.
"""

import dataclasses
import difflib
import math
import reprlib
import sys
import types
import typing
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """Allowed numbers: from ``low`` to ``high``, the ends included unless ``open_low`` / ``open_high``."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'below' if self.open_high else 'at most'} {self.high:g}" if self.high < math.inf else ""
        return " and ".join(part for part in (low, high) if part)


Natural = typing.Annotated[int, Bound(low=0)]
Count = typing.Annotated[int, Bound(low=1)]
Positive = typing.Annotated[float, Bound(low=0, open_low=True)]
NonNegative = typing.Annotated[float, Bound(low=0)]
Share = typing.Annotated[float, Bound(low=0, high=1)]
Decay = typing.Annotated[float, Bound(low=0, high=1, open_high=True)]


def build(cls: type, mapping: object, where: str, known: dict[str, str] | None = None):
    """An instance of dataclass ``cls`` from ``mapping`` and the list of problems with dotted keys.

    The instance is sound only without problems; it is None when a field is missing or malformed.

    known: every dotted key of the whole file by its last part, so that a key in the wrong section is recognised.
    """
    prefix = f"{where}." if where else ""
    if not isinstance(mapping, dict):
        return None, [f"{where or 'the file'}: expected a section with keys, got {show(mapping)}"]
    hints = typing.get_type_hints(cls, include_extras=True)
    problems, values = [], {}
    for key in mapping:
        if key not in hints:
            name = key if isinstance(key, str) else show(key)
            problems.append(f"{prefix}{name}: unknown key{nearest(name, prefix, hints, known or {})}")
    for key, hint in hints.items():
        if key not in mapping:
            problems.append(f"{prefix}{key}: missing")
            continue
        made, found = convert(hint, mapping[key], f"{prefix}{key}", known)
        problems += found
        if made is not None or not found:
            values[key] = made
    if len(values) < len(hints):
        return None, problems
    made = cls(**values)
    contradictions = getattr(made, "problems", lambda: ())()
    return made, problems + [f"{prefix}{key}: {message}" for key, message in contradictions]


def convert(hint, value, where: str, known=None):
    """``value`` as ``hint`` asks for it, None where it can't be had, and the problems found on the way."""
    if typing.get_origin(hint) is typing.Annotated:
        base, bound = typing.get_args(hint)
        made, problems = convert(base, value, where, known)
        if not problems and not bound.allows(made):
            return None, [f"{where}: must be {bound}, got {show(value)}"]
        return made, problems
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where, known)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value, []
        return None, [f"{where}: must be one of {', '.join(map(str, arguments))}, got {show(value)}"]
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None, []
        return convert(next(a for a in arguments if a is not type(None)), value, where, known)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return None, [f"{where}: must be a list, got {show(value)}"]
        items = [convert(arguments[0], item, f"{where}[{i}]", known) for i, item in enumerate(value)]
        problems = [problem for _, found in items for problem in found]
        return None if problems else tuple(item for item, _ in items), problems
    return scalar(hint, value, where)


def scalar(hint: type, value, where: str):
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if type(value) is not hint:
        name = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
        return None, [f"{where}: must be {name}, got {show(value)}"]
    if hint is float and not math.isfinite(value):
        return None, [f"{where}: must be a finite number, got {value}"]
    return value, []


def nearest(key: str, prefix: str, hints, known: dict[str, str]) -> str:
    """A hint at what was meant: the nearest key of this section, else the nearest one of another."""
    for keys in ({name: prefix + name for name in hints}, known):
        if close := difflib.get_close_matches(key, list(keys), n=1):
            return f"; did you mean {keys[close[0]]}?"
    return ""


def show(value) -> str:
    if isinstance(value, dict):
        return "a section"
    try:
        return "nothing (null)" if value is None else reprlib.repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a number of thousands of digits"
