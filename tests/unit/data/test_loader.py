"""golf/data/loader.py"""

import gc
import itertools
import os
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.data import loader
from golf.data.loader import TokenLoader, count_min_windows, draw_epoch_windows
from golf.data.shard_file import read_shard, write_shard
from golf.data.split_reader import TokenSplit
from golf.errors import ArtifactError, InputError

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=5)


def split_of(*lengths):
    """Shards whose tokens count up, so that a window says where it comes from."""
    ends = np.cumsum([0, *lengths])
    shards = [np.arange(a, b, dtype=np.uint16) for a, b in itertools.pairwise(ends)]
    return TokenSplit("train", 65536, 1, "00", int(ends[-1]), 0, [], shards)


def take(count, split=None, **changes):
    settings = {"context_length": 8, "rows": 4, "seed": 7} | changes
    with TokenLoader(split or split_of(100, 60), **settings) as batches:
        return [next(batches) for _ in range(count)]


def same(a, b):
    return len(a) == len(b) and all(map(torch.equal, sum(a, ()), sum(b, ())))


def ended(threads):
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(thread.is_alive() for thread in threads)


@given(LENGTHS, st.integers(2, 40), st.integers(0, 3), st.integers(0, 3))
def test_windows_lie_within_their_shard_and_cover_no_input_twice(lengths, context, seed, epoch):
    windows = draw_epoch_windows(seed, epoch, lengths, context)
    inputs = [(shard, start + i) for shard, start in windows.tolist() for i in range(context)]
    assert len(set(inputs)) == len(inputs)
    assert all(start >= 0 and start + context < lengths[shard] for shard, start in windows.tolist())


@given(LENGTHS, st.integers(2, 40))
def test_min_windows_is_reached_and_never_undercut(lengths, context):
    n_windows = count_min_windows(lengths, context)
    counts = [len(range(p, n - context, context)) for n in lengths for p in [loader.count_phases(n, context) - 1]]
    assert n_windows == sum(counts)
    assert all(len(draw_epoch_windows(seed, 0, lengths, context)) >= n_windows for seed in range(5))


@given(st.integers(2, 300), st.integers(2, 40))
def test_a_shard_long_enough_for_a_window_always_has_one(length, context):
    assert bool(count_min_windows([length], context)) == (length > context)


def test_every_phase_occurs():
    phases = {draw_epoch_windows(seed, 0, [1000], 8)[:, 1].min() for seed in range(200)}
    assert phases == set(range(8))


def test_each_epoch_has_another_order_and_another_phase():
    first, second = draw_epoch_windows(1, 0, [5000], 16), draw_epoch_windows(1, 1, [5000], 16)
    assert first[:, 1].min() != second[:, 1].min()
    assert not np.array_equal(np.argsort(first[:300, 1]), np.argsort(second[:300, 1]))


def test_the_order_follows_the_seed_on_every_machine():
    assert draw_epoch_windows(1, 0, [40, 30], 8).tolist() == [
        [1, 12],
        [0, 3],
        [0, 11],
        [1, 4],
        [0, 19],
        [0, 27],
        [1, 20],
    ]


def test_windows_of_all_shards_are_mixed():
    shards = draw_epoch_windows(3, 0, [4000, 4000], 8)[:100, 0]
    assert 25 < shards.sum() < 75


def test_y_is_x_one_token_later():
    for x, y in take(20):
        assert x.shape == y.shape == (4, 8)
        assert x.dtype == y.dtype == torch.int64
        assert x.is_contiguous()
        assert y.is_contiguous()
        assert torch.equal(y, x + 1)  # tokens count up


def test_an_epoch_draws_no_window_twice():
    count = len(draw_epoch_windows(7, 0, [100, 60], 8)) // 4
    starts = torch.cat([x[:, 0] for x, _ in take(count)]).tolist()
    assert len(set(starts)) == len(starts) == count * 4


def test_different_seeds_differ_in_their_first_batch():
    first = [take(1, seed=seed)[0][0] for seed in range(6)]
    assert not any(torch.equal(a, b) for i, a in enumerate(first) for b in first[:i])


