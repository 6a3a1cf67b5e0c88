"""Decompress .gz, .xz and .zst files whole: every byte of the file is decoded, or the file is refused.

A file is a sequence of streams (gzip calls them members, zstd frames), whose contents are joined. After a stream a
format may allow padding. Whatever else follows is an error: it may be text, whose loss nobody would notice.
"""

import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import zstandard

from golf.errors import InputError

__all__ = ["COMPRESSED_SUFFIXES", "decompress"]

_FIRST_CHUNK_BYTES, _MAX_CHUNK_BYTES = 1 << 10, 1 << 20  # fed to a decoder at once
_MAX_ZSTD_WINDOW_BYTES = 1 << 31  # the largest of zstd --long=31
_NULS = re.compile(rb"\0*")
_REPLACE_HINT = "replace it, or move it out of fetch.path"


@dataclass(frozen=True)
class _Format:
    """A compressed format.

    open_decoder: makes an object with ``decompress``, ``eof`` and ``unused_data`` that decodes one stream.
    magics: a stream starts with one of these, all of one length. padding_unit: after a stream there may be NULs, a
    multiple of so many; 0: none.
    """

    open_decoder: Callable[[], Any]
    magics: tuple[bytes, ...]
    padding_unit: int


def _open_gzip() -> Any:
    return zlib.decompressobj(wbits=31)  # with header and trailer


def _open_xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ)  # not the older .lzma, which has no checksum


def _open_zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW_BYTES).decompressobj()


_ZSTD_MAGICS = (0xFD2FB528, *range(0x184D2A50, 0x184D2A60))  # of data, and of frames to skip
_FORMATS = {
    ".gz": _Format(_open_gzip, (b"\x1f\x8b",), 1),  # gzip(1) skips the zeros that fill up a tape's block
    ".xz": _Format(_open_xz, (b"\xfd7zXZ\0",), 4),
    ".zst": _Format(_open_zstd, tuple(magic.to_bytes(4, "little") for magic in _ZSTD_MAGICS), 0),
}
COMPRESSED_SUFFIXES = tuple(_FORMATS)


def decompress(path: Path, data: bytes) -> bytes:
    """Return the content of the file ``path`` with the bytes ``data``; ``data`` itself for a suffix of no known format.

    Raises InputError naming the file and the byte from which on it can't be read.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        return data
    # An empty text has a compressed form, of 9 to 32 bytes. A file of 0 bytes is none: its writing or copying was
    # interrupted, so it is truncated, as gzip, xz and zstd call it too.
    if not data:
        _refuse(path, f"truncated: it has 0 bytes, and an empty text has more as {suffix}")
    view, parts, offset = memoryview(data), list[bytes](), 0
    while offset < len(data):
        _require_magic(path, _FORMATS[suffix], data, offset)
        offset = _decode_stream(path, _FORMATS[suffix], view, offset, parts)
        offset = _skip_padding(path, _FORMATS[suffix].padding_unit, data, offset)
    return b"".join(parts)


def _require_magic(path: Path, compression: _Format, data: bytes, start: int) -> None:
    magic_bytes = data[start : start + len(compression.magics[0])]
    if any(magic.startswith(magic_bytes) for magic in compression.magics):
        return  # also where the file ends within it, which the decoder finds
    reason = "something else follows the stream before it" if start else "the file is misnamed or damaged"
    _refuse(path, f"byte {start:,} starts no {path.suffix} stream (0x{magic_bytes.hex()}): {reason}")


def _decode_stream(path: Path, compression: _Format, view: memoryview, start: int, parts: list[bytes]) -> int:
    """Append the content of the stream at ``start`` to ``parts``; returns the offset after the stream.

    The chunks grow from small ones, because a decoder copies what it leaves unused: a file may have many short streams.
    """
    decoder, offset, chunk_bytes = compression.open_decoder(), start, _FIRST_CHUNK_BYTES
    while not decoder.eof:
        chunk = view[offset : offset + chunk_bytes]
        if not chunk:
            _refuse(path, f"truncated: the stream that starts at byte {start:,} goes on after the file's end")
        try:
            parts.append(decoder.decompress(chunk))
        except (EOFError, MemoryError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            _refuse_stream(path, view, start, str(error) or type(error).__name__)
        offset, chunk_bytes = offset + len(chunk), min(2 * chunk_bytes, _MAX_CHUNK_BYTES)
    return offset - len(decoder.unused_data)


def _skip_padding(path: Path, unit: int, data: bytes, start: int) -> int:
    """The offset after the NULs that follow a stream."""
    match = _NULS.match(data, start) if unit else None
    end = match.end() if match else start
    if unit and (end - start) % unit:
        _refuse(path, f"damaged: {end - start:,} NULs from byte {start:,} on, not a multiple of {unit}")
    return end


def _refuse_stream(path: Path, view: memoryview, start: int, reason: str) -> NoReturn:
    """Raises InputError with the decoder's reason, or with what a zstd frame needs and does not get."""
    location = f"the stream that starts at byte {start:,}"
    try:
        is_zstd = path.suffix.lower() == ".zst"
        frame = zstandard.get_frame_parameters(bytes(view[start : start + _FIRST_CHUNK_BYTES])) if is_zstd else None
    except zstandard.ZstdError:  # its header is damaged
        frame = None
    if frame and frame.dict_id:
        hint = "compress the text without one, or move the file out of fetch.path"
        _refuse(path, f"{location} needs a dictionary, the one with the id {frame.dict_id}", hint)
    if frame and frame.window_size > _MAX_ZSTD_WINDOW_BYTES:
        allowed = f"allowed are {_MAX_ZSTD_WINDOW_BYTES:,} (zstd --long=31)"
        hint = "compress the text with a smaller one, or move the file out of fetch.path"
        _refuse(path, f"{location} needs a window of {frame.window_size:,} bytes, {allowed}", hint)
    _refuse(path, f"damaged: {location} can't be decoded ({reason})")


def _refuse(path: Path, problem: str, hint: str = _REPLACE_HINT) -> NoReturn:
    raise InputError(f"{path}: can't be decompressed: {problem}; {hint}") from None
