"""stages/ema.py: which average goes on"""

import pytest
import thimble as project

from golf.ground import params, store
from golf.model import checkpoint


def made() -> tuple[dict, list[str]]:
    """The stage's metrics, and the splits behind its weights."""
    project.act("ema")
    _, meta = checkpoint.load("artifacts/ema/model.safetensors", params.read().model)
    return store.read_json("artifacts/ema/metrics.json"), meta["lineage"]["splits_seen"]


def test_a_decay_that_is_named_is_taken_and_no_other_is_tried(place):
    told, seen = made()

    assert told["decay"] == 0.9
    assert "tried" not in told
    assert seen == ["train"]


def test_a_decay_that_is_left_open_is_the_best_on_dev_and_lineage_says_that_dev_was_asked(place):
    project.turn(place, {"ema.decay": None})
    told, seen = made()

    assert {"0.9", "0.9965"} <= told["tried"].keys()
    assert (
        told["tried"][f"{told['decay']:g}"] == min(told["tried"].values()) == pytest.approx(told["dev_bpb"], abs=1e-9)
    )
    assert seen == ["train", "dev"]
