"""golf/pipeline/runner.py: ranks that it starts, and one message from all of them"""

import json
import os
import shutil
import signal

import psutil
import pytest

from golf.distributed import launcher
from tests.helpers.programs import hanging_rank, stub_stage
from tests.helpers.stage_processes import (
    assert_single_error,
    run_stage_process,
    start_sleeping_ranks,
    start_stage_process,
    wait_for_file,
    write_params,
    write_stub_stage,
    write_two_rank_stage,
)


def test_ranks_2_starts_two_ranks_that_share_a_probe_seed_and_one_writes_the_record(tmp_path, monkeypatch):
    monkeypatch.delenv(launcher.PROBE_SEED_ENV, raising=False)
    folder = write_two_rank_stage(tmp_path, stub_stage.write_probe_seed)
    code, err = run_stage_process(folder, "calibrate")
    assert code == 0, err
    shared = {path.name: path.read_text() for path in folder.glob("rank*")}
    assert shared.keys() == {"rank0of2", "rank1of2"}
    assert len(set(shared.values())) == 1
    assert len(bytes.fromhex(shared["rank0of2"])) == 16
    assert err.count("2 ranks") == 1
    record = json.loads((folder / "artifacts" / "calibrate" / "run.json").read_text())
    assert record["runtime"].endswith("2 ranks")


def run_failing(folder, function) -> str:
    """stderr of two ranks that run ``function`` and exit with 1."""
    code, err = run_stage_process(write_two_rank_stage(folder, function), "calibrate")
    assert code == 1
    return err


def test_a_rank_that_fails_ends_all_with_its_one_message(tmp_path):
    err = run_failing(tmp_path, stub_stage.fail_on_rank_1)
    assert_single_error(err, "calibrate")
    assert err.count("artifacts/x: not found") == 1


@pytest.mark.soak
def test_an_error_on_all_ranks_is_reported_once(tmp_path):
    err = run_failing(tmp_path, stub_stage.fail_on_all_ranks)
    assert_single_error(err, "calibrate")
    assert err.count("artifacts/x: not found") == 1


@pytest.mark.soak
def test_a_bug_in_one_rank_shows_its_traceback_and_not_what_it_did_to_the_others(tmp_path):
    err = run_failing(tmp_path, stub_stage.crash_on_rank_1)
    assert err.count("Traceback") == 1
    assert "ZeroDivisionError: a bug" in err


@pytest.mark.soak
def test_a_rank_that_is_killed_is_named_with_its_signal(tmp_path):
    err = run_failing(tmp_path, stub_stage.kill_rank_1)
    assert_single_error(err, "calibrate")
    assert "rank 1 was killed by SIGKILL" in err


def test_ctrl_c_ends_two_ranks_with_one_message(tmp_path):
    process = start_sleeping_ranks(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert_single_error(err, "calibrate")
    assert "calibrate: interrupted" in err


def test_a_launcher_with_another_number_of_ranks_is_refused_by_the_key(stage_dir):
    write_stub_stage(stage_dir, "calibrate", stub_stage.do_nothing)
    torchrun_env = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    code, err = run_stage_process(
        write_params(stage_dir, {"calibrate.ranks": 2, "calibrate.micro_batch_tokens": 8192}),
        "calibrate",
        **torchrun_env,
    )
    assert code == 1
    assert_single_error(err, "calibrate")
    assert "calibrate.ranks: params.yaml says 2, but torchrun started 1" in err


def test_a_given_probe_seed_is_kept_and_one_that_is_not_hex_is_refused_unrepeated(tmp_path):
    folder = write_two_rank_stage(tmp_path, stub_stage.write_probe_seed)
    code, err = run_stage_process(folder, "calibrate", GOLF_PROBE_SEED="swordfish")
    assert code == 1
    assert_single_error(err, "calibrate")
    assert "GOLF_PROBE_SEED: must be an even number of hex digits, got 9 characters that are not" in err
    assert "swordfish" not in err
    code, err = run_stage_process(folder, "calibrate", GOLF_PROBE_SEED="0A1b")
    assert code == 0, err
    assert {path.read_text() for path in folder.glob("rank*")} == {"0A1b"}


def test_a_rank_that_hangs_is_waited_for_so_long_and_then_all_end(tmp_path):
    folder = write_two_rank_stage(tmp_path, stub_stage.do_nothing)
    shutil.copy(hanging_rank.__file__, folder / "stages/calibrate.py")
    code, err = run_stage_process(folder, "calibrate")
    assert code == 1
    assert err.count("Traceback") == 1
    assert "all 2 ranks stopped" in err


def test_ranks_end_with_a_launcher_that_is_killed(tmp_path):
    process = start_sleeping_ranks(tmp_path)
    process.kill()
    process.communicate()
    ranks = [int((tmp_path / f"ready{rank}").read_text()) for rank in range(2)]
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in ranks if psutil.pid_exists(pid)], timeout=30)
    assert alive == []


def test_a_second_start_of_a_stage_is_refused_with_the_process_id_of_the_first(stage_dir):
    write_stub_stage(stage_dir, "fetch", stub_stage.sleep)
    process = start_stage_process(stage_dir, "fetch")
    wait_for_file(stage_dir / "ready", process)
    code, err = run_stage_process(stage_dir, "fetch")
    process.kill()
    process.communicate()
    assert code == 1
    message = f"fetch: process {process.pid} is already running; wait for it, or end it: kill {process.pid}"
    assert err.strip() == message
