import dataclasses
import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.distributed import context as distributed_context
from golf.inference.scorer import Scorer, random_windows
from golf.model.gpt import GPT


@pytest.fixture(scope="module")
def model(tiny_model_config):
    made = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) * 0.1)
    return made


@pytest.fixture(scope="module")
def stream():
    return np.random.default_rng(0).integers(0, 260, 151).astype(np.uint16)


def scorer(model, rows: int = 4) -> Scorer:
    return Scorer(model, distributed_context.single_process(), eval_batch_tokens=rows * model.shape.context)


def slow_nll(model, stream, stride):
    """Each target by itself: the whole window is run and one position read."""
    context, found = model.shape.context, []
    for position in range(len(stream) - 1):
        start = 0 if position < context else (position - context) // stride * stride + stride
        inputs = torch.from_numpy(stream[start : position + 1].astype(np.int64))[None]
        with torch.no_grad():
            logits = model.logits(model(inputs, recurrent=True))[0, -1]
        found.append(-logits.log_softmax(-1)[int(stream[position + 1])].item())
    return np.array(found, dtype=np.float32)


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_a_pass_scores_each_target_with_the_context_its_window_allows(model, stream, stride):
    nll = scorer(model).score(stream[:1], stream[1:], stride=stride)

    np.testing.assert_allclose(nll, slow_nll(model, stream, stride), atol=2e-5)


@pytest.mark.parametrize("stride", [4, 8, 32])
@settings(max_examples=20)
@given(cuts=st.sets(st.integers(1, 149), max_size=6))
def test_chunk_by_chunk_gives_what_one_pass_gives_wherever_the_cuts_are(model, stream, stride, cuts):
    ours = scorer(model)
    whole = ours.score(stream[:1], stream[1:], stride=stride)
    bounds = itertools.pairwise([0, *sorted(cuts), 150])
    parts = [ours.score(stream[: b + 1], stream[b + 1 : e + 1], stride=stride) for b, e in bounds]

    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-6)


@pytest.mark.parametrize("stride", [4, 8])
def test_only_the_first_window_is_ever_run_whole(model, stream, stride):
    ours, tails = scorer(model), []
    nll = ours.compiled_nll
    ours.compiled_nll = lambda inputs, targets: tails.append(targets.shape[1]) or nll(inputs, targets)
    for begin in (0, 5, 30, 31, 32, 33, 77):
        tails.clear()
        ours.score(stream[: begin + 1], stream[begin + 1 :], stride=stride)
        assert tails.count(32) == (begin < 32 - stride)
        assert set(tails) <= {32, stride}


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_the_distribution_of_every_position_is_the_one_that_scored_it(model, stream, stride):
    ours = scorer(model)
    nll = ours.score(stream[:1], stream[1:], stride=stride)
    for begin in (0, 3, 45, 149):
        rows = range(150 - begin)
        found = ours.log_probs(stream[: begin + 1], stream[begin + 1 :], rows, stride=stride)
        np.testing.assert_allclose(-found[rows, stream[begin + 1 :]], nll[begin:], atol=2e-5)


def test_a_score_never_depends_on_later_text(model, stream):
    changed = stream.copy()
    changed[100:] = 7
    before = scorer(model).score(stream[:1], stream[1:], stride=8)
    after = scorer(model).score(changed[:1], changed[1:], stride=8)

    np.testing.assert_array_equal(before[:99], after[:99])
    assert not np.allclose(before[99:], after[99:])


def test_how_many_windows_run_at_a_time_does_not_matter(model, stream):
    one, many = (scorer(model, rows).score(stream[:1], stream[1:], stride=4) for rows in (1, 16))

    np.testing.assert_allclose(one, many, atol=2e-6)


def test_rows_of_log_probabilities_are_whole_distributions_that_hold_the_scores(model, stream):
    ours = scorer(model)
    prefix, chunk = stream[:65], stream[65:129]
    nll = ours.score(prefix, chunk, stride=8)
    rows = ours.log_probs(prefix, chunk, [0, 7, 63], stride=8)

    np.testing.assert_allclose(np.exp(rows.astype(np.float64)).sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(-rows[range(3), chunk[[0, 7, 63]]], nll[[0, 7, 63]], atol=2e-5)


@pytest.mark.parametrize("stride", [4, 32])
@pytest.mark.parametrize("ranks", [2, 3])
def test_windows_are_shared_out_evenly_and_what_the_ranks_find_adds_up_to_the_whole(model, stream, stride, ranks):
    found, windows = np.zeros(150, np.float32), []
    for rank in range(ranks):
        ours, seen = scorer(model), []
        ours.ctx = dataclasses.replace(ours.ctx, rank=rank, ranks=ranks)
        nll = ours.compiled_nll
        ours.compiled_nll = lambda x, y, nll=nll, seen=seen: seen.append(len(x)) or nll(x, y)
        with mock.patch.object(distributed_context.DistContext, "all_reduce", lambda _, tensor: tensor):
            part = ours.score(stream[:1], stream[1:], stride=stride)
        assert (part[found != 0] == 0).all(), "a target that two ranks scored"
        found += part
        windows.append(sum(seen))

    np.testing.assert_allclose(found, scorer(model).score(stream[:1], stream[1:], stride=stride), atol=2e-6)
    assert max(windows) - min(windows) <= 1 + (stride < 32)  # a rank has the stream's first window too


def test_random_windows_are_of_no_stream_and_the_same_in_every_process(tiny_model_config):
    before = torch.get_rng_state()
    x, y = random_windows(tiny_model_config, 64, distributed_context.single_process())

    assert x.shape == y.shape == (64, tiny_model_config.context)
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert 250 < len(x.unique()) <= tiny_model_config.vocab_size
    assert torch.equal(random_windows(tiny_model_config, 64, distributed_context.single_process())[0], x)
    assert torch.equal(torch.get_rng_state(), before), "its dice are its own"
