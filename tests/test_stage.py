"""golf/ground/stage.py: how a stage is left, whatever ends it"""

import signal

import pytest
from processes import configured, run, start, throwaway, told_once, wait_for


def test_a_bad_value_ends_with_one_message_that_names_the_key_and_the_way_back(tmp_path):
    code, err = run(configured(tmp_path, {"ttt.lr": "abc"}), "ttt")
    assert code == 1
    told_once(err, "ttt")
    assert "ttt.lr: must be a number, got 'abc'" in err


def test_a_missing_params_file_ends_with_its_cure(tmp_path):
    code, err = run(tmp_path, "ema")
    assert code == 1
    told_once(err, "ema")
    assert "params.yaml: not found; cp profiles/laptop.yaml params.yaml" in err


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("compress", "artifacts/quantize/codes.safetensors"),
        ("evaluate", "artifacts/ttt/plan.json"),
    ],
)
def test_a_real_stage_without_its_input_names_the_file_and_the_way_back(desk, name, file):
    code, err = run(desk, name)
    assert code == 1
    told_once(err, name)
    assert f"{file}: not found" in err
    assert not list(desk.glob("artifacts/*/*")), "nothing written where an artifact was expected"


def test_a_full_disk_is_told_without_a_traceback(desk):
    body = 'raise OSError(28, "No space left on device", "artifacts/fetch/train/train_000000.bin")'
    throwaway(desk, "fetch", body)
    code, err = run(desk, "fetch")
    assert code == 1
    told_once(err, "fetch")
    assert "no space left on the disk (artifacts/fetch/train/train_000000.bin)" in err


def test_a_bug_of_ours_keeps_its_traceback(desk):
    throwaway(desk, "fetch", "raise ZeroDivisionError('ours')")
    code, err = run(desk, "fetch")
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
def test_ctrl_c_and_a_kill_leave_nothing_half_written_and_say_how_to_go_back(desk, number, code):
    throwaway(desk, "fetch", INTERRUPTIBLE)
    process = start(desk, "fetch")
    wait_for(desk / "ready", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert (desk / "good").read_bytes() == b"good"
    assert not list(desk.glob(".good*"))
    if number == signal.SIGINT:
        told_once(err, "fetch")
        assert "fetch: interrupted" in err
    else:
        assert "Traceback" not in err
