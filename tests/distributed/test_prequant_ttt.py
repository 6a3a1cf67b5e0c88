"""golf/training/prequant_ttt.py on several ranks"""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.artifacts import io
from golf.distributed import context
from golf.training import prequant_ttt
from tests.helpers.stage_processes import run_ranks
from tests.unit.training.test_prequant_ttt import CASES, WANTED, adapted, assert_near, fresh, slow

RANK = """
import dataclasses, sys
import torch.distributed as dist
from golf.ground import runtime, store
sys.path.insert(0, sys.argv[1])
from test_prequant import CASES, adapted
meeting, rank = sys.argv[2], int(sys.argv[3])
for ranks in range(3, max(1, rank), -1):  # three of them, then the first two
    dist.init_process_group("gloo", f"file://{meeting}.{ranks}", rank=rank, world_size=ranks)
    here = dataclasses.replace(runtime.alone(), rank=rank, ranks=ranks)
    for number, wanted in enumerate(CASES.values()):
        model, losses = adapted(wanted, here=here)
        path = f"{meeting}.{ranks}.{number}.{rank}"
        store.save_tensors(path, model.state_dict(), kind="weights", meta={"losses": losses})
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def output_prefix(tmp_path_factory) -> Path:
    """Where each of 2 and of 3 ranks left what it learned in each case: <path>.<ranks>.<case>.<rank>."""
    meeting = tmp_path_factory.mktemp("ranks") / "meet"
    run_ranks(RANK, meeting, 3)
    return meeting


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_ranks_learn_what_as_many_optimisers_one_after_another_learn(output_prefix, case, ranks):
    paths = [f"{output_prefix}.{ranks}.{list(CASES).index(case)}.{rank}" for rank in range(ranks)]
    found = [io.load_tensors(path, kind="weights") for path in paths]
    expected, losses = slow(CASES[case], ranks)

    for weights, meta in found:
        assert meta["losses"] == pytest.approx(losses, rel=1e-5)
        assert_near(weights, expected, 1e-3)
        assert all(torch.equal(weights[name], found[0][0][name]) for name in weights), "the ranks differ"


@pytest.mark.parametrize("ranks", [2, 3])
def test_sequential_ranks_make_the_steps_of_one_rank_and_federated_ones_do_not(output_prefix, ranks):
    sequential, federated = (io.load_tensors(f"{output_prefix}.{ranks}.{number}.0")[0] for number in (0, 1))
    one, _ = adapted(WANTED)
    way = (one.tok_emb.weight - fresh().tok_emb.weight).norm()

    assert_near(sequential, one, 1e-3)
    assert (federated["tok_emb.weight"] - one.tok_emb.weight).norm() > 0.1 * way


@given(
    rows=st.integers(1, 40),
    size=st.integers(1, 8),
    ranks=st.integers(1, 9),
    form=st.sampled_from(["sequential", "federated"]),
)
def test_every_window_is_learned_once_an_epoch_whatever_the_ranks(rows, size, ranks, form):
    wanted = dataclasses.replace(WANTED, sync=form, batch_tokens=4 * size, chunk_tokens=4 * size)
    data = torch.arange(rows)[:, None].expand(rows, 5)
    places = [dataclasses.replace(context.single_process(), rank=rank, ranks=ranks) for rank in range(ranks)]
    shares = [prequant_ttt.get_rank_batches(data, wanted, here) for here in places]

    assert sorted(window for share in shares for mine, _ in share for window in mine[:, 0].tolist()) == list(
        range(rows)
    )
    if form == "sequential":
        assert len({len(share) for share in shares}) == 1, "each step is a meeting of all ranks"
    else:
        assert shares[0][0][0][:, 0].tolist() == list(range(min(size, rows))), "rank 0 has the first chunk whole"
