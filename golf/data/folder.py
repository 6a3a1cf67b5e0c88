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

from golf.ground.errors import BadInput

ALLOWED = "allowed are .txt and .jsonl, plain or with .gz, .xz or .zst"
CURE = "put .txt or .jsonl files there, or set fetch.source: stdlib"


def documents(folder: Path) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """All documents as (name, text), and the sha256 of every file by its path in the folder; both in path order.

    A document's name is its file, and for .jsonl ``file:line``. Empty documents are among them.
    Raises BadInput naming the file, and the line or byte, that can't be read.
    """
    found, digests = [], {}
    for path in listing(folder):
        packed = read(path)
        name = path.relative_to(folder).as_posix()
        digests[name] = hashlib.sha256(packed).hexdigest()
        data = unpack(path, packed)
        if kind(path) == ".txt":
            found.append((name, decode(path, data)))
        else:
            found += [(f"{name}:{number}", text) for number, text in lines(path, data)]
    return found, digests


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        unreadable(error)


def unreadable(error: OSError):
    raise BadInput(
        f"{error.filename}: can't be read ({error.strerror}); mend it or move it out of fetch.path"
    ) from None


def listing(folder: Path) -> list[Path]:
    """Every text file below the folder, sorted by its path. Raises BadInput for what is no text file."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"fetch.path: {folder} is not a folder; {CURE}")
    paths = []
    for base, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if (Path(base) / name).is_symlink()]
        if linked:
            raise BadInput(f"{Path(base) / linked[0]}: a link to a folder is not followed; copy its texts in")
        paths += [Path(base) / name for name in files if not passed_over(name)]
    for path in paths:
        if kind(path) not in (".txt", ".jsonl"):
            raise BadInput(f"{path}: unknown kind of file; {ALLOWED}; rename it or move it out of fetch.path")
    if not paths:
        raise BadInput(f"fetch.path: no texts in {folder}; {CURE}")
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def passed_over(name: str) -> bool:
    """Hidden files, the folder's own README.md, and tokenizers, which may lie beside the texts."""
    return name.startswith(".") or name == "README.md" or name.endswith(".model")


def kind(path: Path) -> str:
    """The extension that says what the text is, below that of the packer."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in UNPACKERS else name.suffix


def unpack(path: Path, data: bytes) -> bytes:
    try:
        return UNPACKERS.get(path.suffix.lower(), bytes)(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise BadInput(f"{path}: can't be unpacked ({error}): cut short, damaged or misnamed") from None


def unpack_zst(data: bytes) -> bytes:
    """All frames. The library's own reader takes a frame that is cut short for the end of the file."""
    parts = []
    while data or not parts:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("a frame ends too early")
        data = frame.unused_data
    return b"".join(parts)


UNPACKERS = {".gz": gzip.decompress, ".xz": lzma.decompress, ".zst": unpack_zst}


def decode(path: Path, data: bytes, line: int | None = None, start: int = 0) -> str:
    """UTF-8, a byte order mark dropped. start: the data's place in the (unpacked) file, for the message."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = f"{path}:{line}" if line else f"{path}"
        raise BadInput(
            f"{where}: not UTF-8 at byte {start + error.start:,} (0x{data[error.start]:02x}); save it as UTF-8"
        ) from None


def lines(path: Path, data: bytes) -> list[tuple[int, str]]:
    """(line number, text) of every line that isn't blank."""
    found, start = [], 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            found.append((number, text_of(path, number, decode(path, line, number, start))))
        start += len(line) + 1
    return found


def text_of(path: Path, number: int, line: str) -> str:
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f'{path}:{number}: not JSON ({error}); expected {{"text": …}}') from None
    if not isinstance(tree, dict) or not isinstance(tree.get("text"), str):
        raise BadInput(f'{path}:{number}: no "text" with a string in it; expected {{"text": …}} on every line')
    try:
        tree["text"].encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{path}:{number}: half a surrogate pair at character {error.start:,} of the text, which has no UTF-8"
        ) from None
    return tree["text"]
