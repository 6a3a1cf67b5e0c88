"""The settings of test-time training that a predictor reads, for tests that need no params.yaml."""

from types import SimpleNamespace
from typing import Any


def make_ttt_settings(**changes: Any) -> SimpleNamespace:
    """Score-first SGD on all weights, with ``changes``."""
    settings = {"method": "score_first", "lora": None, "phased": None, "lr": 0.05, "momentum": 0.9, "epochs": 1}
    return SimpleNamespace(**settings | {"freeze_blocks": 0, "grad_clip": 1.0, "batch_tokens": 64} | changes)
