"""What a session's process writes to its standard output and error: read to its end, shown up to a limit.

Each session has a pipe of its own, so that no session finds what another one left in a stream that both share. It is
read whatever comes, so that a process that prints without end neither waits nor fills a disk.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["SHOWN_BYTES", "SessionOutput"]

SHOWN_BYTES = 1 << 16  # of a session's output on this process's standard error
_TAIL_BYTES, _TAIL_LINES, _TAIL_LINE_CHARS = 4096, 5, 200  # of the output's end, for a message
_READ_BYTES = 1 << 16
_END_WAIT_S = 5.0  # for the pipe's end once the process has ended


class SessionOutput:
    """The pipe of one session, read by a thread until every process that holds it has ended."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self._tail, self._n_bytes = b"", 0
        self._reader = threading.Thread(target=self._read, name="predictor's output", daemon=True)
        self._reader.start()

    @contextmanager
    def write_end(self) -> Iterator[int]:
        """Give the file descriptor to send to the process; this process's own is closed when the block ends."""
        try:
            yield self._write_fd
        finally:
            os.close(self._write_fd)

    def wait(self) -> None:
        """Wait until all has been read. Call it when the process has ended."""
        self._reader.join(_END_WAIT_S)

    def describe_tail(self) -> str:
        """Return the last lines as "; its output ends: …", "" if there are none. Call it when the process has ended."""
        self.wait()
        lines = [line.strip()[:_TAIL_LINE_CHARS] for line in _to_text(self._tail).splitlines()]
        last_lines = [line for line in lines if line][-_TAIL_LINES:]
        return f"; its output ends: {' / '.join(last_lines)}" if last_lines else ""

    def _read(self) -> None:
        with os.fdopen(self._read_fd, "rb", buffering=0) as pipe:
            while part := pipe.read(_READ_BYTES):
                n_left = SHOWN_BYTES - self._n_bytes
                self._n_bytes += len(part)
                self._tail = (self._tail + part)[-_TAIL_BYTES:]
                if n_left > 0:
                    _show(_to_text(part[:n_left]))
                if len(part) > n_left >= 0:
                    _show(f"\n(what the predictor prints after {SHOWN_BYTES:,} bytes is not shown)\n")


def _to_text(part: bytes) -> str:
    """Text that cannot steer a terminal."""
    text = part.decode(errors="replace").replace("\r", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _show(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads it any more; the pipe must be read all the same
        pass
