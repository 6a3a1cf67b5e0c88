"""From a campaign to a submission that runs alone: three seeds of the quick profile, a few steps each"""

import json
import shutil
import sys

import pytest

from golf.artifacts import io
from golf.submission import report
from golf.submission.bundle import packing
from tests.helpers import tiny_project
from tests.helpers.bundle_runs import list_different_columns, run_script
from tests.helpers.tiny_corpus import ROOT

GOLF = (sys.executable, "-m", "golf")
SEEDS = ("42", "314", "999")
MODES = ("plain", "sliding", "ttt")
EXECUTION = {"device": "cpu", "compile": "off", "dtype": "float32"}
FEW_STEPS = {  # the quick profile otherwise: its text, model, coding and methods
    **{f"{stage}.{key}": value for stage in ("train", "ema", "ttt", "calibrate", "evaluate")
       for key, value in EXECUTION.items()},
    "fetch.val_percent": 1,
    "fetch.dev_percent": 1,
    "train.limit_s": None,
    "train.reserve_s": 0.0,
    "train.steps": 8,
    "train.ema_snapshot_every": 2,
}  # fmt: skip


@pytest.fixture
def project_dir(tmp_path):
    """A committed project with the quick profile and, as in the repository, a log of evaluations."""
    folder = tiny_project.create_project(tmp_path / "project")
    io.write_bytes(folder / tiny_project.EVALUATION_LOG, b"")
    shutil.copy(ROOT / "profiles" / "quick.yaml", folder / "params.yaml")
    tiny_project.set_params(folder, FEW_STEPS)
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.git(folder, "add", "--all")
    tiny_project.git(folder, "commit", "--quiet", "--message", "the quick profile")
    return folder


@pytest.mark.soak
def test_a_campaign_of_three_seeds_becomes_a_bundle_that_gives_each_run_again_bit_for_bit(project_dir, tmp_path):
    tiny_project.run_command(project_dir, *GOLF, "campaign", "--seeds", *SEEDS, "--name", "three")
    shown = tiny_project.run_command(project_dir, *GOLF, "campaign", "--show", "three", "--json").stdout
    revisions = {str(run["seed"]): run["revision"] for run in json.loads(shown)["runs"]}
    author = ("--author", "Your Name", "--github-id", "you")
    out = project_dir / "runs/submission"
    tiny_project.run_command(project_dir, *GOLF, "bundle", "--campaign", "three", "--out", str(out), *author)

    review = tiny_project.run_command(project_dir, *GOLF, "check-submission", str(out), "--strict").stdout
    assert "nothing found" in review
    assert report.review_folder(out).findings == []

    for seed in SEEDS:
        run, empty = tmp_path / f"run_{seed}", tmp_path / f"empty_{seed}"
        for path in ("fetch", "compress/model.golf", "evaluate/ledgers"):
            target = run / path
            target.parent.mkdir(parents=True, exist_ok=True)
            tiny_project.dvc(project_dir, "get", ".", f"artifacts/{path}", "--rev", revisions[seed], "-o", str(target))
        empty.mkdir()
        shutil.copy(out / packing.SCRIPT_NAME, empty)
        completed = run_script(empty, run / "fetch", "--seed", seed, "--modes", *MODES)
        assert completed.returncode == 0, completed.stderr
        assert (empty / "model.golf").read_bytes() == (run / "compress/model.golf").read_bytes(), seed
        for mode in MODES:
            saved, ledger_path = empty / f"ledger_{mode}.npz", run / f"evaluate/ledgers/{mode}.safetensors"
            assert list_different_columns(saved, ledger_path) == [], (seed, mode)
