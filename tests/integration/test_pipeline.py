"""Stages over the finished run: what each reads, runs without val, val in the adaptation, and bf16."""

import importlib
import os
import shutil
import sys

import pytest
import torch

from golf.artifacts import io
from golf.compression import reader
from golf.config import loader
from golf.quantization import codes_io
from tests.helpers import stage_metrics, tiny_project
from tools import ci

STAGES = tiny_project.STAGES
VAL = "artifacts/fetch/val"
READ_IF_CHOSEN = {
    "quantize": [  # where quantize.refine_steps is not 0
        "artifacts/calibrate/tokens.safetensors",
        "artifacts/calibrate/timing.json",
        "artifacts/train/timing.json",
    ],
    "evaluate": ["artifacts/ttt/timing.json"],  # where quantize.weights is ttt
}


@pytest.fixture(scope="module")
def _opened_paths():
    """The list of what this process opens, one for all tests: an audit hook cannot be removed again."""
    paths: list[str] = []

    def audit_hook(event, arguments):
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            paths.append(os.path.abspath(os.fsdecode(arguments[0])))

    sys.addaudithook(audit_hook)
    return paths


@pytest.fixture
def opened_paths(_opened_paths, monkeypatch):
    """The absolute paths that this process opens during the test, the native readers' included."""
    _opened_paths.clear()
    safe_open = io.safe_open
    monkeypatch.setattr(
        io, "safe_open", lambda path, **how: _opened_paths.append(os.path.abspath(path)) or safe_open(path, **how)
    )
    return _opened_paths


@pytest.mark.parametrize("name", STAGES)
def test_stage_reads_exactly_the_artifacts_and_params_that_it_declares(project_dir, monkeypatch, opened_paths, name):
    stage = ci.load_stages(project_dir)[name]
    for path in tiny_project.list_files(project_dir / "artifacts"):
        if not any(ci.is_within(f"artifacts/{path}", dep) for dep in stage.deps):
            (project_dir / "artifacts" / path).unlink()
    loaded: list[str] = []
    load_sections = loader.load_sections

    def record_keys(*keys: str):
        loaded.extend(keys)
        return load_sections(*keys)

    monkeypatch.setattr(loader, "load_sections", record_keys)
    monkeypatch.setattr(importlib.import_module(f"stages.{name}"), "load_sections", record_keys, raising=False)

    opened_paths.clear()
    tiny_project.run_stage_in_process(name)

    assert tuple(loaded) == stage.params
    declared = [dep for dep in stage.deps if dep.startswith("artifacts/")]
    opened = [os.path.relpath(path, project_dir) for path in opened_paths]
    unread = [dep for dep in declared if not any(ci.is_within(path, dep) for path in opened)]
    assert unread == READ_IF_CHOSEN.get(name, [])
    written_by_runner = {f"artifacts/{name}/run.json"}
    assert [out for out in stage.outs if not (project_dir / out).exists() and out not in written_by_runner] == []


def test_stages_before_evaluate_run_without_val_and_give_the_same_artifact(project_dir):
    artifact = project_dir / "artifacts/compress/model.golf"
    expected = artifact.read_bytes()
    shutil.rmtree(project_dir / VAL)
    artifact.unlink()
    for name in STAGES[1:-1]:
        tiny_project.run_stage_in_process(name)
    assert artifact.read_bytes() == expected


def test_refinement_changes_scalars_alone_and_its_seconds_count_as_training(project_dir):
    stored = []
    for refine_steps in (0, 4):
        tiny_project.set_params(project_dir, {"quantize.base_step": 0.8, "quantize.refine_steps": refine_steps})
        tiny_project.run_stage_in_process("quantize")
        stored.append(codes_io.load("artifacts/quantize/codes.safetensors")[0])
    before, after = stored
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if name.endswith((".codes", ".col_scales"))]
    assert io.read_json("artifacts/quantize/timing.json")["train_seconds"] > 0
    tiny_project.run_stage_in_process("compress")


def test_adapting_on_val_before_quantization_makes_the_verdict_invalid(project_dir):
    tiny_project.set_params(project_dir, {"ttt.stream": "val", "quantize.weights": "ttt"})
    for name in STAGES[3:]:
        tiny_project.run_stage_in_process(name)
    _, header = reader.read("artifacts/compress/model.golf")
    assert "val" in header.upstream_splits
    summary = io.read_json("artifacts/evaluate/metrics.json")["verdict"]
    assert summary.startswith("invalid: C1-e, C3-f (")
    assert "artifacts/fetch/val -> artifacts/ttt/model.safetensors -> " in summary


@pytest.mark.soak
def test_in_bf16_on_the_cpu_every_stage_gives_the_metrics_of_fp32(finished_run, tmp_path):
    folder = stage_metrics.rerun_stages(
        "cpu", "bfloat16", tiny_project.copy_project(finished_run, tmp_path / "project")
    )
    stage_metrics.assert_metrics_agree(
        stage_metrics.read_metrics(folder), stage_metrics.read_metrics(finished_run), 0.02
    )
