"""benchmarks/plain_gpt.py, plain_gpt_training.py: the baseline's file, its windows, its choice of levels"""

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from golf.distributed import context
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import plain_gpt
import plain_gpt_training
from plain_gpt_training import GptSettings

VOCAB_SIZE, CONTEXT_LENGTH = 40, 16


@pytest.fixture
def model() -> plain_gpt.PlainGPT:
    """Weights large enough for scores that differ."""
    tiny = plain_gpt.PlainGPT(VOCAB_SIZE, 32, 2, CONTEXT_LENGTH)
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.mul_(5)
    return tiny


def make_tokens(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, VOCAB_SIZE, n).astype(np.uint16)


@pytest.mark.parametrize("stride", [4, CONTEXT_LENGTH])
@pytest.mark.parametrize("n_tokens", [9, 17, 50, 65])
def test_each_target_is_scored_once_in_the_window_that_ends_with_its_group(model, stride, n_tokens):
    tokens = make_tokens(n_tokens)
    nll = plain_gpt.score(model, tokens, stride, batch_tokens=40)
    ids = torch.from_numpy(tokens.astype(np.int64))
    for target in range(n_tokens - 1):
        group_end = CONTEXT_LENGTH + max(0, -(-(target + 1 - CONTEXT_LENGTH) // stride)) * stride
        stop = min(group_end, n_tokens - 1)
        start = max(0, stop - CONTEXT_LENGTH)
        expected = model.nll(ids[None, start : target + 1], ids[None, target + 1 : target + 2])
        assert nll[target] == pytest.approx(expected.item(), abs=1e-4)


def test_a_file_restores_the_rounded_weights(model):
    restored = plain_gpt.unpack(plain_gpt_training.pack(model, 127))
    for (name, ours), theirs in zip(model.state_dict().items(), restored.state_dict().values(), strict=True):
        step = ours.abs().amax(-1, keepdim=True) / 127
        assert ((ours - theirs).abs() <= 0.51 * step + 1e-3 * ours.abs()).all(), name


def test_the_file_has_the_finest_steps_that_fit(model):
    limit_bytes = len(plain_gpt_training.pack(model, 20)) + 10
    data, level = plain_gpt_training.fit(model, limit_bytes)
    assert 0.95 * limit_bytes < len(data) <= limit_bytes < len(plain_gpt_training.pack(model, 1.1 * level))
    assert plain_gpt_training.fit(model, 10) == (b"", 0.0)


def test_training_uses_up_its_seconds_and_lowers_the_loss(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(plain_gpt_training, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    tokens = np.tile(np.arange(8, dtype=np.uint16), 400)
    settings = GptSettings(32, 1e-2, 40.0, CONTEXT_LENGTH, batch_tokens=64, n_layers=1)
    trained, n_steps, seconds = plain_gpt_training.train(tokens, VOCAB_SIZE, settings, context.single_process())
    assert (n_steps, seconds) == (39, 41), "one reading of the clock each step, at the start and at the end"
    assert plain_gpt.score(trained, tokens[:200], CONTEXT_LENGTH, 256).mean() < 0.5 * np.log(VOCAB_SIZE)


def test_fewer_bits_allow_a_wider_model():
    widths = plain_gpt_training.list_widths(4096, 1_000_000)
    assert widths[8] < widths[6] < widths[4]
    assert all(width % plain_gpt.HEAD_SIZE == 0 for width in widths.values())
