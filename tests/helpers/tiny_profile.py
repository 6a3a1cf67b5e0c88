"""A profile for a benchmark of the tiny model."""

import dataclasses
from pathlib import Path

from ruamel.yaml import YAML

from golf.config.model import ModelConfig
from tests.helpers.tiny_corpus import ROOT


def write_tiny_profile(path: Path, model_cfg: ModelConfig) -> None:
    """Write the record profile with this model, on one CPU rank, with steps and chunks of a few tokens."""
    params = YAML(typ="safe", pure=True).load((ROOT / "profiles" / "record.yaml").read_text(encoding="utf-8"))
    params["model"] |= dataclasses.asdict(model_cfg)
    params["train"] |= {"device": "cpu", "ranks": 1, "dtype": "float32", "batch_tokens": 256, "micro_batch_tokens": 128}
    for section in ("ttt", "evaluate", "calibrate", "ema", "prequant"):
        for key in ("eval_batch_tokens", "batch_tokens", "micro_batch_tokens", "chunk_tokens"):
            if key in params[section]:
                params[section][key] = 128
    for section in ("ttt", "evaluate"):
        params[section] |= {"stride": 16, "ranks": 1}
    params["calibrate"] |= {"ranks": 1}
    with open(path, "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)
