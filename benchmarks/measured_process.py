"""Run a command and measure it: seconds, processor seconds, and the peak memory of its whole process tree."""

import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import psutil

__all__ = ["read_usage", "run_measured"]

_FIRST_INTERVAL_S, _LAST_INTERVAL_S = 0.05, 1.0  # between two readings; a reading lists all processes of the machine
_INTERVAL_SHARE = 0.02  # of the time that the command has run
_KILL_AFTER_S = 30.0  # between the signal that asks a command to end and the one that ends it


def run_measured(
    command: Sequence[str],
    usage_path: Path,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    log_path: Path | None = None,
    timeout_s: float | None = None,
    echo: bool = False,
) -> int:
    """Return the exit code of a command, and add a line to ``usage_path`` however it ends; see ``read_usage``.

    log_path: gets what it prints, anew, and with ``echo`` stderr gets it too; None: this process's own output. When
    this process is interrupted or the time is up, the command is asked to end and may save its state. Raises
    TimeoutError after ``timeout_s``.
    """
    with contextlib.ExitStack() as stack:
        log = None if log_path is None else stack.enter_context(open(log_path, "wb"))
        printed = stack.enter_context(open(log_path, "rb")) if log_path is not None and echo else None
        begin_s, begin_cpu_s, peak_bytes = time.monotonic(), _read_children_cpu_s(), 0
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=None if log is None else log)
        try:
            while process.poll() is None:
                elapsed_s = time.monotonic() - begin_s
                if timeout_s is not None and elapsed_s > timeout_s:
                    raise TimeoutError(f"exceeded {timeout_s:.0f} s")
                peak_bytes = max(peak_bytes, _read_tree_bytes(process.pid))
                _forward(printed)
                time.sleep(min(_LAST_INTERVAL_S, max(_FIRST_INTERVAL_S, _INTERVAL_SHARE * elapsed_s)))
        finally:
            _end(process)
            _forward(printed)
            seconds, cpu_s = time.monotonic() - begin_s, _read_children_cpu_s() - begin_cpu_s
            row = {"seconds": seconds, "cpu_seconds": cpu_s, "peak_bytes": peak_bytes}
            with open(usage_path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return int(process.returncode)


def read_usage(usage_path: Path) -> dict[str, Any]:
    """What all starts of a command took together.

    seconds, cpu_seconds: summed over starts; those of a start whose measuring process was killed are missing.
    peak_bytes: the largest of any start, of the memory that the processes of the tree held at one moment; pages that
    processes share count for each. starts: how many were measured.
    """
    rows = [json.loads(line) for line in usage_path.read_text(encoding="utf-8").splitlines()]
    return {
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in rows), 1),
        "peak_bytes": max(row["peak_bytes"] for row in rows),
        "starts": len(rows),
    }


def _forward(printed: BinaryIO | None) -> None:
    """Write to stderr what has come to the log."""
    if printed is not None:
        sys.stderr.write(printed.read().decode("utf-8", "replace"))
        sys.stderr.flush()


def _end(process: subprocess.Popen) -> None:
    """End the process if it still runs, first by a signal that lets it save its state."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read_children_cpu_s() -> float:
    """Processor seconds of all children of this process that have ended, with those of their own."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _read_tree_bytes(pid: int) -> int:
    """The memory of a process and its descendants now, or the most that one of them has held so far if that is more."""
    total, largest = 0, 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):  # it has just ended
                total += process.memory_info().rss
                largest = max(largest, _read_high_water_bytes(process.pid))
    return max(total, largest)


def _read_high_water_bytes(pid: int) -> int:
    """The most memory that a process has held since it started its program; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
