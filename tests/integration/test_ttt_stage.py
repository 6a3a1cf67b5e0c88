"""stages/ttt.py: prequant adaptation learns before it scores and says so; its seconds count as training"""

import dataclasses
import re
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.config import loader
from golf.evaluation import bpb, ledger
from golf.model import checkpoint
from golf.training import prequant_ttt
from tests.helpers import tiny_project


@pytest.mark.parametrize("sync", ["sequential", "federated"])
@pytest.mark.parametrize("stream", ["dev", "val"])
def test_prequant_outputs_say_what_was_learned_before_it_was_scored(project_dir, capsys, stream, sync):
    tiny_project.set_params(project_dir, {"ttt.method": "prequant", "ttt.stream": stream, "prequant.sync": sync})
    tiny_project.run_stage_in_process("ttt")
    metrics = io.read_json("artifacts/ttt/metrics.json")
    rows, header = ledger.read("artifacts/ttt/ledger.safetensors")
    _, meta = checkpoint.load("artifacts/ttt/model.safetensors", loader.load_config().model)
    curve = Path("artifacts/ttt/running_bpb.csv").read_text(encoding="utf-8").splitlines()
    plan = io.read_json("artifacts/ttt/plan.json")
    lines = [line for line in capsys.readouterr().err.splitlines() if "bpb" in line or "loss" in line]

    assert metrics["bpb_after"] == bpb.compute_score(rows).bpb < metrics["bpb_before"] - 0.05
    assert metrics["adapted"] == header["adapted"] == "before scoring"
    assert (metrics["stream"], metrics["sync"], metrics["epochs"]) == (stream, sync, 4)
    assert stream in meta["lineage"]["splits_seen"]
    assert plan["splits_seen"] == meta["lineage"]["splits_seen"]
    assert plan["ttt"] == dataclasses.asdict(loader.load_config().ttt) | {"lora": None, "phased": None}
    assert curve[0].split(",")[:3] == ["tokens", "sliding", "ttt"]
    if stream == "dev":
        assert "verdict" not in metrics.keys() | header.keys()
        assert "val" not in meta["lineage"]["splits_seen"]
        assert not any("invalid" in line for line in lines + curve)
    else:
        assert metrics["verdict"] == header["verdict"] == prequant_ttt.INVALID_ON_VAL_NOTE
        assert re.match(r"invalid: C1 and C3, .*#1376, #1485, #1735", prequant_ttt.INVALID_ON_VAL_NOTE)
        assert all("invalid" in line for line in curve[1:])
        assert ["invalid" in line for line in lines] == [False] * 2 + [True] * (len(lines) - 2), "after it has learned"


def test_two_ranks_write_once(project_dir):
    settings = {"ttt.method": "prequant", "ttt.ranks": 2, "prequant.sync": "federated", "prequant.ema_decay": 0.7}
    tiny_project.set_params(project_dir, settings)
    stdout = tiny_project.run_stage_process("ttt", project_dir).stdout
    metrics = io.read_json("artifacts/ttt/metrics.json")

    assert stdout.count("4/4 epochs") == 1
    assert metrics["bpb_after"] < metrics["bpb_before"]


@pytest.mark.parametrize("method", ["score_first", "prequant"])
def test_the_seconds_of_adaptation_are_in_the_timing_that_counts_as_training(project_dir, method):
    tiny_project.set_params(project_dir, {"ttt.method": method})
    tiny_project.run_stage_in_process("ttt")
    timing, metrics = (io.read_json(f"artifacts/ttt/{name}.json") for name in ("timing", "metrics"))
    assert 0 < timing["train_seconds"] == metrics["seconds"]


def test_only_the_settings_that_were_used_are_in_the_lineage(project_dir):
    def lineage_parameters(**settings) -> str:
        tiny_project.set_params(project_dir, settings)
        tiny_project.run_stage_in_process("ttt")
        return io.read_header("artifacts/ttt/model.safetensors")["meta"]["lineage"]["parameters"]

    assert lineage_parameters() == lineage_parameters(**{"prequant.epochs": 1})
    first = lineage_parameters(**{"ttt.method": "prequant"})
    assert lineage_parameters(**{"prequant.epochs": 2}) != first
