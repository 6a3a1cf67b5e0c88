"""``golf export``: an artifact's weights in files that other programs read."""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch

from golf.artifacts import io
from golf.errors import InputError
from golf.evaluation import loaded_model
from golf.evaluation.loaded_model import LoadedModel
from golf.pipeline.progress import format_count

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "export_safetensors"]

WEIGHTS_FILE, CONFIG_FILE, _TOKENIZER_FILE = "model.safetensors", "config.json", "tokenizer.model"
_FORMAT_VERSION = 1


def export_safetensors(artifact: Path, tokenizer: Path | None, folder: Path, *, as_json: bool) -> str:
    """Write an artifact's weights, configuration and tokenizer into a new folder, whole or not at all; report on them.

    WEIGHTS_FILE holds every tensor in fp32, exactly the weights that the predictor computes with, and no other
    metadata than safetensors' own. CONFIG_FILE: docs/cli.md#golf-export has its keys.
    tokenizer: None for the one beside the artifact.
    Raises InputError when ``folder`` holds something or is a file, and what ``golf.load`` raises.
    """
    model = loaded_model.load(artifact, tokenizer)
    weights = {name: tensor.detach().contiguous() for name, tensor in model.network.state_dict().items()}
    with _write_folder(folder) as work_dir:
        io.write_bytes(work_dir / WEIGHTS_FILE, safetensors_torch.save(weights, metadata={"format": "pt"}))
        io.write_json(work_dir / CONFIG_FILE, _describe(model, artifact, weights))
        io.write_bytes(work_dir / _TOKENIZER_FILE, model.tokenizer.model_bytes)
    sizes = {name: (folder / name).stat().st_size for name in (WEIGHTS_FILE, CONFIG_FILE, _TOKENIZER_FILE)}
    n_parameters = sum(tensor.numel() for tensor in weights.values())
    if as_json:
        report = {"folder": str(folder), "tensors": len(weights), "parameters": n_parameters, "bytes": sizes}
        return json.dumps(report, indent=2)
    listing = ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items())
    counts = f"{format_count(n_parameters, 'parameter')} in {format_count(len(weights), 'tensor')}"
    return f"{folder}: {counts} of fp32; {listing}"


def _describe(model: LoadedModel, artifact: Path, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    encoder, decoder = model.config.layer_order(recurrent=True)
    return {
        "format": "golf-safetensors",
        "version": _FORMAT_VERSION,
        "artifact_sha256": io.sha256_file(artifact),
        "upstream_splits": list(model.upstream_splits),
        "model": dataclasses.asdict(model.config),
        "layer_order": {"encoder": list(encoder), "decoder": list(decoder)},
        "tokenizer": {
            "file": _TOKENIZER_FILE,
            "sha256": model.tokenizer.sha256,
            "bos_id": model.tokenizer.bos,
            "transform": model.transform_name,
        },
        "tensors": {name: list(tensor.shape) for name, tensor in sorted(weights.items())},
    }


@contextmanager
def _write_folder(folder: Path) -> Iterator[Path]:
    """Yield a work folder that becomes ``folder`` when the block succeeds and is removed when it raises."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: exists; give a new or empty folder")
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    work_dir = Path(tempfile.mkdtemp(dir=folder.absolute().parent, prefix=f".{folder.name}.", suffix=".partial"))
    try:
        yield work_dir
        os.chmod(work_dir, 0o755)
        work_dir.replace(folder)
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)
