"""golf/training/loop.py on two ranks"""

from pathlib import Path

import pytest

from golf.artifacts import io
from golf.distributed import context
from tests.helpers.programs import train_loop
from tests.helpers.stage_processes import run_ranks


@pytest.fixture(scope="module")
def losses_of_two_ranks(tmp_path_factory) -> dict[str, list[float]]:
    rendezvous = tmp_path_factory.mktemp("ranks") / "rendezvous"
    run_ranks(Path(train_loop.__file__), rendezvous, 2)
    return io.read_json(rendezvous.with_suffix(".json"))


@pytest.mark.parametrize("name", train_loop.RUNS)
def test_two_ranks_give_the_losses_of_one_for_the_same_global_batch(losses_of_two_ranks, name):
    two_ranks, single = losses_of_two_ranks[name], train_loop.train(name, context.single_process())

    assert two_ranks == pytest.approx([row["loss"] for row in single.log], abs=2e-3)
    assert two_ranks[0] == pytest.approx(single.log[0]["loss"], abs=1e-6)
