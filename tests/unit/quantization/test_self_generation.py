"""golf/quantization/self_generation.py: text drawn from the model's own distributions"""

import dataclasses

import numpy as np
import pytest
import torch

from golf.distributed.context import single_process
from golf.pipeline.progress import Progress
from golf.quantization.self_generation import generate_windows, sample_tokens
from tests.helpers.quantization_inputs import MODEL_CONFIG, make_model

N_WINDOWS, LENGTH = 6, MODEL_CONFIG.context_length + 1


def generate(*, rank: int = 0, world_size: int = 1, micro_rows: int = 4, temperature: float = 0.8, seed: int = 3):
    ctx = dataclasses.replace(single_process(), rank=rank, world_size=world_size)
    progress = Progress("calibrate", None, "tokens", quiet=True)
    options = {"micro_rows": micro_rows, "temperature": temperature, "seed": seed}
    return generate_windows(make_model(), N_WINDOWS, ctx=ctx, progress=progress, **options)


@pytest.mark.parametrize("vocab_size", [2, 5, 100])
def test_a_token_is_drawn_where_the_cumulative_probability_exceeds_the_draw(vocab_size):
    rng = np.random.default_rng(0)
    logits, draws = rng.normal(size=(40, vocab_size)), rng.random(40)
    expected = []
    for row, draw in zip(logits, draws, strict=True):
        probs, total, token = np.exp(row) / np.exp(row).sum(), 0.0, 0
        while (total := total + probs[token]) <= draw and token < vocab_size - 1:
            token += 1
        expected.append(token)
    assert sample_tokens(torch.from_numpy(logits), torch.from_numpy(draws)).tolist() == expected


def test_frequencies_follow_the_distribution():
    logits, n = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])), 20_000
    draws = torch.from_numpy(np.random.default_rng(1).random(n))
    frequencies = torch.bincount(sample_tokens(logits.expand(n, 4), draws), minlength=4) / n
    torch.testing.assert_close(frequencies, logits.exp(), atol=0.015, rtol=0)


def test_each_window_is_the_continuation_that_its_draws_choose():
    windows, model = generate(), make_model()
    assert windows.shape == (N_WINDOWS, LENGTH)
    for index, window in enumerate(windows):
        draws = np.random.default_rng([3, index]).random(LENGTH)
        assert window[0] == int(draws[0] * MODEL_CONFIG.vocab_size)
        with torch.no_grad():
            logits = model.logits(model(window[None, :-1], recurrent=True))[0]
        assert sample_tokens(logits / 0.8, torch.from_numpy(draws[1:])).tolist() == window[1:].tolist()


def test_neither_ranks_nor_the_size_of_a_forward_pass_change_the_windows():
    whole = generate()
    for rank in range(2):
        assert torch.equal(generate(rank=rank, world_size=2, micro_rows=1), whole[rank::2])
    assert not torch.equal(generate(seed=4), whole)


def test_a_low_temperature_gives_the_most_probable_tokens():
    windows, model = generate(temperature=0.01), make_model()
    with torch.no_grad():
        best = model.logits(model(windows[:, :-1], recurrent=True)).argmax(-1)
    assert (best == windows[:, 1:]).float().mean() > 0.9
