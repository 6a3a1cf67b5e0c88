"""The sandboxed process, up to the fence: the evaluator's own code, none of it from the predictor's code archive.

host.py starts it as ``python -I -S worker.py`` in a folder of the evaluator's files. Each session is a fork of it,
made after the imports, so that a session needs no new Python start. The fork raises the fence, says which restrictions
hold, and only then turns to the folder with the predictor's code.
"""

import contextlib
import ctypes
import importlib
import io
import json
import os
import select
import signal
import sys
import traceback
import types
import warnings
from collections.abc import Collection
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    from golf.distributed.context import DistContext
    from golf.evaluation.fence.restrictions import Fence, FenceRecord

__all__ = ["main"]

_PR_SET_CHILD_SUBREAPER = 36
_EVALUATOR_MODULES = (  # imported before the fork, as the fence keeps their folder closed
    "golf.distributed.device",
    "golf.evaluation.fence.restrictions",
    "golf.evaluation.sandbox.access_audit",
    "golf.evaluation.sandbox.rank_reports",
    "golf.model.attention_backends",
)
_POLL_MS = 20  # between looks at the child, on systems that cannot wait for two things at once
_WARM_UP_BYTES = 1 << 22  # of a sum over ranks, as large sums may go other ways than small ones


def main(settings: dict[str, Any]) -> None:
    """Serve sessions until the host closes the connection. settings: as ``Sandbox`` makes them."""
    sys.path[:0] = [settings["evaluator_dir"]]
    sys.path += settings["package_dirs"]
    importlib.import_module("torch._dynamo")  # optimizers import it; importing it before the fork pays for it once

    for name in _EVALUATOR_MODULES:
        importlib.import_module(name)
    from golf.evaluation.sandbox import folder_removal, protocol, stripped_import

    for package in settings["stripped_packages"]:
        stripped_import.import_without_docstrings(package)
    if settings["allowed_commands"] and settings["execution"]["device"] != "cuda":
        importlib.import_module("torch._inductor.cpu_vec_isa").pick_vec_isa()  # starts Python, so before the fence
    control = Connection(settings["conn_fd"])
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of forking with threads; none holds a lock
    if sys.platform == "linux":  # what a session leaves behind becomes a child of this process
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        while True:
            kind, payload, _ = protocol.receive(control)
            if kind != "open":  # to end a session that has ended by itself
                continue
            session_fd, output_fd = (reduction.recv_handle(control) for _ in range(2))
            child_pid = os.fork()
            if child_pid == 0:
                control.close()
                _replace_streams(output_fd)
                _run_session(Connection(session_fd), settings, payload["name"])
            os.close(session_fd)
            os.close(output_fd)
            exit_code = _wait_for_child(child_pid, control)
            _kill_remaining_children()
            protocol.send(control, "exited", {"exit_code": exit_code})
    except (protocol.ConnectionClosedError, EOFError):  # the host was killed; a living host kills this process itself
        folder_removal.remove_folder(settings["folder"])
        folder_removal.remove_folder(settings["evaluator_dir"])


def _wait_for_child(pid: int, control: Connection) -> int:
    """The exit code of a session's process, which is killed once the host says anything or closes its connection."""
    poller = select.poll()
    poller.register(control.fileno(), select.POLLIN)
    pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    if pidfd is not None:
        poller.register(pidfd, select.POLLIN)
    is_killed = False
    while True:
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
        if ended_pid:
            break
        events = poller.poll(None if pidfd is not None else _POLL_MS)
        if not is_killed and any(fd == control.fileno() for fd, _ in events):
            is_killed = True
            poller.unregister(control.fileno())  # what the host said is read by ``main``
            os.kill(pid, signal.SIGKILL)
    if pidfd is not None:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(status)


def _kill_remaining_children() -> None:
    """End what a session started and left behind, such as a compiler, with all that this started."""
    with contextlib.suppress(OSError):  # no such file where the kernel was built without it
        while pids := _read_text(f"/proc/self/task/{os.getpid()}/children").split():
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _replace_streams(output_fd: int) -> None:
    """Give a session streams that no other one shares: nothing to read, and its own pipe for output and errors."""
    null_fd = os.open(os.devnull, os.O_RDONLY)
    for fd, stream_fd in ((null_fd, 0), (output_fd, 1), (output_fd, 2)):
        os.dup2(fd, stream_fd)
    os.close(null_fd)
    os.close(output_fd)
    cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=True)  # the process ends without a flush


