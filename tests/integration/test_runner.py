"""golf/pipeline/runner.py: how a stage is left, whatever ends it"""

import signal

import pytest

from tests.helpers.stage_processes import (
    assert_single_error,
    run_stage_process,
    start_stage_process,
    wait_for_file,
    write_params,
    write_stub_stage,
)


def test_a_bad_value_ends_with_one_message_that_names_the_key_and_the_way_back(tmp_path):
    code, err = run_stage_process(write_params(tmp_path, {"ttt.lr": "abc"}), "ttt")
    assert code == 1
    assert_single_error(err, "ttt")
    assert "ttt.lr: must be a number, got 'abc'" in err


def test_a_missing_params_file_ends_with_its_cure(tmp_path):
    code, err = run_stage_process(tmp_path, "ema")
    assert code == 1
    assert_single_error(err, "ema")
    assert "params.yaml: not found; cp profiles/laptop.yaml params.yaml" in err


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("compress", "artifacts/quantize/codes.safetensors"),
        ("evaluate", "artifacts/ttt/plan.json"),
    ],
)
def test_a_real_stage_without_its_input_names_the_file_and_the_way_back(stage_dir, name, file):
    code, err = run_stage_process(stage_dir, name)
    assert code == 1
    assert_single_error(err, name)
    assert f"{file}: not found" in err
    assert not list(stage_dir.glob("artifacts/*/*")), "nothing written where an artifact was expected"


def test_a_full_disk_is_told_without_a_traceback(stage_dir):
    body = 'raise OSError(28, "No space left on device", "artifacts/fetch/train/train_000000.bin")'
    write_stub_stage(stage_dir, "fetch", body)
    code, err = run_stage_process(stage_dir, "fetch")
    assert code == 1
    assert_single_error(err, "fetch")
    assert "no space left on the disk (artifacts/fetch/train/train_000000.bin)" in err


def test_a_bug_of_ours_keeps_its_traceback(stage_dir):
    write_stub_stage(stage_dir, "fetch", "raise ZeroDivisionError('ours')")
    code, err = run_stage_process(stage_dir, "fetch")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: ours" in err


INTERRUPTIBLE = """
import time
from golf.ground import store
store.write_bytes("good", b"good")
with store.writing("good") as partial:
    partial.write_bytes(b"half")
    Path("ready").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_a_kill_leave_nothing_half_written_and_say_how_to_go_back(stage_dir, number, code):
    write_stub_stage(stage_dir, "fetch", INTERRUPTIBLE)
    process = start_stage_process(stage_dir, "fetch")
    wait_for_file(stage_dir / "ready", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert (stage_dir / "good").read_bytes() == b"good"
    assert not list(stage_dir.glob(".good*"))
    if number == signal.SIGINT:
        assert_single_error(err, "fetch")
        assert "fetch: interrupted" in err
    else:
        assert "Traceback" not in err
