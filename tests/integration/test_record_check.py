"""benchmarks/record_check.py: its small form on a CPU, from text to the printed table"""

import subprocess
import sys

import pytest

from golf.artifacts import io
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT

SCRIPT = ROOT / "benchmarks/record_check.py"


@pytest.mark.slow
def test_the_small_form_measures_every_figure_but_the_memory_of_a_gpu(tmp_path):
    options = ["--device", "cpu", "--profile", "tiny", "--train-minutes", "0.02", "--results", tmp_path / "results"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, options)],
        cwd=tmp_path,
        env=tiny_project.isolated_env(tmp_path) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "results").iterdir()
    result = io.read_json(path)
    assert {stage["status"] for stage in result["stages"].values()} == {"ok"}
    missing = {row["figure"] for row in result["rows"] if row["measured"] is None or row["forecast"] is None}
    assert missing == {"peak memory of a step"}
    assert all(row["measured"] > 0 for row in result["rows"] if row["measured"] is not None)
    table = done.stdout[done.stdout.index("record-check: tiny on ") :]
    for row in result["rows"]:
        assert f"\n{row['figure']}, {row['unit']}" in table
