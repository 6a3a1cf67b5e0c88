"""Stages as the user meets them: in processes of their own, in a folder with params.yaml."""

import os
import subprocess
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

from tests.helpers.tiny_corpus import ROOT


def write_params(folder: Path, overrides: dict) -> Path:
    params = YAML(typ="safe", pure=True).load((ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8"))
    for section in ("train", "ema", "ttt", "calibrate", "evaluate"):
        params[section] |= {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32"}
    for dotted, value in overrides.items():
        section, key = dotted.split(".")
        params[section][key] = value
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params, file)
    return folder


def write_stub_stage(folder: Path, name: str, body: str) -> None:
    """stages/<name>.py in ``folder``, found before the real one; its main has ``here`` and runs ``body``."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    (folder / "stages").mkdir()
    (folder / "stages" / f"{name}.py").write_text(
        "from pathlib import Path\n"
        "from golf.ground import errors, stage\n"
        f"def main(here=None):\n{lines}\n"
        f'if __name__ == "__main__":\n    stage.enter("{name}", main)\n'
    )


def start_stage_process(folder: Path, name: str, **env: str) -> subprocess.Popen:
    defaults = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}
    inherited = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "GOLF_STARTED")}
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=folder,
        env=inherited | defaults,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group, as a terminal gives it
    )


def run_stage_process(folder: Path, name: str, **env: str) -> tuple[int, str]:
    """Exit code and what was said on stderr; a stage says nothing on stdout."""
    process = start_stage_process(folder, name, **env)
    stdout, stderr = process.communicate(timeout=90)
    assert stdout == ""
    return process.returncode, stderr


def wait_for_file(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60  # a guard against waiting for ever, not a measurement
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_single_error(stderr: str, name: str) -> None:
    """One short message with its cure, and no traceback."""
    assert "Traceback" not in stderr
    assert stderr.count(f"dvc checkout {name}") == 1
    assert len(stderr.strip().splitlines()) <= 6


def write_two_rank_stage(folder: Path, body: str) -> Path:
    write_params(
        folder, {"calibrate.ranks": 2, "calibrate.batch_tokens": 2 * 16384, "calibrate.micro_batch_tokens": 16384}
    )
    write_stub_stage(folder, "calibrate", body)
    return folder


def run_ranks(program: str, rendezvous_file: Path, world_size: int) -> None:
    """Run ``program`` as so many ranks, to their good end; each gets tests/, the meeting's file, and its own number."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(ROOT / "tests"), str(rendezvous_file)]
    processes = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(world_size)
    ]
    try:
        stderrs = [process.communicate(timeout=120)[1] for process in processes]  # a dead-lock ends here
    finally:
        for each in processes:
            each.kill()
    assert [each.returncode for each in processes] == [0] * world_size, stderrs


def start_sleeping_ranks(folder: Path, body: str) -> subprocess.Popen:
    """Two ranks that run ``body``, in which each writes a file ready<rank>; both have."""
    process = start_stage_process(write_two_rank_stage(folder, body), "calibrate")
    for rank in range(2):
        wait_for_file(folder / f"ready{rank}", process)
    return process
