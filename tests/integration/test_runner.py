"""golf/pipeline/runner.py: exit code and message of a stage, whatever ends it"""

import json
import shutil
import signal

import pytest

from tests.helpers.programs import stub_stage
from tests.helpers.stage_processes import (
    assert_single_error,
    run_stage_process,
    start_stage_process,
    wait_for_file,
    write_params,
    write_stub_stage,
)
from tests.helpers.tiny_corpus import ROOT


def test_an_invalid_value_gives_one_message_with_the_key_and_the_restore_hint(tmp_path):
    code, err = run_stage_process(write_params(tmp_path, {"ttt.lr": "abc"}), "ttt")
    assert code == 1
    assert_single_error(err, "ttt")
    assert "ttt.lr: must be a number, got 'abc'" in err


def test_a_missing_params_file_gives_a_hint(tmp_path):
    code, err = run_stage_process(tmp_path, "ema")
    assert code == 1
    assert_single_error(err, "ema")
    assert "params.yaml: not found; copy a profile: cp profiles/laptop.yaml params.yaml" in err


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("compress", "artifacts/quantize/codes.safetensors"),
        ("evaluate", "artifacts/ttt/plan.json"),
    ],
)
def test_a_real_stage_without_its_input_names_the_file_and_the_restore_hint(stage_dir, name, file):
    code, err = run_stage_process(stage_dir, name)
    assert code == 1
    assert_single_error(err, name)
    assert f"{file}: not found" in err
    assert not list(stage_dir.glob("artifacts/*/*")), "a stage that fails writes nothing"


def test_a_full_disk_is_reported_without_a_traceback(stage_dir):
    write_stub_stage(stage_dir, "fetch", stub_stage.fill_disk)
    code, err = run_stage_process(stage_dir, "fetch")
    assert code == 1
    assert_single_error(err, "fetch")
    assert f"{stub_stage.FULL_DISK_PATH}: No space left on device, while it ran " in err
    assert "; free some space on the disk" in err


def test_a_file_that_cannot_be_written_is_reported_without_a_traceback(stage_dir):
    write_stub_stage(stage_dir, "fetch", stub_stage.write_into_missing_folder)
    code, err = run_stage_process(stage_dir, "fetch")
    assert code == 1
    assert_single_error(err, "fetch")
    assert f"{stub_stage.MISSING_FOLDER_PATH}: No such file or directory, while it ran " in err
    assert "; check that it exists, then run again" in err


@pytest.mark.parametrize(("old", "new"), [("GOLF_RUNS", "GOLF_RESUME_DIR"), ("GOLF_SECRET", "GOLF_PROBE_SEED")])
def test_an_environment_variable_under_its_old_name_is_refused(stage_dir, old, new):
    write_stub_stage(stage_dir, "fetch", stub_stage.crash)
    code, err = run_stage_process(stage_dir, "fetch", **{old: "0a1b"})
    assert code == 1
    assert_single_error(err, "fetch")
    assert f"{old}: renamed to {new}; set the new name and unset the old one" in err


def test_an_unexpected_exception_keeps_its_traceback(stage_dir):
    write_stub_stage(stage_dir, "fetch", stub_stage.crash)
    code, err = run_stage_process(stage_dir, "fetch")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: a bug" in err


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_stage_leaves_nothing_half_written(stage_dir, signum, exit_code):
    write_stub_stage(stage_dir, "fetch", stub_stage.sleep_while_writing)
    process = start_stage_process(stage_dir, "fetch")
    wait_for_file(stage_dir / "ready", process)
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert process.returncode == exit_code
    assert (stage_dir / "good").read_bytes() == b"good"
    assert not list(stage_dir.glob(".good*"))
    if signum == signal.SIGINT:
        assert_single_error(err, "fetch")
        assert "fetch: interrupted" in err
    else:
        assert "Traceback" not in err


def test_run_json_holds_seconds_and_packages_and_no_commit_outside_git(stage_dir):
    write_stub_stage(stage_dir, "ema", stub_stage.require_one_rank)
    code, err = run_stage_process(stage_dir, "ema")
    assert code == 0
    assert err.startswith("ema       cpu (as requested), float32 (as requested)")
    record = json.loads((stage_dir / "artifacts" / "ema" / "run.json").read_text())
    assert record["stage"] == "ema"
    assert record["seconds"] > 0
    assert {"torch", "numpy", "safetensors"} <= record["packages"].keys()
    assert record["runtime"] in err
    assert record["cpu_load"].keys() <= {"cores", "used_by_others", "warning"}
    assert record["git"] is None


def test_the_record_profile_without_a_gpu_is_refused_once_before_a_rank_starts(tmp_path):
    shutil.copy(ROOT / "profiles/record.yaml", tmp_path / "params.yaml")
    code, err = run_stage_process(tmp_path, "train", CUDA_VISIBLE_DEVICES="")
    assert code == 1
    assert_single_error(err, "train")
    assert err.count("train.device: cuda was requested, but torch sees no GPU") == 1
    assert "ranks stopped" not in err
