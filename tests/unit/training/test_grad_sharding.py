import dataclasses
import math

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from golf.distributed import context
from golf.training.grad_sharding import (
    ALL_GATHER_NAMES,
    REDUCE_SCATTER_NAMES,
    BankCollectives,
    assign_owners,
    resolve_collective,
)


@given(
    banks=st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 100)), min_size=1, max_size=4),
    world_size=st.integers(1, 9),
)
def test_every_matrix_has_one_owner_and_no_rank_more_of_a_bank_than_fit_its_slots(banks, world_size):
    owners = assign_owners(banks, world_size)

    for (n_matrices, _), bank_owners in zip(banks, owners, strict=True):
        assert len(bank_owners) == n_matrices
        assert set(bank_owners) <= set(range(world_size))
        assert max(bank_owners.count(rank) for rank in range(world_size)) <= math.ceil(n_matrices / world_size)


def test_the_records_matrices_are_balanced_by_cost_over_eight_ranks():
    banks = [(22, 12.0), (22, 4.0), (22, 0.8)]
    load = [0.0] * 8
    for (_, cost), owners in zip(banks, assign_owners(banks, 8), strict=True):
        for rank in owners:
            load[rank] += cost

    assert max(load) < 1.1 * sum(load) / 8


def test_on_one_rank_nothing_is_copied():
    matrices = [torch.randn(2, 3), torch.randn(3, 2)]
    collectives = BankCollectives(matrices, [0, 0], context.single_process())

    collectives.reduce_scatter_async(matrices)
    assert all(a is b for a, b in zip(collectives.wait_gradients(), matrices, strict=True))
    collectives.all_gather_async(matrices)
    assert all(a is b for a, b in zip(collectives.wait_updates(), matrices, strict=True))


def test_a_rank_that_owns_no_matrix_of_a_bank_joins_its_collectives(monkeypatch):
    class FinishedWork:
        def wait(self):
            pass

    sent = []
    monkeypatch.setattr(dist, REDUCE_SCATTER_NAMES[0], lambda shard, full, **_: FinishedWork(), raising=False)
    monkeypatch.setattr(
        dist, ALL_GATHER_NAMES[0], lambda full, shard, **_: sent.append(shard.clone()) or FinishedWork(), raising=False
    )
    third_of_three = dataclasses.replace(context.single_process(), rank=2, world_size=3)
    matrices = [torch.randn(2, 3), torch.randn(3, 2)]
    collectives = BankCollectives(matrices, [0, 1], third_of_three)

    collectives.reduce_scatter_async(matrices)
    assert collectives.wait_gradients() == []
    collectives.all_gather_async([])
    assert [shard.count_nonzero().item() for shard in sent] == [0]
    assert [tuple(update.shape) for update in collectives.wait_updates()] == [(2, 3), (3, 2)]


@pytest.mark.parametrize("names", [REDUCE_SCATTER_NAMES, ALL_GATHER_NAMES])
def test_where_torch_lacks_the_newer_name_of_a_collective_the_older_one_is_called(monkeypatch, names):
    assert resolve_collective(names) is (getattr(dist, names[0], None) or getattr(dist, names[1]))
    monkeypatch.delattr(dist, names[0], raising=False)
    assert resolve_collective(names) is getattr(dist, names[1])
