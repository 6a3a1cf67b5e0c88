"""Files that are whole or absent: atomic writes, checked reads, JSON and tensors, never pickle.

A tensor file is safetensors whose metadata entry ``golf`` is JSON: ``{"kind", "meta", "sha256"}``. The sha256 covers
kind, meta, and every tensor's name, type, shape and bytes in the order of the names, so a flipped bit anywhere is seen.
"""

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from golf.errors import ArtifactError

_MAX_HEADER_BYTES = 64 << 20  # bytes of a safetensors header; a claim beyond it is damage
RERUN_HINT = "run the stage that wrote it again, or bring it back with: dvc checkout"


@contextlib.contextmanager
def atomic_write(path):
    """A temporary path beside ``path`` that replaces it when the block ends well, and vanishes when it does not."""
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
    finally:
        Path(tmp_name).unlink(missing_ok=True)


def remove_dirs(*folders) -> None:
    """Remove what an earlier run left in folders that this one fills anew."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path, data: bytes) -> None:
    with atomic_write(path) as tmp_path:
        tmp_path.write_bytes(data)


def write_json(path, obj) -> None:
    """Human-readable, one key a line, floats as Python prints them. NaN is refused: it is not JSON."""
    write_bytes(path, (json.dumps(obj, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path) -> dict:
    """Raises BadArtifact when the file is missing or is not one JSON object."""
    try:
        obj = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise ArtifactError(path, "not found", RERUN_HINT) from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"not valid JSON ({error})", RERUN_HINT) from None
    if not isinstance(obj, dict):
        raise ArtifactError(path, f"expected a JSON object, got {type(obj).__name__}", RERUN_HINT)
    return obj


def write_csv(path, rows: list[dict]) -> None:
    """Rows of one set of keys as CSV, which dvc plots reads."""
    with atomic_write(path) as tmp_path, open(tmp_path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["empty"])
        writer.writeheader()
        writer.writerows(rows)


def sha256_file(path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(obj) -> str:
    """sha256 of what a tree says, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()


def sha256_tensors(tensors: dict[str, torch.Tensor], kind: str, meta: dict) -> str:
    """sha256 over kind, meta and every tensor's name, type, shape and bytes, in the order of the names."""
    hasher = hashlib.sha256(json.dumps([kind, meta], sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return hasher.hexdigest()


def save_tensors(path, tensors: dict[str, torch.Tensor], *, kind: str, meta: dict) -> None:
    """Write a tensor file. kind: what it is ("weights", "codes", ...); meta: JSON that describes it."""
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


def load_tensors(path, *, kind: str | None = None) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors and the meta of a file of this kind (None: any), checked in full before anything is returned.

    Raises BadArtifact: missing, cut short, an absurd header, another kind, or a checksum that does not match.
    """
    golf_header = read_header(path)
    if kind is not None and golf_header["kind"] != kind:
        raise ArtifactError(path, f"holds {golf_header['kind']!r}, expected {kind!r}", RERUN_HINT)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ArtifactError(path, f"damaged ({error})", RERUN_HINT) from None
    if sha256_tensors(tensors, golf_header["kind"], golf_header["meta"]) != golf_header["sha256"]:
        raise ArtifactError(path, "its checksum does not match its content: the file is damaged", RERUN_HINT)
    return tensors, golf_header["meta"]


def read_header(path) -> dict:
    """kind, meta and sha256 of a tensor file from its header alone; the tensors are not read or checked."""
    try:
        file_bytes = os.path.getsize(path)
        with open(path, "rb") as file:
            length_prefix = file.read(8)
            header_bytes = struct.unpack("<Q", length_prefix)[0] if len(length_prefix) == 8 else -1
            if not 2 <= header_bytes <= min(file_bytes - 8, _MAX_HEADER_BYTES):
                raise ArtifactError(
                    path, f"not a tensor file: {file_bytes} bytes with a header of {header_bytes}", RERUN_HINT
                )
            safetensors_header = json.loads(file.read(header_bytes))
        header_json = safetensors_header["__metadata__"]["golf"]
        golf_header = json.loads(header_json)
        if not (
            isinstance(golf_header["kind"], str)
            and isinstance(golf_header["meta"], dict)
            and isinstance(golf_header["sha256"], str)
        ):
            raise ValueError("label")
        if (
            json.dumps(golf_header, sort_keys=True) != header_json
        ):  # 1E-05 for 1e-05: a flipped bit that its value does not show
            raise ValueError("label")
    except (FileNotFoundError, IsADirectoryError):
        raise ArtifactError(path, "not found", RERUN_HINT) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArtifactError(
            path, "no readable golf label in its header: damaged or written by something else", RERUN_HINT
        ) from None
    return golf_header