def _run_session(conn: Connection, settings: dict[str, Any], name: str) -> NoReturn:
    """Run one session behind the fence and under the access audit, then end the process."""
    from golf.evaluation.sandbox import protocol

    try:
        _open_session(conn, settings, name)
    except protocol.ConnectionClosedError:
        pass
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _open_session(conn: Connection, settings: dict[str, Any], name: str) -> None:
    from golf.errors import GolfError
    from golf.evaluation.fence.landlock import FileRights
    from golf.evaluation.fence.restrictions import Fence
    from golf.evaluation.sandbox import protocol
    from golf.evaluation.sandbox.access_audit import AccessAudit

    rights = FileRights.from_payload(settings["file_rights"])
    access_audit = AccessAudit(
        rights.readable + rights.executable,
        rights.writable,
        settings["allowed_commands"],
        imported=settings["corpus_packages"],
    )
    fence = Fence(
        rights,
        FileRights.from_payload(settings["preparing_rights"]),
        has_ranks=int(os.environ.get("WORLD_SIZE", 1)) > 1,
        allow_commands=bool(settings["allowed_commands"]),
    )
    fence.limit_files()
    try:
        ctx, record = _join_ranks_behind(fence, settings["execution"], name)
    except GolfError as error:
        protocol.send(conn, "golf_error", {"message": str(error)})
        return
    _hide_packages(settings["hidden_packages"], set(settings["held_out_packages"]) - set(settings["stripped_packages"]))
    warnings.formatwarning = _format_warning
    access_audit.install()
    context = {
        "ranks": [str(ctx.rank), str(ctx.world_size)],
        "device": str(ctx.device),
        "dtype": str(ctx.dtype).removeprefix("torch."),
        "compile": ctx.compile,
        "attention": ctx.attention,
        "description": ctx.description,
    }
    protocol.send(conn, "fenced", context | {"fence": record.to_payload()})
    _forget_evaluator(settings)
    importlib.import_module("golf.evaluation.sandbox.predictor_server").serve(conn, settings, ctx, access_audit.report)


def _join_ranks_behind(fence: "Fence", execution: dict[str, Any], name: str) -> "tuple[DistContext, FenceRecord]":
    """Make the context that the predictor is given, with all connections between ranks, then close the fence."""
    import torch

    from golf.distributed import device
    from golf.evaluation.fence.restrictions import FenceRecord
    from golf.evaluation.sandbox.rank_reports import gather_json
    from golf.model.attention_backends import resolve_attention

    settings = cast(device.ExecutionSettings, types.SimpleNamespace(**execution))
    ctx = device.init_context(settings, "evaluate", resolve_attention, store_prefix=name)
    if ctx.device.type == "cuda":
        torch.ones(1, device=ctx.device).sum().item()  # opens the device's files
    ctx.all_reduce(torch.ones(1, device=ctx.device))
    ctx.all_reduce(torch.ones(_WARM_UP_BYTES if ctx.world_size > 1 else 1, dtype=torch.uint8, device=ctx.device))
    gather_json(None, ctx)
    records = gather_json(fence.refuse_calls().to_payload(), ctx)
    return ctx, FenceRecord.combine([FenceRecord.from_payload(record) for record in records])


class _HiddenPackages:
    """An import hook: installed packages that the predictor does not declare are not there."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if path is None and name in self._names:
            raise ModuleNotFoundError(
                f"No module named {name!r} in the sandbox, which holds the packages that the predictor's code imports "
                f"and none that val is drawn from",
                name=name,
            )


def _hide_packages(names: Collection[str], held_out: Collection[str]) -> None:
    """Hide packages from imports; of those that hold val, also what torch may have imported for itself."""
    for name in [name for name in sys.modules if name.partition(".")[0] in held_out]:
        del sys.modules[name]
    sys.meta_path.insert(0, cast(Any, _HiddenPackages(names)))


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: object = None
) -> str:
    """As warnings does, without the line of source, which would open a package's file."""
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _forget_evaluator(settings: dict[str, Any]) -> None:
    """``golf`` is now what the predictor's folder holds, as its archive may bring modules of the same names."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "golf"]:
        del sys.modules[name]
    sys.path[sys.path.index(settings["evaluator_dir"])] = settings["folder"]
    importlib.invalidate_caches()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
