"""benchmarks/record_run.py: the whole run on a tiny text, ended on the way and started again"""

import subprocess
import sys

import pytest

from golf.artifacts import io
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

sys.path.insert(0, str(ROOT / "benchmarks"))
import record_run
import record_stages

SETTINGS = (
    "model.vocab_size=320",  # which so small a text has
    "fetch.held_out=documents",  # it repeats its sentences
    "fetch.val_percent=15",
    "fetch.dev_percent=15",
    "train.limit_s=null",
    "train.steps=200",
    "train.log_every=50",
    "compress.limit_bytes=75000",
)


def make_command(folder, *options) -> tuple[list[str], dict]:
    """The command on a text below ``folder``, and how to start it."""
    (folder / "texts").mkdir()
    for number, text in enumerate(make_tiny_corpus()):
        (folder / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    command = [sys.executable, ROOT / "benchmarks/record_run.py", "--text", folder / "texts", "--out", folder / "out"]
    command += ["--profile", "tiny", "--curve-tokens", 2000, "--json", folder / "figures.json", *options]
    environment = tiny_project.isolated_env(folder) | {"PYTHONPATH": str(ROOT)}
    return [*map(str, [*command, "--set", *SETTINGS])], {"cwd": folder, "env": environment, "text": True}


@pytest.mark.soak
def test_the_form_for_a_gpu_collects_the_file_and_its_curve(tmp_path):
    command, options = make_command(tmp_path)
    done = subprocess.run(command, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    collected = sorted(path.name for path in (tmp_path / "out").iterdir())
    own = [*record_run.COLLECTED_FILES, *record_run.WEIGHTS, "rate_distortion.json", "record_run.json"]
    assert collected == sorted(own)
    result = io.read_json(tmp_path / "figures.json")
    assert {row["status"] for row in result["stages"].values()} == {"ok"}
    assert (result["steps"], result["recipes"]) == (200, None)


@pytest.mark.slow
def test_a_run_that_is_ended_goes_on_with_the_rest_to_the_last_table(tmp_path):
    command, options = make_command(tmp_path, "--device", "cpu", "--state", tmp_path / "state")
    with subprocess.Popen(command, stderr=subprocess.PIPE, **options) as process:
        assert any(line.startswith("train     ") for line in process.stderr)
        process.terminate()
        process.stderr.read()
        assert process.wait() == 143
    done = subprocess.run(command, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    kept = [line.split()[1] for line in done.stderr.splitlines() if line.endswith(": kept from an earlier start")]
    assert kept == ["fetch:"]
    collected = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert collected == sorted([*record_run.COLLECTED_FILES, "record_run.json"]), "weights stay in --state"
    result = io.read_json(tmp_path / "figures.json")
    assert list(result["stages"]) == [*record_stages.STAGES, "report", "coder", "recipes"]
    for name, row in result["stages"].items():
        assert row["status"] == "ok"
        assert min(row["seconds"], row["cpu_seconds"], row["peak_bytes"]) > 0, name
    assert result["stages"]["train"]["starts"] == 2
    assert (result["steps"], [row["step"] for row in result["loss"]["train"]]) == (200, [1, 50, 100, 150, 200])
    assert result["metrics"]["val_bpb_sliding"] > 0
    assert result["verdict"]["counts"].count("FAIL") == 0
    unused = 1 - result["metrics"]["artifact_bytes"] / result["metrics"]["limit_bytes"]
    assert 0 <= unused < 0.1
    recipes = result["recipes"]
    assert {row["recipe"] for row in recipes["points"]} == {"row", "tuned", "scalar", "trellis"}
    assert {(row["recipe"], row["n_solves"] > 0) for row in recipes["at_limit"]} == {
        ("scalar", True),
        ("trellis", True),
    }
    assert all(0 <= row["unused_frac"] < 0.01 for row in recipes["at_limit"])
    assert "trellis / clips" in recipes["comparisons"][0]["ratios"]
    fits = {row["recipe"]: row for row in recipes["weights_that_fit"] if row["setting"] == "(12.85, 20.0)"}
    published = fits["published"]
    assert published["weights"] == int((75_000 - published["code_bytes"]) * recipes["parameters"] / published["bytes"])
    assert f"Undertrained: {200 * 1024:,} tokens of training" in done.stdout
    assert "| row_column, trellis | " in done.stdout
