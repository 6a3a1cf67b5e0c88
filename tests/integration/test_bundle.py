"""A bundle of the tiny run: its script, run alone, gives what the stages gave; the review finds no fault."""

import os
import subprocess
import sys

import numpy as np
import pytest

from golf.artifacts import io
from golf.cli import main as cli
from golf.evaluation import ledger
from golf.submission import report
from golf.submission.bundle import packing
from tests.helpers.programs import run_script_alone

MODES = ("plain", "sliding", "ttt")


def run_script(folder, fetched, *arguments: str) -> subprocess.CompletedProcess:
    """Run the script in ``folder``, where golf and the packages that it must not need can't be imported."""
    paths = {"DATA_PATH": str(fetched), "TOKENIZER_PATH": str(fetched / "tokenizer.model")}
    command = [sys.executable, "-I", run_script_alone.__file__, packing.SCRIPT_NAME, *arguments]
    env = os.environ | paths | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_script_gives_the_stages_tensors_codes_and_scores_bit_for_bit(project_dir, tmp_path):
    out = tmp_path / "submission"
    assert cli.main(["bundle", "--out", str(out)]) == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / packing.SCRIPT_NAME).write_bytes((out / packing.SCRIPT_NAME).read_bytes())

    completed = run_script(empty, project_dir / "artifacts/fetch", "--modes", *MODES)

    assert completed.returncode == 0, completed.stderr
    assert (empty / "model.golf").read_bytes() == (project_dir / "artifacts/compress/model.golf").read_bytes()
    for mode in MODES:
        expected, _ = ledger.read(project_dir / f"artifacts/evaluate/ledgers/{mode}.safetensors")
        with np.load(empty / f"ledger_{mode}.npz") as columns:
            for name in columns.files:
                np.testing.assert_array_equal(columns[name], getattr(expected, name), err_msg=f"{mode}.{name}")
    log = (empty / "train_seed314.log").read_text()
    sizes = io.read_json(project_dir / "artifacts/compress/sizes.json")
    assert f"Code size: {sizes['bundle_code_bytes']} bytes" in log
    shipped_log = (out / "train_seed314.log").read_text()
    timed = ("time:", "Hessians in")  # lines that differ from run to run
    assert [line for line in log.splitlines() if not any(word in line for word in timed)] == [
        line for line in shipped_log.splitlines() if not any(word in line for word in timed)
    ]


def test_check_submission_finds_nothing_in_a_bundle_of_the_last_run(project_dir):
    assert cli.main(["bundle", "--out", "runs/submission", "--author", "Your Name", "--github-id", "you"]) == 0
    assert cli.main(["check-submission", "runs/submission"]) == 0
    assert report.review_folder(project_dir / "runs/submission").findings == []


def test_a_script_without_data_says_where_it_looked_in_one_message(project_dir, tmp_path):
    out = tmp_path / "submission"
    assert cli.main(["bundle", "--out", str(out)]) == 0
    (tmp_path / "nothing").mkdir()
    tokenizer = project_dir / "artifacts/fetch/tokenizer.model"
    completed = run_script(out, tmp_path / "nothing", "--tokenizer", str(tokenizer))
    assert completed.returncode == 1
    message = completed.stderr.strip().splitlines()
    assert message == [
        f"train_gpt.py: {tmp_path / 'nothing'}: holds no fineweb_train_*.bin; set DATA_PATH to the folder of the token "
        "shards"
    ]
