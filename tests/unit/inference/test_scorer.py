"""golf.inference.scorer: sliding windows against a slow reference, cuts, batches and ranks."""

import dataclasses
import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.distributed import context as distributed_context
from golf.inference.document_scorer import DocumentScorer
from golf.inference.scorer import Scorer, random_windows
from golf.model.gpt import GPT


@pytest.fixture(scope="module")
def model(tiny_model_config):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) * 0.1)
    return model


@pytest.fixture(scope="module")
def stream():
    return np.random.default_rng(0).integers(0, 260, 151).astype(np.uint16)


def make_scorer(model, n_rows: int = 4) -> Scorer:
    return Scorer(model, distributed_context.single_process(), eval_batch_tokens=n_rows * model.cfg.context_length)


def reference_nll(model, stream, stride):
    """Each target by itself: run the model over its window and read one position."""
    context_length, nll = model.cfg.context_length, []
    for position in range(len(stream) - 1):
        start = 0 if position < context_length else (position - context_length) // stride * stride + stride
        inputs = torch.from_numpy(stream[start : position + 1].astype(np.int64))[None]
        with torch.no_grad():
            logits = model.logits(model(inputs, recurrent=True))[0, -1]
        nll.append(-logits.log_softmax(-1)[int(stream[position + 1])].item())
    return np.array(nll, dtype=np.float32)


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_a_pass_scores_each_target_with_the_context_its_window_allows(model, stream, stride):
    nll = make_scorer(model).score(stream[:1], stream[1:], stride=stride)

    np.testing.assert_allclose(nll, reference_nll(model, stream, stride), atol=2e-5)


@pytest.mark.parametrize("stride", [4, 8, 32])
@given(cuts=st.sets(st.integers(1, 149), max_size=6))
def test_chunk_by_chunk_gives_what_one_pass_gives_wherever_the_cuts_are(model, stream, stride, cuts):
    scorer = make_scorer(model)
    whole = scorer.score(stream[:1], stream[1:], stride=stride)
    bounds = itertools.pairwise([0, *sorted(cuts), 150])
    parts = [scorer.score(stream[: b + 1], stream[b + 1 : e + 1], stride=stride) for b, e in bounds]

    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-6)


