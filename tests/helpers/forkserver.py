"""Start Python processes warm: forks of one process that has imported torch, which takes a cold process seconds.

``ForkedPopen`` stands in for ``subprocess.Popen``. A command of this interpreter (``-m module``, ``-c code`` or a file)
runs in a fork of the server; any other command starts as usual. The server imports third-party packages only, never the
project, so a fork imports the project's modules from its own folder, as a new process does.

Run as a script, this file is the server (``serve SOCKET SITE_PACKAGES LIFELINE``), or a client that runs one Python
command warm (``run ARGUMENTS``), which stands for ``python`` on ``warm_bin_dir``. It uses the standard library alone.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path

_SOCKET_ENV = "GOLF_TEST_FORKSERVER"  # the running server's socket, for processes that forks start
_PRELOADED = (
    "torch",
    "torch._dynamo",  # an optimizer's first step imports it
    "torch.distributed",
    "numpy",
    "safetensors.torch",
    "safetensors.numpy",
    "sentencepiece",
    "psutil",
    "brotli",
    "constriction",
    "yaml",
    "scipy.stats",
    "filelock",
    "zstandard",
)
_FLAGS = ("-I", "-S", "-B")
_MAX_FDS = 16
_HIGH_FD = 200  # received descriptors wait above this number until each has its own


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
        [sys.executable, "-I", "-S", "-B", __file__, "serve", path, json.dumps(site_packages), str(read_fd)],
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


# ---- the server


def _serve(path: str, site_packages: list[str], lifeline: int) -> None:
    """Answer requests until the other end of ``lifeline`` is closed."""
    stdlib = list(sys.path)[1:] if sys.path[0] == str(Path(__file__).parent) else list(sys.path)
    sys.path[:] = stdlib + site_packages
    for name in _PRELOADED:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    sys.path[:] = stdlib
    gc.collect()
    gc.freeze()  # so that a fork's collector leaves the shared pages alone
    wake_fd, signal_fd = os.pipe()
    os.set_blocking(signal_fd, False)
    signal.set_wakeup_fd(signal_fd)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    conns: dict[int, socket.socket] = {}  # of the forks at work, by process id
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while lifeline not in (readable := select.select([listener, wake_fd, lifeline], [], [])[0]):
            if wake_fd in readable:
                os.read(wake_fd, 1 << 10)
                _report_ended(conns)
            if listener in readable:
                conn, _ = listener.accept()
                request, fds = _receive(conn)
                child_pid = os.fork()
                if child_pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for fd in (listener.fileno(), wake_fd, signal_fd, lifeline, *(c.fileno() for c in conns.values())):
                        os.close(fd)
                    try:
                        _become(request, conn, fds, stdlib, site_packages)
                    except BaseException:
                        traceback.print_exc()
                    os._exit(127)
                for fd in fds:
                    os.close(fd)
                conns[child_pid] = conn


def _receive(conn: socket.socket) -> tuple[dict, list[int]]:
    """A request and its descriptors."""
    _, fds, *_ = socket.recv_fds(conn, 1, _MAX_FDS)
    data = b""
    while not data.endswith(b"\n"):
        data += conn.recv(1 << 16)
    return json.loads(data), fds


def _report_ended(conns: dict[int, socket.socket]) -> None:
    """Send the exit status of each fork that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with contextlib.suppress(OSError), conns.pop(ended[0]) as conn:
                conn.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())


def _become(request: dict, conn: socket.socket, fds: list[int], stdlib: list[str], site_packages: list[str]) -> None:
    """Run the request's program in this process as a new interpreter would; never returns."""
    if request["new_session"]:
        os.setsid()
    conn.sendall(f"{os.getpid()}\n".encode())
    conn.close()
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH_FD) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, target in zip(moved, request["targets"], strict=True):
        os.dup2(fd, target)
        os.close(fd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    flags, kind, program = request["flags"], request["kind"], request["program"]
    first = [] if "-I" in flags else [str(Path(program).parent.resolve()) if kind == "file" else os.getcwd()]
    python_path = [] if "-I" in flags else [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*first, *python_path, *stdlib, *([] if "-S" in flags else site_packages)]
    sys.dont_write_bytecode = "-B" in flags
    sys.argv[:] = [program if kind == "file" else kind, *request["arguments"]]
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    if "-I" not in flags:  # an isolated process, such as a predictor's, keeps the subprocess module as it is
        subprocess.Popen = ForkedPopen
    os.getppid = lambda: request["parent"]  # whoever asked for it; a rank ends with its launcher
    os._exit(_run_program(kind, program))


def _run_program(kind: str, program: str) -> int:
    """The exit status; the interpreter's own steps at exit are done."""
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        elif kind == "file":
            runpy.run_path(program, run_name="__main__")
        else:
            namespace = {"__name__": "__main__", "__builtins__": __builtins__}
            exec(compile(program, "<string>", "exec"), namespace)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if status and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        status = -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def _run_client(arguments: list[str]) -> int:
    """Run one command warm with this process's streams, forward signals to it, and return its exit status."""
    process = ForkedPopen([sys.executable, *arguments], stdin=0, stdout=1, stderr=2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    status = process.wait()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(_run_client(sys.argv[2:]))
