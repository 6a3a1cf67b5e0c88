"""Start Python processes warm: forks of one process that has imported torch, which takes a cold process seconds.

``ForkedPopen`` stands in for ``subprocess.Popen``. A command of this interpreter (``-m module``, ``-c code`` or a file)
runs in a fork of the server; any other command starts as usual. The server imports third-party packages only, never the
project, so a fork imports the project's modules from its own folder, as a new process does.

forkserver_server.py is the server. Run as a script, this file is a client that runs one Python command warm (``run
ARGUMENTS``), which stands for ``python`` on ``warm_bin_dir``. Both use the standard library alone.
"""

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_SOCKET_ENV = "GOLF_TEST_FORKSERVER"  # the running server's socket, for processes that forks start
_SERVER = Path(__file__).with_name("forkserver_server.py")
_FLAGS = ("-I", "-S", "-B")


class ForkedPopen(subprocess.Popen):
    """``subprocess.Popen`` that forks the warm server where it can.

    A fork's standard input is empty unless one is given, and it computes on one thread.
    """

    def __init__(self, args, *, cwd=None, env=None, stdin=None, stdout=None, stderr=None, text=False, **options):
        command = _parse_command(args)
        self._conn = None
        options_we_know = {"pass_fds", "start_new_session", "bufsize", "encoding", "errors", "universal_newlines"}
        if command is None or stdin == subprocess.PIPE or options.keys() - options_we_know:
            super().__init__(args, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, text=text, **options)
            return
        self._child_created = False  # nothing for Popen.__del__ to do
        self.args, self.returncode, self.stdin = args, None, None
        with contextlib.ExitStack() as stack:
            out_fd, self.stdout = _open_stream(stdout, 1, text, stack)
            err_fd, self.stderr = (
                _open_stream(stderr, 2, text, stack) if stderr != subprocess.STDOUT else (out_fd, None)
            )
            in_fd = (
                stack.enter_context(open(os.devnull, "rb")).fileno() if stdin in (None, subprocess.DEVNULL) else stdin
            )
            in_fd = in_fd if isinstance(in_fd, int) else in_fd.fileno()
            targets = [0, 1, 2, *options.get("pass_fds", ())]
            request = command | {
                "cwd": str(cwd or os.getcwd()),
                "env": dict(os.environ if env is None else env) | {_SOCKET_ENV: _server_socket()},
                "targets": targets,
                "new_session": bool(options.get("start_new_session")),
                "parent": os.getpid(),
            }
            self._conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._conn.connect(_server_socket())
            socket.send_fds(self._conn, [b"\0"], [in_fd, out_fd, err_fd, *targets[3:]])
            self._conn.sendall(json.dumps(request).encode() + b"\n")
            self._replies = self._conn.makefile("r")
            self.pid = int(self._replies.readline())

    def poll(self):
        if self._conn is None:
            return super().poll()
        if self.returncode is None and select.select([self._conn], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout=None):
        if self._conn is None:
            return super().wait(timeout)
        if self.returncode is None:
            if not select.select([self._conn], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._replies.readline())
            self._replies.close()
            self._conn.close()
        return self.returncode

    def send_signal(self, number):
        if self._conn is None:
            super().send_signal(number)
        elif self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, input=None, timeout=None):
        if self._conn is None:
            return super().communicate(input, timeout)
        if not hasattr(self, "_readers"):  # a second call goes on where the first one timed out
            self._texts = {}
            self._readers = [
                threading.Thread(target=self._read, args=[name], daemon=True)
                for name in ("stdout", "stderr")
                if getattr(self, name)
            ]
            for reader in self._readers:
                reader.start()
        self.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
            if reader.is_alive():  # a child of the process holds the stream
                raise subprocess.TimeoutExpired(self.args, timeout)
        return self._texts.get("stdout"), self._texts.get("stderr")

    def _read(self, name: str) -> None:
        with getattr(self, name) as stream:
            self._texts[name] = stream.read()


def run(command, *, check=False, capture_output=False, timeout=None, **options) -> subprocess.CompletedProcess:
    """``subprocess.run`` with a ``ForkedPopen``."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ForkedPopen(command, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    completed = subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
    if check:
        completed.check_returncode()
    return completed


def warm_bin_dir() -> str:
    """A folder for PATH whose ``python`` starts warm."""
    return str(Path(_server_socket()).with_name("bin"))


def _open_stream(stream, inherited_fd: int, text: bool, stack: contextlib.ExitStack):
    """The fork's end of a stream, closed with ``stack``, and our end where it is a pipe."""
    if stream == subprocess.PIPE:
        read_fd, write_fd = os.pipe()
        stack.callback(os.close, write_fd)
        return write_fd, open(read_fd, encoding="utf-8") if text else open(read_fd, "rb")
    if stream == subprocess.DEVNULL:
        return stack.enter_context(open(os.devnull, "wb")).fileno(), None
    if stream is None:
        return inherited_fd, None
    return (stream if isinstance(stream, int) else stream.fileno()), None


def _parse_command(args) -> dict | None:
    """What a command of this interpreter runs, and its arguments; None for any other command."""
    if isinstance(args, str | os.PathLike) or not args or args[0] != sys.executable:
        return None
    arguments = [os.fspath(argument) for argument in args[1:]]
    flags = []
    while arguments and arguments[0] in _FLAGS:
        flags.append(arguments.pop(0))
    if len(arguments) >= 2 and arguments[0] in ("-m", "-c"):
        return {"flags": flags, "kind": arguments[0], "program": arguments[1], "arguments": arguments[2:]}
    if arguments and not arguments[0].startswith("-"):
        return {"flags": flags, "kind": "file", "program": arguments[0], "arguments": arguments[1:]}
    return None


def _server_socket() -> str:
    """The socket of the server, which the first call of a process tree starts."""
    if _SOCKET_ENV not in os.environ:
        os.environ[_SOCKET_ENV] = _start_server()
    return os.environ[_SOCKET_ENV]


def _start_server() -> str:
    folder = tempfile.mkdtemp(prefix="golf-forkserver-")
    path = f"{folder}/socket"
    client = Path(folder, "bin", "python")
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S -B "{__file__}" run "$@"\n', encoding="utf-8")
    client.chmod(0o755)
    site_packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    read_fd, write_fd = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(_SERVER), path, json.dumps(site_packages), str(read_fd)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[read_fd],
        start_new_session=True,  # Ctrl-C is the tests' to answer
    )
    os.close(read_fd)
    ready = process.stdout.readline()
    assert ready == b"ready\n", "the server of warm processes did not start"

    owner_pid = os.getpid()

    def stop() -> None:
        if os.getpid() == owner_pid:  # and not a fork of it
            os.close(write_fd)
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return path


def _run_client(arguments: list[str]) -> int:
    """Run one command warm with this process's streams, forward signals to it, and return its exit status."""
    process = ForkedPopen([sys.executable, *arguments], stdin=0, stdout=1, stderr=2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    status = process.wait()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(_run_client(sys.argv[2:]))
