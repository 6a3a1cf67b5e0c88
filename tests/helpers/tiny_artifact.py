"""A tiny artifact with its tokenizer, as compress and fetch would leave them, with random weights."""

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace

import torch

from golf.artifacts import json_records
from golf.compression import writer
from golf.data import transforms
from golf.data.tokenization.trainer import train_tokenizer
from golf.model.gpt import GPT
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG, make_tiny_corpus

VOCAB_SIZE = 320


def write_tiny_artifact(folder: Path, transform: str = "none", **changes) -> SimpleNamespace:
    """Write artifacts/compress/model.golf and artifacts/fetch/tokenizer.model below ``folder``; return both paths.

    transform: of the tokenizer's texts, which a manifest then names. changes: of the tiny model's configuration.
    """
    artifact = folder / "artifacts/compress/model.golf"
    tokenizer = folder / "artifacts/fetch/tokenizer.model"
    for path in (artifact, tokenizer):
        path.parent.mkdir(parents=True, exist_ok=True)
    model_cfg = dataclasses.replace(TINY_MODEL_CONFIG, **{"vocab_size": VOCAB_SIZE} | changes)
    model = GPT(model_cfg).init_weights(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: (tensor + torch.randn(tensor.shape, generator=generator) * 0.1).half()
        for name, tensor in model.state_dict().items()
    }
    data = writer.pack(tensors, model_cfg, upstream_splits=("train",), codec="brotli", brotli_quality=5)
    artifact.write_bytes(data)
    tokenizer.write_bytes(_train_tokenizer(transform))
    if transform != "none":
        json_records.write_sealed(tokenizer.with_name("manifest.json"), {"transform": transform})
    return SimpleNamespace(artifact=artifact, tokenizer=tokenizer)


@functools.cache
def _train_tokenizer(transform_name: str) -> bytes:
    transform = transforms.get_transform(transform_name)
    texts = [transform.encode(text) for text in make_tiny_corpus()]
    return train_tokenizer(texts, VOCAB_SIZE, transform.symbols)
