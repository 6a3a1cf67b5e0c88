"""golf/training/loop.py on two ranks"""

from pathlib import Path

import pytest

from golf.artifacts import io
from tests.helpers.programs import train_loop
from tests.helpers.stage_processes import run_ranks
from tests.helpers.tiny_training import TINY_TRAIN_CONFIG, train_tiny_model


def test_two_ranks_give_the_losses_of_one_for_the_same_global_batch(tmp_path):
    run_ranks(Path(train_loop.__file__), tmp_path / "rendezvous", 2)
    two_ranks = io.read_json(tmp_path / "rendezvous.json")["loss"]
    _, single = train_tiny_model(TINY_TRAIN_CONFIG)

    assert two_ranks == pytest.approx([row["loss"] for row in single.log], abs=2e-3)
    assert two_ranks[0] == pytest.approx(single.log[0]["loss"], abs=1e-6)
