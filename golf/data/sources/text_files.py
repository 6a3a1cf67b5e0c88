"""The user's own texts: a folder of .txt (one document per file) and .jsonl ({"text": …} per line), also compressed.

Every file must be one of these, except README.md, tokenizers (.model) and names that start with a dot.
"""

import gzip
import hashlib
import json
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import zstandard

from golf.config.sections import FetchConfig
from golf.data.sources.interface import Corpus, SourceDocument
from golf.errors import InputError

__all__ = ["read_corpus", "read_documents"]

_ALLOWED_SUFFIXES_HINT = "allowed are .txt and .jsonl, plain or with .gz, .xz or .zst"
_EMPTY_FOLDER_HINT = "put .txt or .jsonl files there, or set fetch.source: stdlib"


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """The folder fetch.path; its provenance holds the sha256 of every file. Raises as ``read_documents``."""
    documents, file_digests = read_documents(Path(fetch_cfg.path))
    return Corpus(documents, {"path": fetch_cfg.path, "files": file_digests})


def read_documents(folder: Path) -> tuple[list[SourceDocument], dict[str, str]]:
    """All documents, and the sha256 of every file by its path in the folder; both in path order.

    A document's name is its file, for .jsonl ``file:line``. Empty documents are included.
    Raises InputError naming the file, and the line or byte, that can't be read.
    """
    documents: list[SourceDocument] = []
    digests: dict[str, str] = {}
    for path in _list_files(folder):
        compressed = _read_bytes(path)
        name = path.relative_to(folder).as_posix()
        digests[name] = hashlib.sha256(compressed).hexdigest()
        data = _decompress(path, compressed)
        if _text_suffix(path) == ".txt":
            documents.append(SourceDocument(name, _decode_utf8(path, data)))
        else:
            documents += [SourceDocument(f"{name}:{number}", text) for number, text in _parse_jsonl(path, data)]
    return documents, digests


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _raise_unreadable(error)


def _raise_unreadable(error: OSError) -> NoReturn:
    raise InputError(
        f"{error.filename}: can't be read ({error.strerror}); fix it or move it out of fetch.path"
    ) from None


def _list_files(folder: Path) -> list[Path]:
    """Every text file below the folder, sorted by its path. Raises InputError for any other file."""
    if not folder.is_dir():
        raise InputError(f"fetch.path: {folder} is not a folder; {_EMPTY_FOLDER_HINT}")
    paths = []
    for base, folders, files in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        symlinked_folders = [name for name in folders if (Path(base) / name).is_symlink()]
        if symlinked_folders:
            raise InputError(
                f"{Path(base) / symlinked_folders[0]}: a link to a folder is not followed; copy its texts here"
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
    """The suffix that tells the text format, without that of the compression."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in _DECOMPRESSORS else name.suffix


def _decompress(path: Path, data: bytes) -> bytes:
    try:
        return _DECOMPRESSORS.get(path.suffix.lower(), bytes)(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise InputError(
            f"{path}: can't be decompressed ({error}): truncated, damaged or misnamed; "
            "replace it, or move it out of fetch.path"
        ) from None


def _decompress_zst(data: bytes) -> bytes:
    """Decompress all frames. The library's own reader mistakes a truncated frame for the end of the file."""
    parts: list[bytes] = []
    while data or not parts:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("a frame ends too early")
        data = frame.unused_data
    return b"".join(parts)


_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".zst": _decompress_zst,
}


def _decode_utf8(path: Path, data: bytes, line_number: int | None = None, offset: int = 0) -> str:
    """Decode UTF-8 and drop a byte order mark. offset: of ``data`` in the decompressed file, for the message."""
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
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            numbered_texts.append((number, _parse_jsonl_line(path, number, _decode_utf8(path, line, number, offset))))
        offset += len(line) + 1
    return numbered_texts


def _parse_jsonl_line(path: Path, line_number: int, line: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}:{line_number}: not JSON ({error}); expected {{"text": …}}') from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(f'{path}:{line_number}: has no "text" string; expected {{"text": …}} on every line')
    text: str = record["text"]
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        problem = f"an unpaired surrogate at character {error.start:,} of the text, which has no UTF-8"
        raise InputError(f"{path}:{line_number}: {problem}; remove it") from None
    return text
