"""benchmarks/techniques.py on a tiny profile: every kind of technique is measured, and the same command goes on"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from tests.helpers import forkserver, tiny_project
from tests.helpers.tiny_corpus import ROOT

KEYS = ["ttt.method: lora", "quantize.grid: row", "quantize.rotate", "quantize.lqer", "model.attn_gate: output"]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks/techniques.py"), "--state", "state", "--results", "results"]
    command += ["--profile", "params.yaml", "--steps", "8", "--only", *KEYS, *options]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return forkserver.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_each_technique_is_measured_against_its_default_and_kept(tmp_path):
    folder = tiny_project.create_project(tmp_path / "project")
    tiny_project.set_params(folder, {"compress.limit_bytes": 60_000})
    settings = ["--set", "train.batch_tokens=256", "ttt.chunk_tokens=256"]
    first = run(folder, "--seeds", "1", *settings)
    assert first.returncode == 0, first.stdout + first.stderr
    results = io.read_json(folder / "results/techniques.json")
    assert [row["key"] for row in results["rows"]] == ["default", *KEYS]
    rows = {row["key"]: row for row in results["rows"]}
    assert all(row["seeds"] == [1] and row["reasons"] == [] for row in rows.values())
    assert rows["ttt.method: lora"]["modes"].keys() == {"ttt"}
    assert rows["ttt.method: lora"]["model_bytes"] == rows["default"]["model_bytes"]
    assert all(rows[key]["code_bytes"] > rows["default"]["code_bytes"] for key in set(KEYS) - {"quantize.grid: row"})
    scores = {key: row["modes"]["ttt"]["bpb"] for key, row in rows.items()}
    assert [key for key in KEYS if scores[key] == scores["default"]] == [], "they change nothing"
    assert len(first.stdout.splitlines()) >= 6

    kept = sorted((folder / "state/stages").iterdir())
    again = run(folder, "--seeds", "1", *settings)
    assert (again.returncode, sorted((folder / "state/stages").iterdir())) == (0, kept)
    assert "files 1 " not in again.stdout, "no row was measured again"
    assert io.read_json(folder / "results/techniques.json") == results