def test_the_same_seed_gives_the_same_batches_however_far_the_thread_reads_ahead():
    assert same(take(12), take(12))
    assert same(take(12, prefetch=1), take(12, prefetch=7))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_any_number_of_ranks_sees_the_same_global_batch(world_size):
    whole = take(9)
    parts = [take(9, rank=rank, world_size=world_size) for rank in range(world_size)]
    for number, (x, y) in enumerate(whole):
        for rank in range(world_size):
            assert torch.equal(parts[rank][number][0], x[rank::world_size])
            assert torch.equal(parts[rank][number][1], y[rank::world_size])


def test_a_loader_goes_on_exactly_where_another_stopped():
    whole = take(15)
    for stopped in range(15):
        with TokenLoader(split_of(100, 60), context_length=8, rows=4, seed=7) as batches:
            for _ in range(stopped):
                next(batches)
            position = batches.position
        assert same(take(15 - stopped, position=position), whole[stopped:])


def test_the_position_counts_epochs_and_batches():
    with TokenLoader(split_of(100, 60), context_length=8, rows=4, seed=7) as batches:
        positions = [batches.position]
        for _ in range(9):
            next(batches)
            positions.append(batches.position)
    assert positions[:2] == [(0, 0), (0, 1)]
    assert positions == sorted(set(positions))
    assert positions[-1][0] >= 1


def test_too_few_tokens_for_one_batch_name_the_key_and_the_tokens():
    with pytest.raises(InputError, match=r"train\.batch_tokens: 32 tokens are 4 windows of 8; train has 30 tokens"):
        take(1, split=split_of(30))
    with pytest.raises(InputError, match=r"calibrate\.batch_tokens: .* enough for 0"):
        take(1, split=split_of(8, 8, 8, 8, 8), param_name="calibrate.batch_tokens")


def test_the_least_text_that_fills_a_batch_does_so_in_every_epoch():
    length = next(n for n in range(200) if count_min_windows([n], 8) == 4)
    assert len(take(30, split=split_of(length))) == 30


def test_an_error_in_the_thread_reaches_the_consumer(monkeypatch):
    def broken(*_):
        raise OSError("the disk went away")

    monkeypatch.setattr(loader, "draw_epoch_windows", broken)
    batches = TokenLoader(split_of(100), context_length=8, rows=4, seed=0)
    with pytest.raises(OSError, match="the disk went away"):
        next(batches)
    assert ended([batches.thread])


def test_a_shard_that_shrinks_during_training_is_an_error_that_names_it(tmp_path):
    write_shard(tmp_path / "train_000000.bin", np.arange(4_000))
    shard = read_shard(tmp_path / "train_000000.bin")
    with TokenLoader(
        TokenSplit("train", 65536, 1, "00", 4_000, 0, [], [shard]), context_length=8, rows=4, seed=0
    ) as batches:
        next(batches)
        os.truncate(tmp_path / "train_000000.bin", 1_024)
        with pytest.raises(ArtifactError, match=r"train_000000\.bin: was truncated while in use"):
            list(itertools.islice(batches, 20))


def test_closing_ends_the_thread_at_once_and_twice_does_no_harm():
    batches = TokenLoader(split_of(100), context_length=8, rows=4, seed=0)
    batches.close()
    batches.close()
    assert not batches.thread.is_alive()
    with pytest.raises(ValueError, match="closed"):
        next(batches)


def test_a_loader_dropped_unclosed_ends_its_thread():
    before = set(threading.enumerate())
    batches = TokenLoader(split_of(100), context_length=8, rows=4, seed=0)
    next(batches)
    threads = set(threading.enumerate()) - before
    assert threads
    del batches
    gc.collect()
    assert ended(threads)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_are_those_on_the_cpu():
    moved = [(x.cpu(), y.cpu()) for x, y in take(6, device="cuda")]
    assert same(moved, take(6))


def test_held_out_text_is_cut_into_whole_windows_with_their_targets():
    rows = loader.make_fixed_windows(split_of(30, 13), context_length=8, n_tokens=10_000)

    assert rows.tolist() == [list(range(a, a + 9)) for a in range(0, 40, 8)]
    assert loader.make_fixed_windows(split_of(43), context_length=8, n_tokens=17).shape == (2, 9)


def test_held_out_text_shorter_than_a_window_is_rejected_with_a_hint():
    with pytest.raises(
        InputError, match=r"8 tokens hold no window of model\.context_length = 8.* raise fetch\.train_percent"
    ):
        loader.make_fixed_windows(split_of(8), context_length=8, n_tokens=100)
