"""The user's own texts: a folder of .txt (one document a file) and .jsonl ({"text": …} a line), plain or packed.

Nothing in the folder is passed over in silence but README.md, tokenizers (.model) and what starts with a dot.
"""

import gzip
import hashlib
import json
import lzma
import os
import zlib
from pathlib import Path

import zstandard

from golf.errors import InputError

_ALLOWED_SUFFIXES_HINT = "allowed are .txt and .jsonl, plain or with .gz, .xz or .zst"
_EMPTY_FOLDER_HINT = "put .txt or .jsonl files there, or set fetch.source: stdlib"


def read_documents(folder: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """All documents as (name, text), and the sha256 of every file by its path in the folder; both in path order.

    A document's name is its file, and for .jsonl ``file:line``. Empty documents are among them.
    Raises BadInput naming the file, and the line or byte, that can't be read.
    """
    named_texts, digests = [], {}
    for path in _list_files(folder):
        compressed = _read_bytes(path)
        name = path.relative_to(folder).as_posix()
        digests[name] = hashlib.sha256(compressed).hexdigest()
        data = _decompress(path, compressed)
        if _text_suffix(path) == ".txt":
            named_texts.append((name, _decode_utf8(path, data)))
        else:
            named_texts += [(f"{name}:{line_number}", text) for line_number, text in _parse_jsonl(path, data)]
    return named_texts, digests


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _raise_unreadable(error)


def _raise_unreadable(error: OSError):
    raise InputError(
        f"{error.filename}: can't be read ({error.strerror}); mend it or move it out of fetch.path"
    ) from None


def _list_files(folder: Path) -> list[Path]:
    """Every text file below the folder, sorted by its path. Raises BadInput for what is no text file."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"fetch.path: {folder} is not a folder; {_EMPTY_FOLDER_HINT}")
    paths = []
    for base, folders, files in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        symlinked_folders = [name for name in folders if (Path(base) / name).is_symlink()]
        if symlinked_folders:
            raise InputError(
                f"{Path(base) / symlinked_folders[0]}: a link to a folder is not followed; copy its texts in"
            )
        paths += [Path(base) / name for name in files if not _is_ignored(name)]
    for path in paths:
        if _text_suffix(path) not in (".txt", ".jsonl"):
            raise InputError(
                f"{path}: unknown kind of file; {_ALLOWED_SUFFIXES_HINT}; rename it or move it out of fetch.path"
            )
    if not paths:
        raise InputError(f"fetch.path: no texts in {folder}; {_EMPTY_FOLDER_HINT}")
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _is_ignored(name: str) -> bool:
    """Hidden files, the folder's own README.md, and tokenizers, which may lie beside the texts."""
    return name.startswith(".") or name == "README.md" or name.endswith(".model")


def _text_suffix(path: Path) -> str:
    """The extension that says what the text is, below that of the packer."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in _DECOMPRESSORS else name.suffix


def _decompress(path: Path, data: bytes) -> bytes:
    try:
        return _DECOMPRESSORS.get(path.suffix.lower(), bytes)(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise InputError(f"{path}: can't be unpacked ({error}): cut short, damaged or misnamed") from None


def _decompress_zst(data: bytes) -> bytes:
    """All frames. The library's own reader takes a frame that is cut short for the end of the file."""
    parts = []
    while data or not parts:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("a frame ends too early")
        data = frame.unused_data
    return b"".join(parts)


_DECOMPRESSORS = {".gz": gzip.decompress, ".xz": lzma.decompress, ".zst": _decompress_zst}


def _decode_utf8(path: Path, data: bytes, line_number: int | None = None, offset: int = 0) -> str:
    """UTF-8, a byte order mark dropped. start: the data's place in the (unpacked) file, for the message."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        location = f"{path}:{line_number}" if line_number else f"{path}"
        raise InputError(
            f"{location}: not UTF-8 at byte {offset + error.start:,} (0x{data[error.start]:02x}); save it as UTF-8"
        ) from None


def _parse_jsonl(path: Path, data: bytes) -> list[tuple[int, str]]:
    """(line number, text) of every line that isn't blank."""
    numbered_texts, offset = [], 0
    for line_number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            numbered_texts.append(
                (line_number, _parse_jsonl_line(path, line_number, _decode_utf8(path, line, line_number, offset)))
            )
        offset += len(line) + 1
    return numbered_texts


def _parse_jsonl_line(path: Path, line_number: int, line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}:{line_number}: not JSON ({error}); expected {{"text": …}}') from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(f'{path}:{line_number}: no "text" with a string in it; expected {{"text": …}} on every line')
    try:
        record["text"].encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}:{line_number}: half a surrogate pair at character {error.start:,} of the text, which has no UTF-8"
        ) from None
    return record["text"]
