"""Stages in processes of their own, as a user starts them, in a folder with params.yaml."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from golf.distributed import launcher
from tests.helpers.forkserver import ForkedPopen
from tests.helpers.programs import stub_stage
from tests.helpers.tiny_corpus import ROOT


def write_params(folder: Path, overrides: dict) -> Path:
    """Write the laptop profile, in fp32 on one CPU rank, as ``folder``/params.yaml. overrides: dotted keys."""
    params = YAML(typ="safe", pure=True).load((ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8"))
    for section in ("train", "ema", "ttt", "calibrate", "evaluate"):
        params[section] |= {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32"}
    for dotted, value in overrides.items():
        section, key = dotted.split(".")
        params[section][key] = value
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params, file)
    return folder


def write_stub_stage(folder: Path, name: str, function: Callable[..., None]) -> None:
    """Write stages/<name>.py, which hides the real stage and runs ``function`` of ``programs.stub_stage``."""
    (folder / "stages").mkdir()
    shutil.copy(stub_stage.__file__, folder / "stages" / f"{name}.py")
    (folder / "stages" / f"{name}.txt").write_text(function.__name__)


def start_stage_process(folder: Path, name: str, **env: str) -> subprocess.Popen:
    """Start ``python -m stages.<name>`` in ``folder`` with the repository's golf. env: additional variables."""
    not_inherited = ("RANK", "WORLD_SIZE", launcher.STARTED_AT_ENV)
    inherited = {key: value for key, value in os.environ.items() if key not in not_inherited}
    return ForkedPopen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives it
    )


def run_stage_process(folder: Path, name: str, **env: str) -> tuple[int, str]:
    """Exit code and stderr; a stage writes nothing to stdout."""
    process = start_stage_process(folder, name, **env)
    stdout, stderr = process.communicate(timeout=90)
    assert stdout == ""
    return process.returncode, stderr


def wait_for_file(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60  # ends a test that hangs; measures nothing
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_single_error(stderr: str, name: str) -> None:
    """stderr holds one short message with its hint, and no traceback."""
    assert "Traceback" not in stderr
    assert stderr.count(f"dvc checkout {name}") == 1
    assert len(stderr.strip().splitlines()) <= 6


def write_two_rank_stage(folder: Path, function: Callable[..., None]) -> Path:
    """Write params.yaml with ``calibrate.ranks: 2``, and a stage calibrate that runs ``function`` of ``stub_stage``."""
    write_params(
        folder, {"calibrate.ranks": 2, "calibrate.batch_tokens": 2 * 16384, "calibrate.micro_batch_tokens": 16384}
    )
    write_stub_stage(folder, "calibrate", function)
    return folder


def run_ranks(program: Path, rendezvous_file: Path, world_size: int) -> None:
    """Run a program as ``world_size`` ranks, all of which must succeed.

    program: a Python file, whose arguments are the rendezvous file and the rank.
    """
    processes = [
        ForkedPopen(
            [sys.executable, str(program), str(rendezvous_file), str(rank)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        stderrs = [process.communicate(timeout=120)[1] for process in processes]  # ends a deadlock
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world_size, stderrs


def start_sleeping_ranks(folder: Path) -> subprocess.Popen:
    """Start two ranks that sleep; returns once each has written its process id to the file ready<rank>."""
    process = start_stage_process(write_two_rank_stage(folder, stub_stage.sleep_on_all_ranks), "calibrate")
    for rank in range(2):
        wait_for_file(folder / f"ready{rank}", process)
    return process
