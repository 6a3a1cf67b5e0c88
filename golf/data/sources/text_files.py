"""The user's own texts: a folder of .txt (one document per file) and .jsonl ({"text": …} per line), also compressed.

Every file must be one of these, except README.md, tokenizers (.model) and names that start with a dot.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from golf.config.sections import FetchConfig
from golf.data.sources.decompression import COMPRESSED_SUFFIXES, decompress
from golf.data.sources.interface import Corpus, SourceDocument
from golf.errors import InputError
from golf.pipeline.progress import format_count, log_line

__all__ = ["read_corpus", "read_documents"]

_ALLOWED_SUFFIXES_HINT = "allowed are .txt and .jsonl, plain or with .gz, .xz or .zst"
_MOVE_HINT = "move it out of fetch.path"
_EMPTY_FOLDER_HINT = "put .txt or .jsonl files there, or set fetch.source: docs"


class _TextFile(NamedTuple):
    """A file that holds texts. name: its path in the folder, with forward slashes. n_bytes: its size."""

    name: str
    path: Path
    n_bytes: int

    @classmethod
    def from_path(cls, folder: Path, path: Path) -> "_TextFile":
        """The file at ``path``. Raises InputError if it can't be one with texts, or has a name that is not UTF-8."""
        try:
            name = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{_to_printable(path)}: its name is not UTF-8; rename it") from None
        if _get_text_suffix(path) not in (".txt", ".jsonl"):
            raise InputError(f"{path}: unknown kind of file; {_ALLOWED_SUFFIXES_HINT}; rename it or {_MOVE_HINT}")
        try:
            status = path.stat()
        except OSError as error:
            _raise_unreadable(error)
        if not stat.S_ISREG(status.st_mode):  # reading a FIFO or a device may never end
            raise InputError(f"{path}: not a regular file; {_MOVE_HINT}")
        return cls(name, path, status.st_size)


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """Read the folder fetch.path; its provenance holds the sha256 of every file. Raises as ``read_documents``."""
    documents, file_digests = read_documents(Path(fetch_cfg.path))
    return Corpus(documents, {"path": fetch_cfg.path, "files": file_digests})


def read_documents(folder: Path) -> tuple[Iterator[SourceDocument], dict[str, str]]:
    """Return all documents, and the sha256 of every file by its path in the folder; both in path order.

    A document's name is its file, for .jsonl ``file:line``. Empty documents are included. The files are listed at once
    and read one by one as the documents are taken; the dict is complete after the last one.
    Raises InputError naming the file, and the line or byte, that can't be read.
    """
    file_digests: dict[str, str] = {}
    return _iter_documents(_list_files(folder), file_digests), file_digests


def _iter_documents(files: list[_TextFile], file_digests: dict[str, str]) -> Iterator[SourceDocument]:
    """The documents of the files; fills ``file_digests`` on the way."""
    n_documents, n_bytes = 0, sum(file.n_bytes for file in files)
    log_line("fetch", f"reading {format_count(len(files), 'file')}, {n_bytes:,} bytes")
    for file in files:
        documents, file_digests[file.name] = _read_file(file)
        n_documents += len(documents)
        yield from documents
    log_line("fetch", f"read {format_count(n_documents, 'document')} from {format_count(len(files), 'file')}")


def _read_file(file: _TextFile) -> tuple[list[SourceDocument], str]:
    """The documents of a file, and its sha256."""
    try:
        compressed = file.path.read_bytes()
    except OSError as error:
        _raise_unreadable(error)
    data = decompress(file.path, compressed)
    if _get_text_suffix(file.path) == ".txt":
        documents = [SourceDocument(file.name, _decode_utf8(file.path, data))]
    else:
        documents = [SourceDocument(f"{file.name}:{number}", text) for number, text in _parse_jsonl(file.path, data)]
    return documents, hashlib.sha256(compressed).hexdigest()


def _raise_unreadable(error: OSError) -> NoReturn:
    raise InputError(f"{_to_printable(error.filename)}: can't be read ({error.strerror}); {_MOVE_HINT}") from None


def _list_files(folder: Path) -> list[_TextFile]:
    """Every text file below the folder, in the order of the names.

    Raises InputError for any other file, and for a name that is not UTF-8, which no manifest could hold.
    """
    if not folder.is_dir():
        raise InputError(f"fetch.path: {folder} is not a folder; {_EMPTY_FOLDER_HINT}")
    text_files: list[_TextFile] = []
    for base, folders, files in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (Path(base) / name).is_symlink():
                problem = "a link to a folder is not followed; copy its texts here"
                raise InputError(f"{_to_printable(Path(base) / name)}: {problem}")
        text_files += [_TextFile.from_path(folder, Path(base) / name) for name in files if not _is_ignored(name)]
    if not text_files:
        raise InputError(f"fetch.path: no texts in {folder}; {_EMPTY_FOLDER_HINT}")
    return sorted(text_files)


def _to_printable(path: str | Path) -> str:
    """The path for a message; a byte of it that is not UTF-8 as \\xff."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_ignored(name: str) -> bool:
    """Hidden files, the folder's own README.md, and tokenizers, which may lie beside the texts."""
    return name.startswith(".") or name == "README.md" or name.endswith(".model")


def _get_text_suffix(path: Path) -> str:
    """The suffix that tells the text format, without that of the compression."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in COMPRESSED_SUFFIXES else name.suffix


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
