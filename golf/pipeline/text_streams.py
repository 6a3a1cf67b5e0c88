"""Standard output and error that can print any text, whatever their encoding can carry."""

import codecs
import contextlib
import io
import sys

__all__ = ["REPLACEMENTS", "accept_all_text", "describe_encode_error"]

_ERROR_HANDLER = "golf.replace"
REPLACEMENTS = {  # of the symbols in golf's own output; each is valid inside a JSON string
    "³": "^3",
    "⁶": "^6",
    "Δ": "delta",
    "±": "+/-",
    "×": "x",
    "·": "-",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "│": "|",
    "├": "|",
    "└": "`",
    "─": "-",
}


def accept_all_text() -> None:
    """Let stdout and stderr print characters that their encoding lacks, by a replacement or as ``\\uXXXX``.

    Without this, "±" on a stream of ASCII or a file name that is not UTF-8 ends a command with a UnicodeEncodeError.
    What a stream can carry is not changed.
    """
    codecs.register_error(_ERROR_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where a program that imports golf has put something else there
            with contextlib.suppress(OSError):  # a file below it that dup2 has replaced by a pipe; it stays as it is
                stream.reconfigure(errors=_ERROR_HANDLER)


def describe_encode_error(error: UnicodeEncodeError) -> str:
    """Return a message for text that an encoding cannot carry: a path in an ASCII locale, or half a surrogate pair."""
    characters = error.object[error.start : error.end][:20]
    hint = "" if error.encoding == "utf-8" else "; set LC_ALL=C.UTF-8 or PYTHONUTF8=1, then run again"
    return f"{error.object[:200]}: {error.encoding} has no {characters!r}{hint}"


def _replace(error: UnicodeError) -> tuple[str, int]:
    """The replacement of the characters that a codec could not encode, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(REPLACEMENTS.get(character) or _escape(character) for character in characters), error.end


def _escape(character: str) -> str:
    """``\\uXXXX`` of each UTF-16 unit, so that escaped JSON stays JSON, which it would not by backslashreplace."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
