"""A rank that hangs where no signal handler runs, and that exits 0.2 s after a signal."""

import signal
import threading

from golf.pipeline import signals

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have ignored it
    signals.EXIT_GRACE_S = 0.2
    signals.install_handlers()
    lock = threading.Lock()
    lock.acquire()
    with signals.DeferSignals():
        print("stuck", flush=True)
        while True:
            lock.acquire(timeout=60)  # keeps waiting after a handler has run, as a collective does
