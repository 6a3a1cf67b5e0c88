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
from tests.helpers.prequant import BASE_CONFIG, CASES, assert_near, finetune, make_model, slow_finetune
from tests.helpers.programs import prequant_finetune
from tests.helpers.stage_processes import run_ranks


@pytest.fixture(scope="module")
def output_prefix(tmp_path_factory) -> Path:
    """Where 2 and 3 ranks left what each learned in every case: <prefix>.<world size>.<case>.<rank>."""
    rendezvous = tmp_path_factory.mktemp("ranks") / "rendezvous"
    run_ranks(Path(prequant_finetune.__file__), rendezvous, 3)
    return rendezvous


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_ranks_learn_what_as_many_optimizers_one_after_another_learn(output_prefix, case, world_size):
    paths = [f"{output_prefix}.{world_size}.{list(CASES).index(case)}.{rank}" for rank in range(world_size)]
    results = [io.load_tensors(path, kind="weights") for path in paths]
    expected, losses = slow_finetune(CASES[case], world_size)

    for weights, metadata in results:
        assert metadata["losses"] == pytest.approx(losses, rel=1e-5)
        assert_near(weights, expected, 1e-3)
        assert all(torch.equal(weights[name], results[0][0][name]) for name in weights), "the ranks differ"


@pytest.mark.parametrize("world_size", [2, 3])
def test_sequential_ranks_make_the_steps_of_one_rank_and_federated_ones_do_not(output_prefix, world_size):
    sequential, federated = (io.load_tensors(f"{output_prefix}.{world_size}.{number}.0")[0] for number in (0, 1))
    single, _ = finetune()
    distance = (single.tok_emb.weight - make_model().tok_emb.weight).norm()

    assert_near(sequential, single, 1e-3)
    assert (federated["tok_emb.weight"] - single.tok_emb.weight).norm() > 0.1 * distance


@given(
    rows=st.integers(1, 40),
    step_rows=st.integers(1, 8),
    world_size=st.integers(1, 9),
    sync=st.sampled_from(["sequential", "federated"]),
)
def test_every_window_is_learned_once_an_epoch_on_any_number_of_ranks(rows, step_rows, world_size, sync):
    cfg = dataclasses.replace(BASE_CONFIG, sync=sync, batch_tokens=4 * step_rows, chunk_tokens=4 * step_rows)
    windows = torch.arange(rows)[:, None].expand(rows, 5)
    contexts = [dataclasses.replace(context.single_process(), rank=r, world_size=world_size) for r in range(world_size)]
    batches = [prequant_ttt.get_rank_batches(windows, cfg, ctx) for ctx in contexts]

    learned = [window for rank_batches in batches for local, _ in rank_batches for window in local[:, 0].tolist()]
    assert sorted(learned) == list(range(rows))
    if sync == "sequential":
        assert len({len(rank_batches) for rank_batches in batches}) == 1, "all ranks join each step"
    else:
        assert batches[0][0][0][:, 0].tolist() == list(range(min(step_rows, rows))), "rank 0 has the whole first chunk"