@pytest.mark.parametrize("stride", [4, 8])
def test_only_the_first_window_is_ever_run_whole(model, stream, stride):
    scorer, tails = make_scorer(model), []
    nll = scorer.compiled_nll
    scorer.compiled_nll = lambda inputs, targets: tails.append(targets.shape[1]) or nll(inputs, targets)
    for begin in (0, 5, 30, 31, 32, 33, 77):
        tails.clear()
        scorer.score(stream[: begin + 1], stream[begin + 1 :], stride=stride)
        assert tails.count(32) == (begin < 32 - stride)
        assert set(tails) <= {32, stride}


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_the_distribution_of_every_position_is_the_one_that_scored_it(model, stream, stride):
    scorer = make_scorer(model)
    nll = scorer.score(stream[:1], stream[1:], stride=stride)
    for place in (0, 1, 3, 31, 32, 33, 45, 149):
        log_probs, states = scorer.predict(stream[: place + 1], stride=stride)
        assert states.shape == (1, model.cfg.d_model), "that of the token alone, unless the scorer keeps states"
        assert np.exp(log_probs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
        assert -log_probs[stream[place + 1]] == pytest.approx(nll[place], abs=2e-5)


@pytest.mark.parametrize("order", ["stream", "documents"])
@pytest.mark.parametrize("has_hints", [False, True])
def test_a_mix_gets_each_window_with_the_states_that_a_prediction_has(model, stream, order, has_hints):
    stream = stream.copy()
    stream[[40, 41, 90]] = stream[0]
    scorer = make_scorer(model)
    source = scorer if order == "stream" else DocumentScorer(scorer)
    begin, hints = 37, stream[38:] ^ 1 if has_hints else None
    expected = source.score(stream[: begin + 1], stream[begin + 1 :], stride=8, hints=hints)
    scorer.keeps_states = True
    windows = {}

    def mix(end, nll, states):
        windows[end] = nll.shape[-1], states
        return nll + np.float32(1)

    mixed = source.score(stream[: begin + 1], stream[begin + 1 :], stride=8, hints=hints, mix=mix)

    np.testing.assert_allclose(mixed, expected + 1, atol=2e-5)
    assert sum(n for n, _ in windows.values()) == len(stream) - 1 - begin
    for end, (_, states) in windows.items():
        log_probs, own_states = source.predict(stream[: begin + end], stride=8)
        np.testing.assert_allclose(own_states, states, atol=2e-5)
        first_row = mixed.reshape(-1, len(stream) - 1 - begin)[0]
        assert 1 - log_probs[stream[begin + end]] == pytest.approx(first_row[end - 1], abs=2e-5)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("n", [1, 20, 64, 149])
def test_states_of_a_chunk_are_those_of_windows_that_do_not_overlap(model, stream, n, ranks, monkeypatch):
    monkeypatch.setattr(distributed_context.DistContext, "all_reduce", lambda _, tensor: tensor)
    with torch.no_grad():
        parts = [torch.from_numpy(stream[i : min(i + 32, n)].astype(np.int64))[None] for i in range(0, n, 32)]
        expected = torch.cat([model(part, recurrent=True)[0] for part in parts])
    contexts = [
        dataclasses.replace(distributed_context.single_process(), rank=rank, world_size=ranks) for rank in range(ranks)
    ]
    states = sum(Scorer(model, ctx, eval_batch_tokens=64).compute_states(stream[: n + 1]) for ctx in contexts)
    np.testing.assert_allclose(states, expected, atol=2e-5)


def test_a_score_never_depends_on_later_text(model, stream):
    changed = stream.copy()
    changed[100:] = 7
    before = make_scorer(model).score(stream[:1], stream[1:], stride=8)
    after = make_scorer(model).score(changed[:1], changed[1:], stride=8)

    np.testing.assert_array_equal(before[:99], after[:99])
    assert not np.allclose(before[99:], after[99:])


def test_how_many_windows_run_at_a_time_does_not_matter(model, stream):
    one, many = (make_scorer(model, rows).score(stream[:1], stream[1:], stride=4) for rows in (1, 16))

    np.testing.assert_allclose(one, many, atol=2e-6)


@pytest.mark.parametrize("stride", [4, 32])
@pytest.mark.parametrize("ranks", [2, 3])
def test_windows_are_shared_out_evenly_and_the_ranks_scores_add_up_to_the_whole(model, stream, stride, ranks):
    nll, n_windows = np.zeros(150, np.float32), []
    for rank in range(ranks):
        scorer, batch_sizes = make_scorer(model), []
        scorer.ctx = dataclasses.replace(scorer.ctx, rank=rank, world_size=ranks)
        window_nll = scorer.compiled_nll
        scorer.compiled_nll = lambda x, y, f=window_nll, sizes=batch_sizes: sizes.append(len(x)) or f(x, y)
        with mock.patch.object(distributed_context.DistContext, "all_reduce", lambda _, tensor: tensor):
            part = scorer.score(stream[:1], stream[1:], stride=stride)
        assert (part[nll != 0] == 0).all(), "two ranks scored one target"
        nll += part
        n_windows.append(sum(batch_sizes))

    np.testing.assert_allclose(nll, make_scorer(model).score(stream[:1], stream[1:], stride=stride), atol=2e-6)
    assert max(n_windows) - min(n_windows) <= 1 + (stride < 32)  # a rank has the stream's first window too


def test_random_windows_are_of_no_stream_and_the_same_in_every_process(tiny_model_config):
    before = torch.get_rng_state()
    x, y = random_windows(tiny_model_config, 64, distributed_context.single_process())

    assert x.shape == y.shape == (64, tiny_model_config.context_length)
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert 250 < len(x.unique()) <= tiny_model_config.vocab_size
    assert torch.equal(random_windows(tiny_model_config, 64, distributed_context.single_process())[0], x)
    assert torch.equal(torch.get_rng_state(), before), "it has a generator of its own"
