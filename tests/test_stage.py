"""golf/ground/stage.py: stages as the user meets them, in processes of their own"""

import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from golf.ground import params, runtime, stage

ROOT = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path) -> Path:
    """A working folder with params.yaml, every stage on one CPU rank and eager."""
    return configured(tmp_path, {})


def configured(folder: Path, changes: dict) -> Path:
    tree = YAML(typ="safe", pure=True).load((ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8"))
    for section in ("train", "ema", "ttt", "calibrate", "evaluate"):
        tree[section] |= {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32"}
    for dotted, value in changes.items():
        section, key = dotted.split(".")
        tree[section][key] = value
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tree, file)
    return folder


def throwaway(folder: Path, name: str, body: str) -> None:
    """stages/<name>.py in ``folder``, found before the real one; its main has ``here`` and runs ``body``."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    (folder / "stages").mkdir()
    (folder / "stages" / f"{name}.py").write_text(
        "from pathlib import Path\n"
        "from golf.ground import errors, stage\n"
        f"def main(here=None):\n{lines}\n"
        f'if __name__ == "__main__":\n    stage.enter("{name}", main)\n'
    )


def start(folder: Path, name: str, **variables: str) -> subprocess.Popen:
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    clean = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "GOLF_STARTED")}
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=folder,
        env=clean | ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group, as a terminal gives it
    )


def run(folder: Path, name: str, **variables: str) -> tuple[int, str]:
    """Exit code and what was said on stderr; a stage says nothing on stdout."""
    process = start(folder, name, **variables)
    out, err = process.communicate(timeout=90)
    assert out == ""
    return process.returncode, err


def wait_for(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 60  # a guard against waiting for ever, not a measurement
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def told_once(err: str, name: str) -> None:
    """One short message with its cure, and no traceback."""
    assert "Traceback" not in err
    assert err.count(f"dvc checkout {name}") == 1
    assert len(err.strip().splitlines()) <= 6


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
def test_a_real_stage_without_its_input_names_the_file_and_the_way_back(place, name, file):
    code, err = run(place, name)
    assert code == 1
    told_once(err, name)
    assert f"{file}: not found" in err
    assert not list(place.glob("artifacts/*/*")), "nothing written where an artifact was expected"


def test_a_full_disk_is_told_without_a_traceback(place):
    body = 'raise OSError(28, "No space left on device", "artifacts/fetch/train/train_000000.bin")'
    throwaway(place, "fetch", body)
    code, err = run(place, "fetch")
    assert code == 1
    told_once(err, "fetch")
    assert "no space left on the disk (artifacts/fetch/train/train_000000.bin)" in err


def test_a_bug_of_ours_keeps_its_traceback(place):
    throwaway(place, "fetch", "raise ZeroDivisionError('ours')")
    code, err = run(place, "fetch")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: ours" in err


def test_run_json_tells_seconds_packages_and_no_commit_outside_git(place):
    throwaway(place, "ema", "assert here.ranks == 1 and here.first")
    code, err = run(place, "ema")
    assert code == 0
    assert err.startswith("ema       cpu (asked for), float32 (asked for)")
    tree = json.loads((place / "artifacts" / "ema" / "run.json").read_text())
    assert tree["stage"] == "ema"
    assert tree["seconds"] > 0
    assert {"torch", "numpy", "safetensors"} <= tree["packages"].keys()
    assert tree["runtime"] in err
    assert tree["git"] is None


def test_the_record_fingerprints_every_package_that_the_project_pins():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pinned = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    assert {line.partition("==")[0] for line in pinned} <= set(stage.PACKAGES)


def test_the_hardware_is_named_with_its_number():
    cpu = f"{os.cpu_count()} × CPU core ({platform.machine()})"
    assert stage.hardware(None) == stage.hardware(runtime.alone()) == cpu


def test_gpus_are_named_by_their_model_one_a_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    here = dataclasses.replace(runtime.alone("cuda:0"), ranks=8)
    assert stage.hardware(here) == "8 × NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(("tool", "told"), [("echo 580.65.06", "580.65.06"), ("exit 9", None), (None, None)])
def test_the_driver_is_told_where_its_tool_answers(tmp_path, monkeypatch, tool, told):
    if tool:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = stage.cuda_versions()
    assert found.keys() == {"runtime", "cudnn", "driver"}
    assert found["driver"] == told


def test_the_record_names_the_commit_and_whether_it_was_dirty(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert stage.commit() is None, "no commit yet"
    (tmp_path / "a").write_text("one")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert stage.commit() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "b").write_text("not tracked")
    assert stage.commit()["dirty"] is False
    (tmp_path / "a").write_text("two")
    assert stage.commit()["dirty"] is True


def test_a_clock_is_written_and_read_in_milliseconds_and_null_where_there_is_no_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage.write_clock("train", train_seconds=1.23456, limit_seconds=None)
    tree = json.loads((tmp_path / "artifacts" / "train" / "clock.json").read_text())
    assert tree == {"train_seconds": 1.235, "limit_seconds": None}


def test_a_clock_says_on_what_its_seconds_were_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage.write_clock("calibrate", runtime.alone(), train_seconds=2.0)
    tree = json.loads((tmp_path / "artifacts" / "calibrate" / "clock.json").read_text())
    assert tree == {"train_seconds": 2.0, "hardware": stage.hardware(None)}


# ---- val behind a door (C1-e)

VAL = "artifacts/fetch/val/val_000000.bin"
OPENS = {
    "open": "open(path, 'rb').read()",
    "an absolute path": "open(Path(path).absolute()).read()",
    "a way round": "open('artifacts/fetch/../fetch/./val/val_000000.bin').read()",
    "bytes": "open(path.encode(), 'rb').read()",
    "os.open": "import os; os.open(path, os.O_RDONLY)",
    "a memory map": "import numpy; numpy.memmap(path, mode='r')",
    "write": "open(path, 'w')",
    "from another folder": "import os; os.chdir('artifacts'); open('fetch/val/val_000000.bin').read()",
}


def with_val(folder: Path) -> Path:
    (folder / VAL).parent.mkdir(parents=True)
    (folder / VAL).write_bytes(b"held out")
    return folder


def test_a_stage_before_evaluate_can_not_open_val_by_whatever_call(place):
    lines = [f"path = {VAL!r}", "refused = 0"]
    for call in OPENS.values():
        lines += ["try:", f"    {call}", "except errors.GolfError as error:"]
        lines += ["    refused += 'val is for evaluate alone' in str(error)"]
    lines.append(f"assert refused == {len(OPENS)}, refused")
    throwaway(with_val(place), "compress", "\n".join(lines))
    code, err = run(place, "compress")
    assert code == 0, err
    assert (place / VAL).read_bytes() == b"held out"


def test_the_refusal_names_the_stage_and_the_file_in_one_message(place):
    throwaway(with_val(place), "train", f"open({VAL!r})")
    code, err = run(place, "train")
    assert code == 1
    told_once(err, "train")
    assert f"train may not open {VAL}: val is for evaluate alone (C1)" in err


@pytest.mark.soak
def test_a_rank_can_not_open_val_either(tmp_path):
    body = f"if here.rank == 1: open({VAL!r})\nhere.agree(0.0)"
    code, err = run(with_val(two_ranks(tmp_path, body)), "calibrate")
    assert code == 1
    told_once(err, "calibrate")
    assert f"calibrate may not open {VAL}" in err


def test_val_is_open_to_fetch_and_evaluate_alone_and_to_a_ttt_that_is_told_to_adapt_on_it():
    tree = params.read(ROOT / "profiles" / "laptop.yaml")
    sections = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    assert [name for name, section in sections.items() if stage.reads_val(name, section)] == ["fetch", "evaluate"]
    assert stage.reads_val("ttt", dataclasses.replace(tree.ttt, stream="val"))


def test_a_ttt_that_adapts_on_val_can_open_it(tmp_path):
    configured(with_val(tmp_path), {"ttt.stream": "val"})
    throwaway(tmp_path, "ttt", f"assert open({VAL!r}).read() == 'held out'")
    code, err = run(tmp_path, "ttt")
    assert code == 0, err


def test_files_of_names_like_vals_stay_open(place):
    names = ("artifacts/fetch/val_notes.txt", "artifacts/fetch/dev/val", "val")
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("open")
    throwaway(place, "compress", f"for name in {names!r}:\n    assert open(name).read() == 'open'")
    code, err = run(place, "compress")
    assert code == 0, err


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
def test_ctrl_c_and_a_kill_leave_nothing_half_written_and_say_how_to_go_back(place, number, code):
    throwaway(place, "fetch", INTERRUPTIBLE)
    process = start(place, "fetch")
    wait_for(place / "ready", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert (place / "good").read_bytes() == b"good"
    assert not list(place.glob(".good*"))
    if number == signal.SIGINT:
        told_once(err, "fetch")
        assert "fetch: interrupted" in err
    else:
        assert "Traceback" not in err


def two_ranks(folder: Path, body: str) -> Path:
    configured(folder, {"calibrate.ranks": 2, "calibrate.batch_tokens": 2 * 16384, "calibrate.micro_tokens": 16384})
    throwaway(folder, "calibrate", body)
    return folder


def test_ranks_2_starts_two_ranks_and_one_writes_the_record(tmp_path):
    folder = two_ranks(tmp_path, 'Path(f"rank{here.rank}of{here.ranks}").touch(); here.agree(0.0)')
    code, err = run(folder, "calibrate")
    assert code == 0, err
    assert {path.name for path in folder.glob("rank*")} == {"rank0of2", "rank1of2"}
    assert err.count("2 ranks") == 1
    tree = json.loads((folder / "artifacts" / "calibrate" / "run.json").read_text())
    assert tree["runtime"].endswith("2 ranks")


def test_a_rank_that_fails_ends_all_with_its_one_message(tmp_path):
    body = 'if here.rank == 1: raise errors.BadArtifact("artifacts/x", "not found")\nhere.agree(0.0)'
    code, err = run(two_ranks(tmp_path, body), "calibrate")
    assert code == 1
    told_once(err, "calibrate")
    assert err.count("artifacts/x: not found") == 1


@pytest.mark.soak
def test_an_error_that_all_ranks_meet_is_told_once(tmp_path):
    body = 'raise errors.BadArtifact("artifacts/x", "not found")'
    code, err = run(two_ranks(tmp_path, body), "calibrate")
    assert code == 1
    told_once(err, "calibrate")
    assert err.count("artifacts/x: not found") == 1


@pytest.mark.soak
def test_a_bug_in_one_rank_shows_its_traceback_and_not_what_it_did_to_the_others(tmp_path):
    body = 'if here.rank == 1: raise ZeroDivisionError("ours")\nhere.agree(0.0)'
    code, err = run(two_ranks(tmp_path, body), "calibrate")
    assert code == 1
    assert err.count("Traceback") == 1
    assert "ZeroDivisionError: ours" in err


@pytest.mark.soak
def test_a_rank_that_is_killed_is_named_with_its_signal(tmp_path):
    body = "import os\nif here.rank == 1: os.kill(os.getpid(), 9)\nhere.agree(0.0)"
    code, err = run(two_ranks(tmp_path, body), "calibrate")
    assert code == 1
    told_once(err, "calibrate")
    assert "rank 1 was ended by SIGKILL" in err


def test_ctrl_c_ends_two_ranks_with_one_message(tmp_path):
    body = 'import time\nPath(f"ready{here.rank}").touch()\ntime.sleep(60)'
    process = start(two_ranks(tmp_path, body), "calibrate")
    for rank in range(2):
        wait_for(tmp_path / f"ready{rank}", process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    told_once(err, "calibrate")
    assert "calibrate: interrupted" in err


def test_a_launcher_with_another_number_of_ranks_is_refused_by_the_key(place):
    throwaway(place, "calibrate", "pass")
    meet = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    code, err = run(configured(place, {"calibrate.ranks": 2, "calibrate.micro_tokens": 8192}), "calibrate", **meet)
    assert code == 1
    told_once(err, "calibrate")
    assert "calibrate.ranks: params say 2, torchrun started 1" in err
