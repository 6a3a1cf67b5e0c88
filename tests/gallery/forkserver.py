"""Rooms that start warm: their processes are forks of one that has imported torch, which else takes most of a case.

That one is started as a room's is, and knows nothing of the project. A test holds a cold room's verdict beside a warm
one's.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

_SERVER_SOURCE = """
import json, os, runpy, signal, socket, sys
bare = list(sys.path)
sys.path += json.loads(sys.argv[2])
import torch._dynamo
torch.set_num_threads(1)
sys.path[:] = bare
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket(fileno=int(sys.argv[1])) as line:
    while True:
        data, handles, *_ = socket.recv_fds(line, 1, 2)
        if not data:
            break
        while not data.endswith(b"\\n"):
            data += line.recv(1 << 16)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            line.send(str(os.getpid()).encode())
            line.close()
            order = json.loads(data)
            door, error = handles
            os.dup2(error, 1), os.dup2(error, 2)
            os.chdir(order["folder"])
            os.environ.clear()
            os.environ.update(order["environment"])
            runpy.run_path(order["worker"])["main"](order["settings"] | {"door": door})
            os._exit(0)
        for handle in handles:
            os.close(handle)
"""


class Forkserver:
    """Stands in for ``subprocess.Popen`` in ``golf.evaluation.sandbox.host``. ``close`` ends its process."""

    def __init__(self):
        self.connection, child_end = socket.socketpair()
        packages = json.dumps([path for path in sys.path if path.endswith(("site-packages", "dist-packages"))])
        command = [sys.executable, "-I", "-S", "-c", _SERVER_SOURCE, str(child_end.fileno()), packages]
        self.process = subprocess.Popen(command, pass_fds=[child_end.fileno()], stdin=subprocess.DEVNULL)
        child_end.close()

    def __call__(self, command: list[str], *, cwd, env, pass_fds, **_) -> "ForkedProcess":
        *_, worker, settings = command
        request = {"folder": str(cwd), "environment": dict(env), "worker": worker, "settings": json.loads(settings)}
        socket.send_fds(self.connection, [b" "], [*pass_fds, 2])
        self.connection.sendall(json.dumps(request).encode() + b"\n")
        return ForkedProcess(int(self.connection.recv(64)))

    def close(self) -> None:
        self.connection.close()
        self.process.wait()


class ForkedProcess:
    """A room's process: the two things of a Popen that a room asks for."""

    def __init__(self, pid: int):
        self.pid = pid

    def wait(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(self.pid, 0)
                time.sleep(0.001)
