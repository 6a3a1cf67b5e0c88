"""Notice other processes that use this machine's cores, say so, and let torch's threads give way to them.

On a busy machine OpenMP's threads waste most of the time that they get: each spins for milliseconds while it waits for
one that another process has displaced. GCC's libgomp, which torch uses on Linux, spins a thousandth as long while a
process has more OpenMP threads than there are cores (GOMP_SPINCOUNT in its manual). So while the machine is busy, idle
threads that hold OpenMP teams of their own make torch's threads sleep instead. No result changes. The
predictor's process is told so by its environment from its start (golf/evaluation/fence/environment.py).
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from golf.pipeline.progress import log_line

__all__ = [
    "CpuLoadMonitor",
    "CpuTimes",
    "OversubscribedThreads",
    "count_cores",
    "get_busy_threshold",
    "read_cpu_times",
]

_INTERVAL_S = 3.0  # between two readings
_MIN_BUSY_CORES, _MIN_BUSY_FRAC = 0.4, 0.1  # of other processes: what makes a machine busy, in cores and as a share
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, steal
_MAX_HOLDERS = 16
_ELEMENTS = 1 << 20  # of a sum that torch divides among all its threads


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since the machine started. busy_s: of all processes on this process's cores; own_s: of golf's own."""

    at_s: float
    busy_s: float
    own_s: float

    def count_cores_used_by_others(self, later: "CpuTimes") -> float:
        """Return the mean number of cores that other processes used between this reading and a later one."""
        others_s = (later.busy_s - self.busy_s) - (later.own_s - self.own_s)
        return max(0.0, others_s / max(later.at_s - self.at_s, 1e-3))


def read_cpu_times(stat_path: Path = Path("/proc/stat")) -> CpuTimes | None:
    """Read the times now; None where a system doesn't tell them, such as macOS."""
    import psutil

    try:
        lines = stat_path.read_text(encoding="ascii").splitlines()
        fields_by_cpu = {name: fields for name, *fields in map(str.split, filter(None, lines))}
        fields = [fields_by_cpu[f"cpu{cpu}"] for cpu in _get_own_cpus()]
        busy_ticks = sum(int(cpu_fields[i]) for cpu_fields in fields for i in _BUSY_FIELDS)
        return CpuTimes(time.monotonic(), busy_ticks / os.sysconf("SC_CLK_TCK"), _measure_own_s())
    except (OSError, KeyError, IndexError, ValueError, AttributeError, psutil.Error):
        return None


def _get_own_cpus() -> set[int]:
    return os.sched_getaffinity(0)


def _measure_own_s() -> float:
    """CPU seconds of this command: this process, or the launcher of the ranks, with all descendants."""
    import psutil

    process = psutil.Process()
    if int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", 1))) > 1:
        process = process.parent() or process
    seconds = 0.0
    for member in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended; its parent has its time now
            times = member.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


class CpuLoadMonitor:
    """A context manager that watches the machine while a stage runs, from a thread.

    The first time that the machine is busy it says so, unless ``quiet``; ``summary`` tells the mean afterwards.
    """

    def __init__(
        self,
        stage: str,
        *,
        quiet: bool = False,
        read: Callable[[], CpuTimes | None] = read_cpu_times,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._stage, self._quiet, self._read, self._interval_s = stage, quiet, read, interval_s
        self._first = self._last = read()
        self._threads = OversubscribedThreads()
        self._has_warned = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "CpuLoadMonitor":
        if self._first is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._threads.release()

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self.check()

    def check(self) -> None:
        """Compare the times with those of the last call; warn, and let torch's threads give way or not."""
        previous, self._last = self._last, self._read()
        if previous is None or self._last is None:
            return
        n_used = previous.count_cores_used_by_others(self._last)
        if n_used < get_busy_threshold():
            self._threads.release()
            return
        self._threads.hold()
        if not self._has_warned:
            log_line(self._stage, f"this machine is busy: {_describe(n_used, 'are')}", quiet=self._quiet)
        self._has_warned = True

    def summary(self) -> dict[str, float | int | str]:
        """Return what run.json holds: the mean number of cores that others used, and a warning if that made it busy."""
        now = self._read()
        if self._first is None or now is None:
            return {}
        n_used = self._first.count_cores_used_by_others(now)
        record: dict[str, float | int | str] = {"cores": len(_get_own_cpus()), "used_by_others": round(n_used, 2)}
        if n_used >= get_busy_threshold():
            warning = f"this machine was busy: on average {_describe(n_used, 'were')}"
            log_line(self._stage, warning, quiet=self._quiet)
            record["warning"] = warning
        return record


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_busy_threshold() -> float:
    """Return how many cores other processes use when a machine counts as busy."""
    return max(_MIN_BUSY_CORES, _MIN_BUSY_FRAC * len(_get_own_cpus()))


def _describe(n_used: float, verb: str) -> str:
    return f"{n_used:.1f} of {len(_get_own_cpus())} cores {verb} used by other processes"


class OversubscribedThreads:
    """Idle threads whose OpenMP teams make libgomp count more threads than cores; does nothing without torch."""

    def __init__(self) -> None:
        self._released: threading.Event | None = None
        self._holders: list[threading.Thread] = []

    def hold(self) -> None:
        """Start them, if they are not there."""
        torch = sys.modules.get("torch")
        if self._holders or torch is None or (n_threads := torch.get_num_threads()) == 1:
            return
        released = self._released = threading.Event()
        n_holders = 1 + max(0, len(_get_own_cpus()) - n_threads) // (n_threads - 1)

        def hold_team() -> None:
            torch.ones(_ELEMENTS).sum()
            released.wait()

        self._holders = [threading.Thread(target=hold_team, daemon=True) for _ in range(min(n_holders, _MAX_HOLDERS))]
        for holder in self._holders:
            holder.start()

    def release(self) -> None:
        """End them, if they are there."""
        if self._released is not None:
            self._released.set()
        for holder in self._holders:
            holder.join()
        self._holders, self._released = [], None
