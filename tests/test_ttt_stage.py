"""stages/ttt.py: learned from, then scored, where ttt.method is prequant; and its clock in either order"""

import dataclasses
import re
from pathlib import Path

import pytest
import thimble as project

from golf.ground import params, store
from golf.model import checkpoint
from golf.score import bpb, ledger
from golf.ttt import prequant


@pytest.mark.parametrize("form", ["sequential", "federated"])
@pytest.mark.parametrize("stream", ["dev", "val"])
def test_the_stage_says_what_was_learned_before_it_was_scored(place, capsys, stream, form):
    project.turn(place, {"ttt.method": "prequant", "ttt.stream": stream, "prequant.form": form})
    project.act("ttt")
    metrics = store.read_json("artifacts/ttt/metrics.json")
    rows, about = ledger.read("artifacts/ttt/ledger.safetensors")
    _, meta = checkpoint.load("artifacts/ttt/model.safetensors", params.read().model)
    curve = Path("artifacts/ttt/bpb_so_far.csv").read_text(encoding="utf-8").splitlines()
    plan = store.read_json("artifacts/ttt/plan.json")
    lines = [line for line in capsys.readouterr().err.splitlines() if "bpb" in line or "loss" in line]

    assert metrics["bpb_after"] == bpb.score(rows).bpb < metrics["bpb_before"] - 0.05
    assert metrics["order"] == about["order"] == "learned, then scored"
    assert (metrics["stream"], metrics["form"], metrics["epochs"]) == (stream, form, 4)
    assert stream in meta["lineage"]["splits_seen"]
    assert plan["splits_seen"] == meta["lineage"]["splits_seen"]
    assert plan["ttt"] == dataclasses.asdict(params.read().ttt)
    assert curve[0].split(",")[:3] == ["tokens", "sliding", "ttt"]
    if stream == "dev":
        assert "verdict" not in metrics.keys() | about.keys()
        assert "val" not in meta["lineage"]["splits_seen"]
        assert not any("invalid" in line for line in lines + curve)
    else:
        assert metrics["verdict"] == about["verdict"] == prequant.VERDICT
        assert re.match(r"invalid: C1 and C3, .*#1376, #1485, #1735", prequant.VERDICT)
        assert all("invalid" in line for line in curve[1:])
        assert ["invalid" in line for line in lines] == [False] * 2 + [True] * (len(lines) - 2), "once it has learned"


def test_two_ranks_of_the_stage_meet_and_write_once(place):
    settings = {"ttt.method": "prequant", "ttt.ranks": 2, "prequant.form": "federated", "prequant.ema": 0.7}
    project.turn(place, settings)
    said = project.run("ttt", place).stdout
    metrics = store.read_json("artifacts/ttt/metrics.json")

    assert said.count("4/4 epochs") == 1
    assert metrics["bpb_after"] < metrics["bpb_before"]


@pytest.mark.parametrize("method", ["score_first", "prequant"])
def test_the_seconds_of_adaptation_stand_in_the_clock_that_counts_as_training(place, method):
    project.turn(place, {"ttt.method": method})
    project.act("ttt")
    clock, metrics = (store.read_json(f"artifacts/ttt/{name}.json") for name in ("clock", "metrics"))
    assert 0 < clock["train_seconds"] == metrics["seconds"]


def test_the_settings_are_in_the_lineage_of_what_they_made_and_of_nothing_else(place):
    def made(**settings) -> str:
        project.turn(place, settings)
        project.act("ttt")
        return store.read_label("artifacts/ttt/model.safetensors")["meta"]["lineage"]["parameters"]

    assert made() == made(**{"prequant.epochs": 1})
    first = made(**{"ttt.method": "prequant"})
    assert made(**{"prequant.epochs": 2}) != first
