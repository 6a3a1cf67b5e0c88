"""Read and write files atomically and with checks: JSON, CSV tables and tensors; never pickle.

A tensor file is a safetensors file whose metadata entry ``golf`` is JSON: ``{"kind", "meta", "sha256"}``. The sha256
covers kind, meta, and every tensor's name, dtype, shape and bytes in the order of the names, so that any flipped bit is
detected.
"""

import contextlib
import csv
import hashlib
import json
import math
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from golf.errors import ArtifactError

__all__ = [
    "atomic_write",
    "encode_json",
    "group_by",
    "load_tensors",
    "parse_finite_float",
    "parse_non_negative_float",
    "read_csv",
    "read_header",
    "read_json",
    "remove_dirs",
    "replace_together",
    "save_tensors",
    "sha256_file",
    "sha256_json",
    "sha256_tensors",
    "write_bytes",
    "write_csv",
    "write_json",
]

_MAX_HEADER_BYTES = 64 << 20  # a longer safetensors header is taken for damage


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block succeeds and is removed when it raises.

    An OSError of the block that names no file gets ``path`` as its filename.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, tmp_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(fd)
    try:
        yield Path(tmp_name)
        with open(tmp_name, "rb+") as tmp_file:
            os.fsync(tmp_file.fileno())
        os.chmod(tmp_name, 0o644)
        os.replace(tmp_name, path)
    except OSError as error:
        if error.filename in (None, tmp_name):  # a write to an open file names none
            error.filename = str(path)
        raise
    finally:
        Path(tmp_name).unlink(missing_ok=True)


@contextlib.contextmanager
def replace_together(*paths: str | os.PathLike[str]) -> Iterator[Path]:
    """Replace several files or folders of one folder as one transaction.

    Yields an empty work folder beside ``paths``. When the block succeeds, each path is replaced by the entry of the
    same name in the work folder, in the order given; when it raises, nothing has changed. The work folder is removed.
    """
    targets = [Path(path) for path in paths]
    parent_dir = targets[0].parent
    parent_dir.mkdir(parents=True, exist_ok=True)
    work_dir = Path(tempfile.mkdtemp(dir=parent_dir, prefix=".", suffix=".partial"))
    try:
        yield work_dir
        for target in targets:
            if target.is_dir():
                target.rename(work_dir / f"{target.name}.old")
            (work_dir / target.name).replace(target)
    finally:
        shutil.rmtree(work_dir)


def remove_dirs(*folders: Path | str) -> None:
    """Remove folders and their contents; missing folders are ignored."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` atomically, creating the folder if needed."""
    with atomic_write(path) as tmp_path:
        tmp_path.write_bytes(data)


def write_json(path: Path | str, obj: object) -> None:
    """Write readable JSON, one key per line. Raises ValueError for NaN and infinity, which JSON does not have."""
    write_bytes(path, encode_json(obj))


