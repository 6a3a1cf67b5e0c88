"""benchmarks/record_run.py: the whole run on a tiny text"""

import subprocess
import sys

import pytest

from golf.artifacts import io
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

sys.path.insert(0, str(ROOT / "benchmarks"))
import record_run


@pytest.mark.soak
def test_a_run_on_a_tiny_text_collects_the_file_its_metrics_and_its_curve(tmp_path):
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(make_tiny_corpus()):
        (tmp_path / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    tiny = {
        f"{section}.{key}": value for section, keys in tiny_project.TINY_PARAMS.items() for key, value in keys.items()
    }
    tiny = {key: value for key, value in tiny.items() if not key.startswith("fetch.") or "percent" in key}
    fast = {
        "quantize.base_step": 0.5,
        "train.limit_s": "null",
        "train.steps": 30,
        "evaluate.proof_places": 4,
    }
    pairs = [f"{key}={'null' if value is None else value}" for key, value in (tiny | fast).items()]
    command = [
        sys.executable,
        ROOT / "benchmarks/record_run.py",
        "--text",
        tmp_path / "texts",
        "--out",
        tmp_path / "out",
    ]
    environment = tiny_project.isolated_env(tmp_path) | {"PYTHONPATH": str(ROOT)}
    options = ["--curve-tokens", "2000", "--json", tmp_path / "figures.json", "--set", *pairs]
    done = subprocess.run(
        [*map(str, command), *map(str, options)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    collected = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert collected == sorted([*record_run.COLLECTED_FILES, "rate_distortion.json", "record_run.json"])
    result = io.read_json(tmp_path / "figures.json")
    assert {stage["status"] for stage in result["stages"].values()} == {"ok"}
    assert result["steps"] == 30
    assert result["metrics"]["val_bpb_sliding"] > 0
