"""golf/pipeline/runner.py: what run.json and the clocks say of a run"""

import dataclasses
import json
import os
import platform
import subprocess
import tomllib

import pytest
import torch

from golf.distributed import context
from golf.pipeline import runner
from tests.helpers.stage_processes import run_stage_process, write_stub_stage
from tests.helpers.tiny_corpus import ROOT


def test_run_json_tells_seconds_packages_and_no_commit_outside_git(stage_dir):
    write_stub_stage(stage_dir, "ema", "assert here.ranks == 1 and here.first")
    code, err = run_stage_process(stage_dir, "ema")
    assert code == 0
    assert err.startswith("ema       cpu (asked for), float32 (asked for)")
    tree = json.loads((stage_dir / "artifacts" / "ema" / "run.json").read_text())
    assert tree["stage"] == "ema"
    assert tree["seconds"] > 0
    assert {"torch", "numpy", "safetensors"} <= tree["packages"].keys()
    assert tree["runtime"] in err
    assert tree["git"] is None


def test_the_record_fingerprints_every_package_that_the_project_pins():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pinned = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    assert {line.partition("==")[0] for line in pinned} <= set(runner.RECORDED_PACKAGES)


def test_the_hardware_is_named_with_its_number():
    cpu = f"{os.cpu_count()} × CPU core ({platform.machine()})"
    assert runner.describe_hardware(None) == runner.describe_hardware(context.single_process()) == cpu


def test_gpus_are_named_by_their_model_one_a_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    here = dataclasses.replace(context.single_process("cuda:0"), ranks=8)
    assert runner.describe_hardware(here) == "8 × NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(("tool", "told"), [("echo 580.65.06", "580.65.06"), ("exit 9", None), (None, None)])
def test_the_driver_is_told_where_its_tool_answers(tmp_path, monkeypatch, tool, told):
    if tool:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = runner.read_cuda_versions()
    assert found.keys() == {"runtime", "cudnn", "driver"}
    assert found["driver"] == told


def test_the_record_names_the_commit_and_whether_it_was_dirty(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert runner.git_revision() is None, "no commit yet"
    (tmp_path / "a").write_text("one")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert runner.git_revision() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "b").write_text("not tracked")
    assert runner.git_revision()["dirty"] is False
    (tmp_path / "a").write_text("two")
    assert runner.git_revision()["dirty"] is True


def test_a_clock_is_written_and_read_in_milliseconds_and_null_where_there_is_no_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner.write_timing_json("train", train_seconds=1.23456, limit_seconds=None)
    tree = json.loads((tmp_path / "artifacts" / "train" / "clock.json").read_text())
    assert tree == {"train_seconds": 1.235, "limit_seconds": None}


def test_a_clock_says_on_what_its_seconds_were_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner.write_timing_json("calibrate", context.single_process(), train_seconds=2.0)
    tree = json.loads((tmp_path / "artifacts" / "calibrate" / "clock.json").read_text())
    assert tree == {"train_seconds": 2.0, "hardware": runner.describe_hardware(None)}
