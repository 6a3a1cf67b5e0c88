"""Signals that ask a process to end, answered at once or once the work can stop; and no life after the parent."""

import os
import signal
import sys
import threading
import time

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 20.0  # what a rank, or an orphan, has for its end; torch's launcher kills after 30 s
AGAIN_S = 2.0  # a terminal and a launcher both send the first one
WATCH_S = 0.5  # between two looks at the parents
LAUNCHER = "GOLF_LAUNCHER"  # in a rank: the process id of the launcher
SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "fish")  # that DVC may start a command through


def answer() -> None:
    """From here on SIGTERM and SIGHUP end this process as an exit does, so that nothing half-written stays.

    A signal that is ignored stays so (nohup). A rank may hang in a collective whose other end is gone, where Python
    runs no handler; a thread of its own hears of the signal there too, and gives the rank GRACE_S from then on.
    """
    if "RANK" in os.environ and threading.current_thread() is threading.main_thread():
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=bound, args=(heard,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave)


def leave(number: int, _) -> None:
    sys.exit(128 + number)


def bound(heard: int) -> None:
    """Once one of ENDING comes through the pipe, the end comes in GRACE_S, whatever the process is waiting for."""
    while number := os.read(heard, 1):
        if number[0] in ENDING:
            end_in(GRACE_S, 128 + number[0])
            return


def last_act() -> None:
    """In a rank on its way out: no signal breaks into what is left to do, for which it has GRACE_S."""
    end_in(GRACE_S, 1)
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def end_in(seconds: float, code: int) -> None:
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


class Postponed:
    """While the block runs, a signal to end is noted in ``asked`` and not obeyed; a second one, AGAIN_S later, is.

    Afterwards signals are answered as before; what was asked is for the caller to do. Outside the main thread, which
    alone hears signals, the block changes nothing.
    """

    def __init__(self):
        self.asked: int | None = None
        self.before: dict = {}

    def __enter__(self) -> "Postponed":
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in ENDING}
            self.before = {number: how for number, how in found.items() if how != signal.SIG_IGN}
            for number in self.before:
                signal.signal(number, self.note)
        return self

    def __exit__(self, *_) -> None:
        for number, how in self.before.items():
            signal.signal(number, how)

    def note(self, number: int, _) -> None:
        if self.asked is None:
            self.asked, self.at = number, time.monotonic()
        elif time.monotonic() - self.at > AGAIN_S:
            self.__exit__()
            signal.raise_signal(number)


def watch_parents() -> None:
    """End this process when what started it is gone: a rank's launcher; DVC, where a stage runs under it.

    DVC's death by SIGTERM or SIGKILL leaves its stage alive, and the next repro would start a second one. Linux could
    send a signal (PR_SET_PDEATHSIG), but at the end of the parent's thread; a look twice a second works everywhere.
    """
    if LAUNCHER in os.environ or "DVC_STAGE" in os.environ:
        threading.Thread(target=end_with, args=(parents(),), daemon=True).start()


def parents() -> list:
    """The processes that this one must not outlive: its parent, behind a shell the next. None: one is gone already."""
    import psutil

    if LAUNCHER in os.environ:
        return [psutil.Process(os.getppid()) if os.getppid() == int(os.environ[LAUNCHER]) else None]
    found = []
    for each in psutil.Process().parents():
        found.append(each)
        if each.name() not in SHELLS:
            break
    adopted = not found or (found[-1].pid == 1 and "dvc" not in " ".join(found[-1].cmdline()))
    return [None] if adopted else found


def end_with(processes: list) -> None:
    while all(each is not None and alive(each) for each in processes):
        time.sleep(WATCH_S)
    end_in(GRACE_S, 128 + signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def alive(process) -> bool:
    """Whether a process still runs; one that is dead and not yet buried does not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
