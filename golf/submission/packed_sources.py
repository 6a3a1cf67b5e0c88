"""Unpack the source inside a script that decompresses and executes itself; nothing is run, all sizes are bounded.

The contest's wrappers hold one literal in base 85, base 64 or hexadecimal, of LZMA (with a container or raw), zlib,
bzip2 or Brotli data. A script that is a zip archive with a ``__main__.py`` is read as well.
"""

import base64
import binascii
import bz2
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator

__all__ = ["decompress_source", "is_archive", "read_archive_sources", "unpack_sources"]

_MAX_UNPACKED_BYTES = 4 << 20
_MAX_LITERALS, _MAX_MEMBERS = 8, 64
_MIN_LITERAL_CHARS = 40
_LITERAL = re.compile(r"b?(?:'''([^']++)'''|\"\"\"([^\"]++)\"\"\"|'([^'\n]++)'|\"([^\"\n]++)\")")
_ESCAPE = re.compile(r"\\(?:\n|(.))")
_RAW_LZMA_FILTERS = [{"id": lzma.FILTER_LZMA2}]


def unpack_sources(text: str) -> list[str]:
    """Return the Python sources in the long literals of a script that executes text; [] if it does not or they fail."""
    if "exec" not in text and "eval" not in text and "loads" not in text:
        return []
    literals = (next(group for group in match.groups() if group) for match in _LITERAL.finditer(text))
    candidates = sorted((text for text in literals if len(text) >= _MIN_LITERAL_CHARS), key=len, reverse=True)
    sources = (_unpack_literal(literal) for literal in candidates[:_MAX_LITERALS])
    return [source for source in sources if source]


def is_archive(data: bytes) -> bool:
    """Return whether a script is a zip archive, which Python runs by its ``__main__.py``."""
    return zipfile.is_zipfile(io.BytesIO(data))


def read_archive_sources(data: bytes) -> list[str]:
    """Return the Python files of a zip archive, unpacked where they are packed again; [] if it is damaged."""
    sources: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist()[:_MAX_MEMBERS]:
                with archive.open(member) as file:
                    content = file.read(_MAX_UNPACKED_BYTES)
                if member.filename.endswith(".py"):
                    sources.append(content.decode("utf-8", "replace"))
                else:
                    sources += [source] if (source := decompress_source(content)) else []
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error):
        return []
    return sources


def _unpack_literal(literal: str) -> str:
    """The source in one literal; "" if it is none."""
    encoded = _ESCAPE.sub(lambda match: match[1] or "", literal).encode("utf-8", "replace")
    for decode in (base64.b85decode, _decode_base64, binascii.unhexlify, base64.a85decode):
        try:
            data = decode(encoded)
        except (ValueError, binascii.Error):
            continue
        if source := decompress_source(data):
            return source
    return ""


def _decode_base64(encoded: bytes) -> bytes:
    return base64.b64decode(encoded, validate=True)


def decompress_source(data: bytes) -> str:
    """Return the text that any known compressor gives; "" if none does."""
    for decompress in _decompressors():
        try:
            content = decompress(data)
        except Exception:  # each library has errors of its own, and all mean that the data are of another format
            continue
        if content and b"\0" not in content[:1000]:
            return content.decode("utf-8", "replace")
    return ""


def _decompressors() -> Iterator[Callable[[bytes], bytes]]:
    yield lambda data: lzma.LZMADecompressor().decompress(data, _MAX_UNPACKED_BYTES)
    yield lambda data: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_RAW_LZMA_FILTERS).decompress(
        data, _MAX_UNPACKED_BYTES
    )
    yield lambda data: zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(data, _MAX_UNPACKED_BYTES)
    yield lambda data: bz2.BZ2Decompressor().decompress(data, _MAX_UNPACKED_BYTES)
    yield _decompress_brotli


def _decompress_brotli(data: bytes) -> bytes:
    import brotli  # one of golf's own packages; its import is left to the scripts that need it

    decompressor, parts, size = brotli.Decompressor(), [], 0
    for start in range(0, len(data), 1 << 12):
        parts.append(decompressor.process(data[start : start + (1 << 12)]))
        size += len(parts[-1])
        if size > _MAX_UNPACKED_BYTES:
            break
    return b"".join(parts)
