"""docs/configuration.md: every key of params.yaml with its type, range, meaning and value in each profile.

Types and ranges come from the dataclasses of ``golf.config``. The meaning of a key is the comment behind its field or
right above it.
"""

import ast
import dataclasses
import inspect
import io
import math
import re
import tokenize
import types
import typing
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from golf.config import loader, validation

__all__ = ["PROFILES", "ROOT", "describe_type", "list_missing_meanings", "render_sections"]

ROOT = Path(__file__).parents[1]
PROFILES = tuple(sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
_CITATION = re.compile(r"docs/([\w-]+\.md)#([\w-]+)")
_TYPE_NAMES = {int: "integer", float: "number", bool: "true or false", str: "text"}


def render_sections() -> str:
    """Return Markdown: a heading, a sentence and a table for each section of params.yaml."""
    profiles = {name: YAML(typ="safe").load(ROOT / "profiles" / f"{name}.yaml") for name in PROFILES}
    parts = []
    for section in dataclasses.fields(loader.Config):
        if isinstance(section.type, type) and dataclasses.is_dataclass(section.type):
            values = {name: profile[section.name] for name, profile in profiles.items()}
            parts.append(_render_section(section.name, section.type, values))
    return "\n".join(parts)


def list_missing_meanings() -> list[str]:
    """Return the dotted keys whose field in ``golf/config`` has no comment."""
    return [
        f"{section.name}.{key}"
        for section in dataclasses.fields(loader.Config)
        if isinstance(section.type, type) and dataclasses.is_dataclass(section.type)
        for key, meaning in _find_meanings(section.type).items()
        if not meaning
    ]


def _render_section(name: str, cls: type, values: dict[str, dict[str, Any]]) -> str:
    meanings = _find_meanings(cls)
    type_hints = typing.get_type_hints(cls, include_extras=True)
    lines = [
        f"### {name}",
        "",
        " ".join((inspect.getdoc(cls) or "").replace("``", "`").split()),
        "",
        f"| key | type | range | meaning | {' | '.join(PROFILES)} |",
        "|---" * (4 + len(PROFILES)) + "|",
    ]
    for field in dataclasses.fields(cls):
        type_name, allowed = describe_type(type_hints[field.name])
        meaning = _CITATION.sub(r"[\2](\1#\2)", meanings[field.name])
        cells = [f"`{name}.{field.name}`", type_name, allowed, meaning]
        cells += [f"`{_format_value(values[profile][field.name])}`" for profile in PROFILES]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", ""])


def describe_type(type_hint: Any) -> tuple[str, str]:
    """Return the type's name and its allowed values: ``Fraction | None`` -> ("number or null", "0 to 1")."""
    origin, arguments = typing.get_origin(type_hint), typing.get_args(type_hint)
    if origin is typing.Annotated:
        name, _ = describe_type(arguments[0])
        return name, _format_range(arguments[1]) if isinstance(arguments[1], validation.Range) else "not empty"
    if origin is typing.Literal:
        return "choice", ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (types.UnionType, typing.Union):
        name, allowed = describe_type(next(argument for argument in arguments if argument is not type(None)))
        return f"{name} or null", allowed
    if origin is tuple:
        name, allowed = describe_type(arguments[0])
        plural = name.replace("list of", "lists of", 1) if name.startswith("list of") else f"{name}s"
        return f"list of {plural}", f"each {allowed.removeprefix('each ')}"
    return _TYPE_NAMES[type_hint], ""


def _format_range(allowed: validation.Range) -> str:
    low, high = (_format_bound(bound) for bound in (allowed.low, allowed.high))
    if not high:
        return f"{'above' if allowed.open_low else 'at least'} {low}"
    return f"{'above ' * allowed.open_low}{low} to {'below ' * allowed.open_high}{high}"


def _format_bound(bound: float) -> str:
    return f"{bound:,}" if math.isfinite(bound) else ""


def _find_meanings(cls: type) -> dict[str, str]:
    """The comment of each field, in the order of the fields; empty where there is none."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            comments |= {key: text for key, text in _read_field_comments(base).items() if text}
    return {field.name: comments.get(field.name, "") for field in dataclasses.fields(cls)}


def _read_field_comments(cls: type) -> dict[str, str]:
    """The comment behind each field of a class, or on the lines right above it."""
    source = inspect.cleandoc("\n" + inspect.getsource(cls))
    lines = source.splitlines()
    comment_by_line = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    comments = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while lines[first - 2].lstrip().startswith("#"):
                first -= 1
            numbers = range(first, (node.end_lineno or node.lineno) + 1)
            comments[node.target.id] = " ".join(comment_by_line[line] for line in numbers if line in comment_by_line)
    return comments


def _format_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_format_value(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
