"""benchmarks/measured_process.py: what a command takes, and that of several starts together"""

import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks.measured_process import read_usage, run_measured
from tests.helpers.tiny_corpus import ROOT

MB = 1 << 20
HOLD = "import time; block = bytearray({n_bytes}); block[::4096] = b'x' * len(block[::4096]); time.sleep(0.5)"


def run(folder, code: str, **options) -> int:
    return run_measured([sys.executable, "-c", code], folder / "usage.jsonl", cwd=folder, **options)


def test_memory_of_processes_that_run_at_the_same_time_adds(tmp_path):
    held = HOLD.format(n_bytes=60 * MB)
    assert run(tmp_path, held) == 0
    alone = read_usage(tmp_path / "usage.jsonl")["peak_bytes"]
    assert alone > 60 * MB
    code = (
        f"import subprocess, sys\nchildren = [subprocess.Popen([sys.executable, '-c', {held!r}]) for _ in range(2)]\n"
    )
    assert run(tmp_path, code + "[child.wait() for child in children]") == 0
    assert read_usage(tmp_path / "usage.jsonl")["peak_bytes"] > max(2 * 60 * MB, alone)


def test_processor_time_of_children_counts(tmp_path):
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    run(tmp_path, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])")
    assert read_usage(tmp_path / "usage.jsonl")["cpu_seconds"] >= 0.3


def test_starts_add_up_and_the_largest_peak_counts(tmp_path):
    rows = [
        {"seconds": 2.0, "cpu_seconds": 3.0, "peak_bytes": 50},
        {"seconds": 1.5, "cpu_seconds": 1.0, "peak_bytes": 40},
    ]
    (tmp_path / "usage.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_usage(tmp_path / "usage.jsonl") == {"seconds": 3.5, "cpu_seconds": 4.0, "peak_bytes": 50, "starts": 2}


def test_exit_code_and_what_it_prints_come_back(tmp_path, capsys):
    code = "import sys; print('so far'); sys.exit(3)"
    assert run(tmp_path, code, log_path=tmp_path / "log.txt", echo=True) == 3
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "so far\n"
    assert capsys.readouterr().err == "so far\n"
    assert run(tmp_path, code, log_path=tmp_path / "log.txt") == 3
    assert capsys.readouterr().err == ""


SAVING = (
    "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (open('saved', 'w').close(), sys.exit(0)))\n"
)


def test_a_command_that_takes_too_long_may_save_before_it_ends_and_is_measured(tmp_path):
    with pytest.raises(TimeoutError, match="exceeded 3 s"):
        run(tmp_path, SAVING + "time.sleep(600)", timeout_s=3.0)
    assert (tmp_path / "saved").is_file()
    assert read_usage(tmp_path / "usage.jsonl")["starts"] == 1


def test_an_interrupted_caller_ends_its_command_and_keeps_what_it_took(tmp_path):
    inner = SAVING + "open('started', 'w').close(); time.sleep(600)"
    caller = (
        "import signal, sys\nfrom pathlib import Path\nfrom benchmarks.measured_process import run_measured\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"run_measured([sys.executable, '-c', {inner!r}], Path('usage.jsonl'), cwd=Path('.'))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while not (tmp_path / "started").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait() == 143
    assert (tmp_path / "saved").is_file()
    assert read_usage(tmp_path / "usage.jsonl")["starts"] == 1