def encode_json(obj: object) -> bytes:
    """What ``write_json`` writes. Raises ValueError for NaN and infinity."""
    return (json.dumps(obj, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def read_json(path: Path | str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises ArtifactError if the file is missing or holds anything else."""
    try:
        obj = json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ArtifactError(path, "not found") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"not valid JSON ({error})") from None
    if not isinstance(obj, dict):
        raise ArtifactError(path, f"expected a JSON object, got {type(obj).__name__}")
    return obj


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


def write_csv(path: Path | str, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows with equal keys as CSV, the format that ``dvc plots`` reads."""
    with atomic_write(path) as tmp_path, open(tmp_path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["empty"])
        writer.writeheader()
        writer.writerows(rows)


def parse_finite_float(text: str) -> float:
    """Return the finite number that ``text`` spells. Raises ValueError."""
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not finite")
    return float(text)


def parse_non_negative_float(text: str) -> float:
    """Return the finite number, 0 or more, that ``text`` spells. Raises ValueError."""
    if parse_finite_float(text) < 0:
        raise ValueError(f"{text} is below 0")
    return float(text)


def read_csv(path: Path | str, parsers: Mapping[str, Callable[[str], Any]]) -> list[dict[str, Any]]:
    """Return the rows of a CSV table, with the columns of ``parsers`` alone, whose functions convert the cells.

    Raises ArtifactError if the file is no table, or has no rows, a missing column, a short or long row, or a cell whose
    function raises ValueError.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            raw_rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(path, f"not a CSV table ({error})") from None
    if not raw_rows:
        raise ArtifactError(path, "the table has no rows")
    if missing_columns := parsers.keys() - raw_rows[0].keys():
        raise ArtifactError(path, f"the table has no column {', '.join(sorted(missing_columns))}")
    rows = []
    for row_number, row in enumerate(raw_rows, start=1):
        if None in row or None in row.values():
            raise ArtifactError(path, f"row {row_number} has more or fewer cells than the header")
        try:
            rows.append({name: parse(row[name]) for name, parse in parsers.items()})
        except ValueError as error:
            raise ArtifactError(path, f"row {row_number}: {error}") from None
    return rows


def group_by(rows: Sequence[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows by their value of ``key``, in the order of the table."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def sha256_file(path: Path | str) -> str:
    """Return the hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(obj: object) -> str:
    """Return the hex sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256_tensors(tensors: Mapping[str, torch.Tensor], kind: str, meta: dict[str, Any]) -> str:
    """Return the hex sha256 of kind, meta and each tensor's name, dtype, shape and bytes, in the names' order."""
    hasher = hashlib.sha256(json.dumps([kind, meta], sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return hasher.hexdigest()


def save_tensors(path: Path | str, tensors: Mapping[str, torch.Tensor], *, kind: str, meta: dict[str, Any]) -> None:
    """Write a tensor file. kind: what it holds ("weights", "codes", ...); meta: JSON that describes it.

    Raises OSError, as any other write does, where safetensors would raise its own error.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    meta = json.loads(json.dumps(meta))
    golf_header = {"kind": kind, "meta": meta, "sha256": sha256_tensors(tensors, kind, meta)}
    with atomic_write(path) as tmp_path:
        try:
            save_file(tensors, tmp_path, metadata={"golf": json.dumps(golf_header, sort_keys=True)})
        except SafetensorError as error:
            if (errno_match := re.search(r"\(os error (\d+)\)", str(error))) is None:
                raise
            raise OSError(int(errno_match[1]), os.strerror(int(errno_match[1])), str(path)) from None


def load_tensors(path: Path | str, *, kind: str | None = None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the meta of a file, checked in full. kind: the kind it must be; None: any.

    Raises ArtifactError if the file is missing, truncated, damaged or of another kind.
    """
    golf_header = read_header(path)
    if kind is not None and golf_header["kind"] != kind:
        raise ArtifactError(path, f"holds {golf_header['kind']!r}, expected {kind!r}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ArtifactError(path, f"damaged ({error})") from None
    if sha256_tensors(tensors, golf_header["kind"], golf_header["meta"]) != golf_header["sha256"]:
        raise ArtifactError(path, "the checksum does not match the content: the file is damaged")
    return tensors, golf_header["meta"]


def read_header(path: Path | str) -> dict[str, Any]:
    """Return kind, meta and sha256 of a tensor file, from its header alone; the tensors are neither read nor checked.

    Raises ArtifactError if the file is missing or has no such header.
    """
    try:
        file_bytes = os.path.getsize(path)
        with open(path, "rb") as file:
            length_prefix = file.read(8)
            header_bytes = struct.unpack("<Q", length_prefix)[0] if len(length_prefix) == 8 else -1
            if not 2 <= header_bytes <= min(file_bytes - 8, _MAX_HEADER_BYTES):
                raise ArtifactError(path, f"not a tensor file: {file_bytes} bytes with a header of {header_bytes}")
            safetensors_header = json.loads(file.read(header_bytes))
        header_json = safetensors_header["__metadata__"]["golf"]
        golf_header = json.loads(header_json)
        expected_types = {"kind": str, "meta": dict, "sha256": str}
        if not all(isinstance(golf_header[key], expected) for key, expected in expected_types.items()):
            raise TypeError("golf header")
        if json.dumps(golf_header, sort_keys=True) != header_json:  # 1E-05 for 1e-05 is a flipped bit of the same value
            raise ValueError("golf header")
    except (FileNotFoundError, IsADirectoryError):
        raise ArtifactError(path, "not found") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(path, "no valid golf header: damaged, or not written by golf") from None
    return dict(golf_header)
