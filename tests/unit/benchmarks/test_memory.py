"""benchmarks/memory.py: the formula that is fitted is the memory's own, and fitting helps."""

import dataclasses

import numpy as np
import torch

from benchmarks import memory
from golf.config.sections import MemoryConfig
from golf.inference.ngram_memory import NgramMemory

CFG = MemoryConfig(
    scope="stream",
    orders=(1, 2, 4),
    escape_weights=(3.0, 1.5, 0.25),
    max_successors=4,
    recency_exponent=1.4,
    cache_tokens=None,
    cache_theta=0,
    cache_decay_tokens=1,
    cache_exponent=1,
    cache_escape_weight=1,
    tilt_order=None,
    tilt_beta=0,
    tilt_threshold=0,
    hedge=(),
    hedge_rate=0,
)
TOKENS = np.tile(np.random.default_rng(0).integers(0, 9, 60), 3).astype(np.uint16)
MODEL_PROBS = torch.full((len(TOKENS) - 1,), 1 / 9, dtype=torch.float64)


def mix(cfg: MemoryConfig) -> torch.Tensor:
    statistics = memory.collect_statistics(TOKENS, cfg.orders, cfg.max_successors)
    parameters = torch.tensor([*cfg.escape_weights, cfg.recency_exponent], dtype=torch.float64)
    return statistics.mix(MODEL_PROBS, parameters[:-1], parameters[-1])


def test_the_fitted_formula_is_the_memorys():
    expected = NgramMemory(CFG).mix_nll(TOKENS[:1], TOKENS[1:], -MODEL_PROBS.log().numpy())
    np.testing.assert_allclose(-mix(CFG).log().numpy(), expected, atol=1e-6)


def test_fitted_settings_are_better_and_still_valid():
    statistics = memory.collect_statistics(TOKENS, CFG.orders, CFG.max_successors)
    fitted = memory.fit(statistics, MODEL_PROBS, CFG)
    assert mix(fitted).log().mean() > mix(CFG).log().mean() + 0.05
    assert dataclasses.replace(fitted, escape_weights=CFG.escape_weights, recency_exponent=CFG.recency_exponent) == CFG
