"""Stages as the user meets them: in processes of their own, in a folder with params.yaml."""

import os
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT
from ruamel.yaml import YAML


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


def two_ranks(folder: Path, body: str) -> Path:
    configured(folder, {"calibrate.ranks": 2, "calibrate.batch_tokens": 2 * 16384, "calibrate.micro_tokens": 16384})
    throwaway(folder, "calibrate", body)
    return folder


def ranks_of(program: str, meeting: Path, ranks: int) -> None:
    """Run ``program`` as so many ranks, to their good end; each gets tests/, the meeting's file, and its own number."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(ROOT / "tests"), str(meeting)]
    started = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(ranks)
    ]
    try:
        said = [each.communicate(timeout=120)[1] for each in started]  # a dead-lock ends here
    finally:
        for each in started:
            each.kill()
    assert [each.returncode for each in started] == [0] * ranks, said


def asleep(folder: Path, body: str) -> subprocess.Popen:
    """Two ranks that run ``body``, in which each writes a file ready<rank>; both have."""
    process = start(two_ranks(folder, body), "calibrate")
    for rank in range(2):
        wait_for(folder / f"ready{rank}", process)
    return process
