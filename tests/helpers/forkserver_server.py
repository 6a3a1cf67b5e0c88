"""The server of warm processes: ``forkserver_server.py SOCKET SITE_PACKAGES LIFELINE``, which forkserver.py starts.

It imports third-party packages, never the project, and forks for each request that it gets at the socket.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
import warnings
from pathlib import Path

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
_MAX_FDS = 16
_HIGH_FD = 200  # received descriptors wait above this number until each has its own


@functools.cache
def _load_client() -> types.ModuleType:
    """forkserver.py, which an isolated process can't import by name."""
    spec = importlib.util.spec_from_file_location("forkserver", Path(__file__).with_name("forkserver.py"))
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    return client


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
        subprocess.Popen = _load_client().ForkedPopen
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


if __name__ == "__main__":
    _load_client()
    _serve(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
