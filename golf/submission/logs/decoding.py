"""The text of a log: its encoding, the prefixes that a console or a scheduler puts before each line, and its line ends.

UTF-8 with or without a mark, UTF-16 and UTF-32 are read. Some bytes that are not UTF-8 are replaced and counted; a file
that is mostly control characters is binary and is refused.
"""

import codecs
import re
from dataclasses import dataclass

from golf.errors import ArtifactError

__all__ = ["DecodedText", "decode_log", "normalize_lines"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 4096
_MIN_ZERO_FRAC = 0.2  # of the bytes of UTF-16 without a mark: English text has one in two
_MAX_CONTROL_FRAC = 0.02
_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\b\x1b") + b"\x7f"
_MAX_BAD_FRAC = 0.1

_TERMINAL_ESCAPE = re.compile(r"\x1b\[[\d;?]{0,20}[A-Za-z]")
# Dates, times, seconds since 1970, ranks, log levels; the space after them is dropped, an indent after that is kept.
_DATE = r"\d{4}[-/]\d\d[-/]\d\d"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_CALENDAR = rf"(?:[A-Z][a-z]{{2}} )?[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}(?: \d{{4}})?"
_STAMP = (
    rf"(?:{_CALENDAR}|{_DATE}[T _]{_CLOCK}(?:\s?Z|\s?[+-]\d\d:?\d\d|\s?UTC)?"
    rf"|{_DATE}|{_CLOCK}|\d{{9,13}}(?:[.,]\d{{1,9}})?)"
)
_LEVEL = r"(?:INFO|WARNING|WARN|DEBUG|ERROR)(?::\w{1,40}(?:\.\w{1,40}){0,5})?"
_RANK = r"(?:default\d{1,4}|rank[ _:=]?\d{1,4}|gpu[ _:=]?\d{1,4}|\d{1,4}(?=\]?:[ \t]))"
_TAG = rf"(?:{_STAMP}|{_LEVEL}|{_RANK})"
_MARK = rf"(?:\[{_TAG}\]|\[ {{0,6}}\d{{1,7}}\.\d{{1,9}}s?\]|\({_TAG}\)|<{_TAG}>|{_TAG}(?=[ \t:|,\-]))"
_LINE_PREFIX = re.compile(rf"(?mi)^(?:{_MARK}(?:[ \t]?(?:[|>,]|-{{1,2}}|::?)(?=[ \t]))?[ \t:]){{1,4}}")


@dataclass(frozen=True, slots=True)
class DecodedText:
    """The text of a file. encoding: as found. n_replaced: bytes that are not of this encoding, shown as U+FFFD."""

    text: str
    encoding: str
    n_replaced: int


def decode_log(name: str, data: bytes, encoding: str = "") -> DecodedText:
    """Decode the bytes of a log; ``encoding`` if it is known. Raises ArtifactError if they are no text."""
    encoding = encoding or _detect_encoding(data)
    for mark, _ in _BOMS:
        if data.startswith(mark):
            data = data[len(mark) :]
            break
    if encoding == "utf-8" and len(data) - len(data.translate(None, _CONTROL_BYTES)) > _MAX_CONTROL_FRAC * len(data):
        raise ArtifactError(name, "is binary, not text")
    try:
        return DecodedText(data.decode(encoding), encoding, 0)
    except UnicodeDecodeError:
        text = data.decode(encoding, errors="replace")
    n_replaced = text.count("\ufffd")
    if n_replaced > max(16, _MAX_BAD_FRAC * len(text)):
        raise ArtifactError(name, f"is binary, not text: {n_replaced:,} bytes are not {encoding.upper()}")
    return DecodedText(text, encoding, n_replaced)


def _detect_encoding(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    sample = data[:_SAMPLE_BYTES]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = sample[first::2].count(0), sample[1 - first :: 2].count(0)
        if zeros > 2 * _MIN_ZERO_FRAC * len(sample[first::2]) and zeros > 4 * others:
            return encoding
    return "utf-8"


def normalize_lines(text: str) -> str:
    """Return the text with line feeds as line ends, without terminal escapes and prefixes before the lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x1b" in text:
        text = _TERMINAL_ESCAPE.sub("", text)
    return _LINE_PREFIX.sub("", text)
