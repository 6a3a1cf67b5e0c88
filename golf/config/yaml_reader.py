"""Read params.yaml as YAML 1.2, fast and within limits on its size, its depth and what its aliases expand to.

The parser is libyaml by way of PyYAML, which is a hundred times faster than the readers in Python. PyYAML resolves
scalars by YAML 1.1, where ``off`` is a boolean and ``1e-05``, which DVC writes, is text; here they are resolved as DVC
itself does. A date stays text.
"""

import math
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from golf.errors import ConfigError

__all__ = ["read_yaml"]

_MAX_BYTES = 4 << 20  # of the file; one with every key has about 11,000
_MAX_VALUES = 100_000  # keys and values, with aliases expanded; a file with every key has about 300
_MAX_DEPTH = 32  # of lists and mappings in each other; a file with every key has 3
_MAX_REASON = 160  # characters of the parser's message, which may quote the file
_MAX_DIGITS = 4_000  # Python reads no longer integers; what is longer becomes infinite and is refused by its range
_TAG = "tag:yaml.org,2002:"
_SCALARS = (  # of YAML 1.2's core schema, with 1_000 and 0b1 as DVC reads them; tag, first characters, pattern
    ("null", ("~", "n", "N", ""), "~|null|Null|NULL|"),
    ("bool", "tTfF", "true|True|TRUE|false|False|FALSE"),
    ("int", "-+0123456789", "[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)"),
    (
        "float",
        "-+.0123456789",
        r"[-+]?(?:(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))",
    ),
    ("float", ".", r"\.(?:nan|NaN|NAN)"),
    ("merge", "<", "<<"),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(_TAG + name, re.compile(f"(?:{pattern})$")) for name, firsts, pattern in _SCALARS if first in firsts]
        for first in {character for _, firsts, _ in _SCALARS for character in firsts}
    }

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int | float:
        text = self.construct_scalar(node).replace("_", "").lower()
        if len(text) > _MAX_DIGITS:
            return -math.inf if text.startswith("-") else math.inf
        return int(text, 0 if text.lstrip("-+")[:2] in ("0b", "0o", "0x") else 10)


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises ConfigError that names the file, and the line where there is one."""
    loader = _Loader(_read_text(path))
    try:
        node = loader.get_single_node()
        _check_node(path, node, {}, 0)
        return None if node is None else loader.construct_document(node)
    except ConfigError:
        raise
    except Exception as error:  # a malformed tag leaves PyYAML as ValueError, KeyError, IndexError, …
        raise ConfigError(f"{path}: not valid YAML: {_format_error(error)}") from None
    finally:
        loader.dispose()


def _read_text(path: Path) -> str:
    """The file's text. Raises ConfigError unless it is a regular file of UTF-8 text and not too large."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise ConfigError(f"{path}: cannot be read: it is {kind}; give a file such as profiles/laptop.yaml")
        if status.st_size > _MAX_BYTES:
            raise ConfigError(
                f"{path}: has {status.st_size:,} bytes, at most {_MAX_BYTES:,} are allowed; a file with every key has "
                f"about 11,000, such as profiles/laptop.yaml"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; copy a profile: cp profiles/laptop.yaml {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _check_node(path: Path, node: yaml.Node | None, counts: dict[int, int], depth: int) -> int:
    """How many keys and values ``node`` holds with its aliases expanded.

    counts: by id of the nodes that were counted; 0 for those that are being counted. Raises ConfigError for too many,
    for a node in itself, for too deep a node and for a mapping that has a key twice.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in counts:
        if not counts[id(node)]:
            raise ConfigError(f"{path}: {_format_mark(node)}an alias stands within what it names; write the value out")
        return counts[id(node)]
    if depth == _MAX_DEPTH:
        raise ConfigError(f"{path}: {_format_mark(node)}lists or sections are nested more than {_MAX_DEPTH} deep")
    counts[id(node)] = 0
    is_mapping = isinstance(node, yaml.MappingNode)
    if is_mapping:
        _refuse_duplicate_keys(path, node)
    count = 1
    for child in (part for pair in node.value for part in pair) if is_mapping else node.value:
        count += _check_node(path, child, counts, depth + 1)
        if count > _MAX_VALUES:
            raise ConfigError(
                f"{path}: holds more than {_MAX_VALUES:,} keys and values, aliases expanded; a file with every key has "
                f"about 300"
            )
    counts[id(node)] = count
    return count


def _refuse_duplicate_keys(path: Path, node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise ConfigError(
                    f'{path}: not valid YAML: {_format_mark(key)}found duplicate key "{key.value[:_MAX_REASON]}"'
                )
            seen.add((key.tag, key.value))


def _format_error(error: Exception) -> str:
    """The position and reason of an error, in one line."""
    mark = getattr(error, "problem_mark", None)
    location = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    reason = " ".join((getattr(error, "problem", None) or str(error)).split())
    if not isinstance(error, yaml.YAMLError):
        reason = f"a value does not fit its tag ({reason or type(error).__name__})"
    return location + (reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}...")


def _format_mark(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}: "
