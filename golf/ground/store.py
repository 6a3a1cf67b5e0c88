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

from golf.ground.errors import BadArtifact

HEADER_LIMIT = 64 << 20  # bytes of a safetensors header; a claim beyond it is damage
RERUN = "run the stage that wrote it again, or bring it back with: dvc checkout"


@contextlib.contextmanager
def writing(path):
    """A temporary path beside ``path`` that replaces it when the block ends well, and vanishes when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def clear(*folders) -> None:
    """Remove what an earlier run left in folders that this one fills anew."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def write_bytes(path, data: bytes) -> None:
    with writing(path) as partial:
        partial.write_bytes(data)


def write_json(path, tree) -> None:
    """Human-readable, one key a line, floats as Python prints them. NaN is refused: it is not JSON."""
    write_bytes(path, (json.dumps(tree, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path) -> dict:
    """Raises BadArtifact when the file is missing or is not one JSON object."""
    try:
        tree = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise BadArtifact(path, "not found", RERUN) from None
    except (ValueError, RecursionError) as error:
        raise BadArtifact(path, f"not valid JSON ({error})", RERUN) from None
    if not isinstance(tree, dict):
        raise BadArtifact(path, f"expected a JSON object, got {type(tree).__name__}", RERUN)
    return tree


def write_table(path, rows: list[dict]) -> None:
    """Rows of one set of keys as CSV, which dvc plots reads."""
    with writing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["empty"])
        table.writeheader()
        table.writerows(rows)


def digest(path) -> str:
    """sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(tree) -> str:
    """sha256 of what a tree says, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def tensors_digest(tensors: dict[str, torch.Tensor], kind: str, meta: dict) -> str:
    """sha256 over kind, meta and every tensor's name, type, shape and bytes, in the order of the names."""
    total = hashlib.sha256(json.dumps([kind, meta], sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return total.hexdigest()


def save_tensors(path, tensors: dict[str, torch.Tensor], *, kind: str, meta: dict) -> None:
    """Write a tensor file. kind: what it is ("weights", "codes", ...); meta: JSON that describes it."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    meta = json.loads(json.dumps(meta))
    label = {"kind": kind, "meta": meta, "sha256": tensors_digest(tensors, kind, meta)}
    with writing(path) as partial:
        try:
            save_file(tensors, partial, metadata={"golf": json.dumps(label, sort_keys=True)})
        except SafetensorError as error:
            if (code := re.search(r"\(os error (\d+)\)", str(error))) is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


def load_tensors(path, *, kind: str | None = None) -> tuple[dict[str, torch.Tensor], dict]:
    """The tensors and the meta of a file of this kind (None: any), checked in full before anything is returned.

    Raises BadArtifact: missing, cut short, an absurd header, another kind, or a checksum that does not match.
    """
    label = read_label(path)
    if kind is not None and label["kind"] != kind:
        raise BadArtifact(path, f"holds {label['kind']!r}, expected {kind!r}", RERUN)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise BadArtifact(path, f"damaged ({error})", RERUN) from None
    if tensors_digest(tensors, label["kind"], label["meta"]) != label["sha256"]:
        raise BadArtifact(path, "its checksum does not match its content: the file is damaged", RERUN)
    return tensors, label["meta"]


def read_label(path) -> dict:
    """kind, meta and sha256 of a tensor file from its header alone; the tensors are not read or checked."""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 2 <= length <= min(size - 8, HEADER_LIMIT):
                raise BadArtifact(path, f"not a tensor file: {size} bytes with a header of {length}", RERUN)
            header = json.loads(file.read(length))
        text = header["__metadata__"]["golf"]
        label = json.loads(text)
        if not (
            isinstance(label["kind"], str) and isinstance(label["meta"], dict) and isinstance(label["sha256"], str)
        ):
            raise ValueError("label")
        if json.dumps(label, sort_keys=True) != text:  # 1E-05 for 1e-05: a flipped bit that its value does not show
            raise ValueError("label")
    except (FileNotFoundError, IsADirectoryError):
        raise BadArtifact(path, "not found", RERUN) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadArtifact(
            path, "no readable golf label in its header: damaged or written by something else", RERUN
        ) from None
    return label
