"""Graceful shutdown on SIGINT, SIGTERM and SIGHUP, deferred to a safe point; exit when the parent process dies."""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from golf.distributed.launcher import LAUNCHER_PID_ENV

if TYPE_CHECKING:
    import psutil

__all__ = [
    "EXIT_GRACE_S",
    "PARENT_POLL_S",
    "REPEAT_AFTER_S",
    "TERMINATION_SIGNALS",
    "DeferSignals",
    "exit_with_parent",
    "find_parents",
    "install_handlers",
    "shield_exit",
]

TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_GRACE_S = 20.0  # time for a rank or an orphan to exit; torch's launcher kills after 30 s
REPEAT_AFTER_S = 2.0  # a terminal and a launcher both send the first signal, so an earlier second one is the same
PARENT_POLL_S = 0.5
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish")  # DVC may start a command through one of these


def install_handlers() -> None:
    """Make SIGTERM and SIGHUP raise SystemExit in the main thread, so that cleanup code runs.

    A signal that is ignored stays ignored (nohup). A rank may hang in a collective whose other end is gone, where
    Python runs no handlers; a thread therefore also waits for the signal and ends the rank EXIT_GRACE_S later.
    """
    if "RANK" in os.environ and threading.current_thread() is threading.main_thread():
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        threading.Thread(target=_force_exit_on_signal, args=(read_fd,), daemon=True).start()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _exit_on_signal)


def _exit_on_signal(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _force_exit_on_signal(read_fd: int) -> None:
    """Wait for a termination signal to come through the wakeup pipe, then end the process after EXIT_GRACE_S."""
    while signal_byte := os.read(read_fd, 1):
        if signal_byte[0] in TERMINATION_SIGNALS:
            _force_exit_after(EXIT_GRACE_S, 128 + signal_byte[0])
            return


def shield_exit() -> None:
    """Let a rank exit undisturbed: ignore termination signals, but end it after EXIT_GRACE_S at the latest."""
    _force_exit_after(EXIT_GRACE_S, 1)
    for signum in TERMINATION_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def _force_exit_after(seconds: float, exit_code: int) -> None:
    timer = threading.Timer(seconds, os._exit, (exit_code,))
    timer.daemon = True
    timer.start()


class DeferSignals:
    """Context manager that stores a termination signal in ``pending`` instead of handling it.

    A second signal that comes more than REPEAT_AFTER_S later is handled at once. Leaving the block restores the
    previous handlers; the caller must act on ``pending``. Outside the main thread, where Python runs no handlers,
    nothing changes.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self.previous_handlers: dict[signal.Signals, Any] = {}
        self._first_signal_at = 0.0

    def __enter__(self) -> "DeferSignals":
        if threading.current_thread() is threading.main_thread():
            handlers = {signum: signal.getsignal(signum) for signum in TERMINATION_SIGNALS}
            self.previous_handlers = {
                signum: handler for signum, handler in handlers.items() if handler != signal.SIG_IGN
            }
            for signum in self.previous_handlers:
                signal.signal(signum, self._defer)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for signum, handler in self.previous_handlers.items():
            signal.signal(signum, handler)

    def _defer(self, signum: int, _frame: FrameType | None) -> None:
        if self.pending is None:
            self.pending, self._first_signal_at = signum, time.monotonic()
        elif time.monotonic() - self._first_signal_at > REPEAT_AFTER_S:
            self.__exit__()
            signal.raise_signal(signum)


def exit_with_parent() -> None:
    """End this process when its parent dies: for a rank, the launcher; for a stage under DVC, DVC.

    If DVC dies by SIGTERM or SIGKILL, its stage would otherwise keep running, and the next repro would start a second
    one. Linux's PR_SET_PDEATHSIG fires when the parent's *thread* ends; polling works everywhere.
    """
    if LAUNCHER_PID_ENV in os.environ or "DVC_STAGE" in os.environ:
        threading.Thread(target=_wait_for_parent, args=(find_parents(),), daemon=True).start()


def find_parents() -> "list[psutil.Process | None]":
    """Return the parent, and behind a shell also the shell's parent. None stands for one that has already died."""
    import psutil

    if LAUNCHER_PID_ENV in os.environ:
        return [psutil.Process(os.getppid()) if os.getppid() == int(os.environ[LAUNCHER_PID_ENV]) else None]
    ancestors: list[psutil.Process] = []
    for process in psutil.Process().parents():
        ancestors.append(process)
        if process.name() not in _SHELLS:
            break
    is_orphaned = not ancestors or (ancestors[-1].pid == 1 and "dvc" not in " ".join(ancestors[-1].cmdline()))
    return [None] if is_orphaned else [*ancestors]


def _wait_for_parent(processes: "list[psutil.Process | None]") -> None:
    while all(process is not None and _is_alive(process) for process in processes):
        time.sleep(PARENT_POLL_S)
    _force_exit_after(EXIT_GRACE_S, 128 + signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_alive(process: "psutil.Process") -> bool:
    """Whether a process is running; zombies are not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
