"""golf/training/grad_sharding.py, and the optimisers on two ranks against one."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from golf.artifacts import io
from golf.config import loader
from golf.distributed import context
from golf.model.gpt import GPT
from golf.training.grad_sharding import (
    ALL_GATHER_NAMES,
    REDUCE_SCATTER_NAMES,
    BankCollectives,
    assign_owners,
    resolve_collective,
)
from golf.training.optimizer import MuonAdamW
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@given(
    banks=st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 100)), min_size=1, max_size=4), ranks=st.integers(1, 9)
)
def test_every_matrix_has_one_owner_and_no_rank_more_of_a_bank_than_fit_its_slots(banks, ranks):
    owners = assign_owners(banks, ranks)

    for (matrices, _), each in zip(banks, owners, strict=True):
        assert len(each) == matrices
        assert set(each) <= set(range(ranks))
        assert max(each.count(rank) for rank in range(ranks)) <= math.ceil(matrices / ranks)


def test_the_records_matrices_are_balanced_by_cost_over_eight_ranks():
    banks = [(22, 12.0), (22, 4.0), (22, 0.8)]
    load = [0.0] * 8
    for (_, cost), owners in zip(banks, assign_owners(banks, 8), strict=True):
        for rank in owners:
            load[rank] += cost

    assert max(load) < 1.1 * sum(load) / 8


def test_on_one_rank_nothing_is_copied():
    matrices = [torch.randn(2, 3), torch.randn(3, 2)]
    exchange = BankCollectives(matrices, [0, 0], context.single_process())

    exchange.reduce_scatter_async(matrices)
    assert all(a is b for a, b in zip(exchange.wait_gradients(), matrices, strict=True))
    exchange.all_gather_async(matrices)
    assert all(a is b for a, b in zip(exchange.wait_updates(), matrices, strict=True))


def test_a_rank_that_owns_no_matrix_of_a_bank_takes_part_all_the_same(monkeypatch):
    class Done:
        def wait(self):
            pass

    sent = []
    monkeypatch.setattr(dist, REDUCE_SCATTER_NAMES[0], lambda part, whole, **how: Done(), raising=False)
    monkeypatch.setattr(
        dist, ALL_GATHER_NAMES[0], lambda whole, part, **how: sent.append(part.clone()) or Done(), raising=False
    )
    third = dataclasses.replace(context.single_process(), rank=2, ranks=3)
    matrices = [torch.randn(2, 3), torch.randn(3, 2)]
    exchange = BankCollectives(matrices, [0, 1], third)

    exchange.reduce_scatter_async(matrices)
    assert exchange.wait_gradients() == []
    exchange.all_gather_async([])
    assert [part.count_nonzero().item() for part in sent] == [0]
    assert [tuple(each.shape) for each in exchange.wait_updates()] == [(2, 3), (3, 2)]


@pytest.mark.parametrize("names", [REDUCE_SCATTER_NAMES, ALL_GATHER_NAMES])
def test_where_torch_lacks_the_newer_name_of_a_collective_the_older_one_is_called(monkeypatch, names):
    assert resolve_collective(names) is (getattr(dist, names[0], None) or getattr(dist, names[1]))
    monkeypatch.delattr(dist, names[0], raising=False)
    assert resolve_collective(names) is getattr(dist, names[1])


def three_steps(here: context.DistContext):
    """Weights, norms and losses, and state after three steps on gradients whose sum over ranks is the same."""
    train = dataclasses.replace(loader.load_config(ROOT / "profiles" / "laptop.yaml").train, normuon_beta2=0.95)
    model = GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0))
    optimisers = MuonAdamW(model, train, here)
    norms, losses = [], []
    for number in range(3):
        if number == 2:  # every rank goes on from its own state
            kept = {name: tensor.clone() for name, tensor in optimisers.state_dict().items()}
            optimisers = MuonAdamW(model, train, here)
            optimisers.load_state_dict(kept)
        parts = [torch.Generator().manual_seed(10 * number + part) for part in range(2)]
        for parameter in model.parameters():
            shares = [torch.randn(parameter.shape, generator=part) for part in parts]
            parameter.grad = sum(shares[here.rank :: here.world_size])
        loss = torch.tensor(1.0 + here.rank)
        norms.append(optimisers.step(number, 1.0, loss).item())
        losses.append(loss.item())
    return model.state_dict(), {"norms": norms, "losses": losses}, optimisers.state_dict()


TWO_RANKS = """
import sys
import torch
import torch.distributed as dist
sys.path.insert(0, {tests!r})
from test_exchange import DTYPES, runtime, store, three_steps
dist.init_process_group("gloo")
torch.set_num_threads(1)
rank = dist.get_rank()
for name, dtype in DTYPES.items():
    here = runtime.Runtime(rank, 2, torch.device("cpu"), dtype, False, "sdpa")
    weights, meta, state = three_steps(here)
    store.save_tensors(f"{{name}}/weights{{rank}}", weights, kind="weights", meta=meta)
    store.save_tensors(f"{{name}}/state{{rank}}", state, kind="state", meta={{}})
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks_dir(tmp_path_factory):
    """What two ranks wrote."""
    made = tmp_path_factory.mktemp("ranks")
    (made / "ranks.py").write_text(TWO_RANKS.format(tests=str(ROOT / "tests")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "ranks.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=made, env=environment, check=True, capture_output=True, timeout=120)
    return made


@pytest.fixture(params=list(DTYPES))
def step_results(request, ranks_dir):
    """The dtype, and by (ranks, rank) what three_steps gives."""
    dtype = DTYPES[request.param]
    found = {(1, 0): three_steps(context.single_process(dtype=dtype))}
    for rank in (0, 1):
        weights, state = (io.load_tensors(ranks_dir / request.param / f"{kind}{rank}") for kind in ("weights", "state"))
        found[2, rank] = *weights, state[0]
    return dtype, found


def test_both_ranks_hold_the_same_weights_norms_and_losses(step_results):
    _, found = step_results
    (first, meta, _), (second, other, _) = found[2, 0], found[2, 1]

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert meta == other
    assert meta["losses"] == [3.0] * 3


def test_two_ranks_step_as_one_does_on_the_summed_gradient(step_results):
    dtype, found = step_results
    rough = dtype == torch.bfloat16
    (alone, meta, _), (together, other, _) = found[1, 0], found[2, 0]

    assert other["norms"] == pytest.approx(meta["norms"], rel=1e-3 if rough else 1e-6)
    for name, weight in alone.items():
        difference = (weight - together[name]).norm() / weight.norm().clamp_min(1e-6)
        assert difference < (3e-2 if rough else 1e-5), name


def test_the_momentum_of_a_matrix_lies_on_one_rank_alone_and_adams_state_on_both(step_results):
    dtype, found = step_results
    whole, parts = found[1, 0][2], [found[2, rank][2] for rank in (0, 1)]
    muon = [{name for name in part if name.startswith("muon/")} for part in parts]
    adam = [{name for name in part if name.startswith("adam/")} for part in parts]

    assert not muon[0] & muon[1]
    assert muon[0] | muon[1] | adam[0] == whole.keys()
    assert len(muon[0]) == len(muon[1])
    assert adam[0] == adam[1]
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in adam[0])
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
    for part, names in zip(parts, muon, strict=True):
        for name in names:
            torch.testing.assert_close(part[name], whole[name], **tolerance)
