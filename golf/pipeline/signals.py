"""Signals that ask a process to end, answered at once or once the work can stop; and no life after the parent."""

import os
import signal
import sys
import threading
import time

TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_GRACE_S = 20.0  # what a rank, or an orphan, has for its end; torch's launcher kills after 30 s
REPEAT_AFTER_S = 2.0  # a terminal and a launcher both send the first one
PARENT_POLL_S = 0.5  # between two looks at the parents
LAUNCHER_PID_ENV = "GOLF_LAUNCHER"  # in a rank: the process id of the launcher
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish")  # that DVC may start a command through


def install_handlers() -> None:
    """From here on SIGTERM and SIGHUP end this process as an exit does, so that nothing half-written stays.

    A signal that is ignored stays so (nohup). A rank may hang in a collective whose other end is gone, where Python
    runs no handler; a thread of its own hears of the signal there too, and gives the rank GRACE_S from then on.
    """
    if "RANK" in os.environ and threading.current_thread() is threading.main_thread():
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        threading.Thread(target=_force_exit_on_signal, args=(read_fd,), daemon=True).start()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _exit_on_signal)


def _exit_on_signal(signum: int, _) -> None:
    sys.exit(128 + signum)


def _force_exit_on_signal(read_fd: int) -> None:
    """Once one of ENDING comes through the pipe, the end comes in GRACE_S, whatever the process is waiting for."""
    while signal_byte := os.read(read_fd, 1):
        if signal_byte[0] in TERMINATION_SIGNALS:
            _force_exit_after(EXIT_GRACE_S, 128 + signal_byte[0])
            return


def shield_exit() -> None:
    """In a rank on its way out: no signal breaks into what is left to do, for which it has GRACE_S."""
    _force_exit_after(EXIT_GRACE_S, 1)
    for signum in TERMINATION_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def _force_exit_after(seconds: float, exit_code: int) -> None:
    timer = threading.Timer(seconds, os._exit, (exit_code,))
    timer.daemon = True
    timer.start()


class DeferSignals:
    """While the block runs, a signal to end is noted in ``asked`` and not obeyed; a second one, AGAIN_S later, is.

    Afterwards signals are answered as before; what was asked is for the caller to do. Outside the main thread, which
    alone hears signals, the block changes nothing.
    """

    def __init__(self):
        self.pending: int | None = None
        self.previous_handlers: dict = {}

    def __enter__(self) -> "DeferSignals":
        if threading.current_thread() is threading.main_thread():
            current_handlers = {signum: signal.getsignal(signum) for signum in TERMINATION_SIGNALS}
            self.previous_handlers = {
                number: handler for number, handler in current_handlers.items() if handler != signal.SIG_IGN
            }
            for number in self.previous_handlers:
                signal.signal(number, self._defer)
        return self

    def __exit__(self, *_) -> None:
        for signum, handler in self.previous_handlers.items():
            signal.signal(signum, handler)

    def _defer(self, signum: int, _) -> None:
        if self.pending is None:
            self.pending, self._first_signal_at = signum, time.monotonic()
        elif time.monotonic() - self._first_signal_at > REPEAT_AFTER_S:
            self.__exit__()
            signal.raise_signal(signum)


def exit_with_parent() -> None:
    """End this process when what started it is gone: a rank's launcher; DVC, where a stage runs under it.

    DVC's death by SIGTERM or SIGKILL leaves its stage alive, and the next repro would start a second one. Linux could
    send a signal (PR_SET_PDEATHSIG), but at the end of the parent's thread; a look twice a second works everywhere.
    """
    if LAUNCHER_PID_ENV in os.environ or "DVC_STAGE" in os.environ:
        threading.Thread(target=_wait_for_parent, args=(find_parents(),), daemon=True).start()


def find_parents() -> list:
    """The processes that this one must not outlive: its parent, behind a shell the next. None: one is gone already."""
    import psutil

    if LAUNCHER_PID_ENV in os.environ:
        return [psutil.Process(os.getppid()) if os.getppid() == int(os.environ[LAUNCHER_PID_ENV]) else None]
    ancestors = []
    for process in psutil.Process().parents():
        ancestors.append(process)
        if process.name() not in _SHELLS:
            break
    is_orphaned = not ancestors or (ancestors[-1].pid == 1 and "dvc" not in " ".join(ancestors[-1].cmdline()))
    return [None] if is_orphaned else ancestors


def _wait_for_parent(processes: list) -> None:
    while all(process is not None and _is_alive(process) for process in processes):
        time.sleep(PARENT_POLL_S)
    _force_exit_after(EXIT_GRACE_S, 128 + signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_alive(process) -> bool:
    """Whether a process still runs; one that is dead and not yet buried does not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
