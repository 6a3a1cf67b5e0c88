"""The sandboxed process: open the predictor in a forked child for each session, and answer the host's calls.

host.py starts it as ``python -I -S worker.py`` in a folder that holds the counted code, the artifact and the sandbox's
own files, and nothing else. Sessions are forked after the imports, so that a session needs no new Python start.
"""

import importlib
import json
import os
import select
import shutil
import sys
import textwrap
import threading
import time
import traceback
import types
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    import numpy as np

    from golf.distributed.context import DistContext
    from golf.evaluation.sandbox.isolation import AccessAudit

__all__ = ["main"]

_Reply = tuple[dict[str, Any], "tuple[np.ndarray, ...]"]


class _ContractViolationError(Exception):
    """The predictor returned or did something that its interface does not allow."""


def main(settings: dict[str, Any]) -> None:
    """Serve sessions until the host closes the connection. settings: as ``Sandbox`` makes them."""
    sys.path[:0] = [settings["folder"]]
    sys.path += settings["package_dirs"]
    importlib.import_module("torch._dynamo")  # optimizers import it; importing it before the fork pays for it once

    from golf.evaluation.sandbox import protocol

    if settings["allowed_commands"] and settings["execution"]["device"] != "cuda":
        importlib.import_module("torch._inductor.cpu_vec_isa").pick_vec_isa()  # starts Python, so before the audit
    conn = Connection(settings["conn_fd"])
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # of forking with threads; none holds a lock
    try:
        while True:
            kind, payload, _ = protocol.receive(conn)
            if kind != "open":  # a call for a session whose process has ended
                continue
            child_pid = os.fork()
            if child_pid == 0:
                _run_session(conn, settings, payload["name"])
            exit_code = os.waitstatus_to_exitcode(os.waitpid(child_pid, 0)[1])
            protocol.send(conn, "exited", {"exit_code": exit_code})
    except protocol.ConnectionClosedError:  # the host was killed; a living host kills this process itself
        shutil.rmtree(settings["folder"], ignore_errors=True)


def _run_session(conn: Connection, settings: dict[str, Any], name: str) -> NoReturn:
    """Run one session under the access audit, then end the process."""
    from golf.evaluation.sandbox import protocol
    from golf.evaluation.sandbox.isolation import AccessAudit

    access_audit = AccessAudit(sys.path, [settings["folder"], *settings["writable_dirs"]], settings["allowed_commands"])
    access_audit.install()
    threading.Thread(target=_exit_with_host, args=[conn.fileno()], daemon=True).start()
    try:
        _serve(conn, access_audit, settings, name)
    except protocol.ConnectionClosedError:
        pass
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _exit_with_host(fd: int) -> None:
    """End this process when the host closes its end of the connection, whatever the predictor is doing."""
    poller = select.poll()
    poller.register(fd, 0)
    poller.poll()
    os._exit(0)


def _serve(conn: Connection, access_audit: "AccessAudit", settings: dict[str, Any], name: str) -> None:
    """Open the predictor and answer calls until "close" or the first call that fails."""
    from golf.errors import GolfError
    from golf.evaluation.sandbox import protocol

    try:
        server = _PredictorServer(settings, name)
        protocol.send(conn, "reply", server.info)
        while True:
            call, payload, arrays = protocol.receive(conn)
            if call == "close":
                protocol.send(conn, "report", _gather_reports(access_audit.report(), server.ctx))
                return
            reply, reply_arrays = getattr(server, call)(payload, *arrays)
            protocol.send(conn, "reply", reply, *reply_arrays)
    except protocol.ConnectionClosedError:
        raise
    except GolfError as error:
        protocol.send(conn, "golf_error", {"message": str(error)})
    except _ContractViolationError as error:
        protocol.send(conn, "violation", {"message": str(error)})
    except BaseException as error:
        protocol.send(conn, "raised", {"message": _format_exception(error, settings["folder"])})


def _gather_reports(report: dict[str, Any], ctx: "DistContext") -> dict[str, Any]:
    """The access reports of all ranks as one: lists are merged, counts added."""
    import torch
    import torch.distributed as dist

    if ctx.world_size == 1:
        return report
    encoded = torch.frombuffer(bytearray(json.dumps(report).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64, device=ctx.device) for _ in range(ctx.world_size)]
    dist.all_gather(sizes, torch.tensor([len(encoded)], device=ctx.device))
    max_size = max(int(size) for size in sizes)
    padded = torch.nn.functional.pad(encoded, (0, max_size - len(encoded))).to(ctx.device)
    gathered = [torch.zeros_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    reports = [json.loads(bytes(part[: int(n)].tolist())) for part, n in zip(gathered, sizes, strict=True)]
    return {
        key: sum(rank_report[key] for rank_report in reports)
        if isinstance(value, int)
        else sorted({entry for rank_report in reports for entry in rank_report[key]})
        for key, value in report.items()
    }


def _format_exception(error: BaseException, folder: str) -> str:
    """One line for an exception of the predictor's code: type, message, file, function and the line of source.

    The source line is quoted because the code is minified, so that its line numbers say little.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    location = ""
    if frames:
        frame = frames[-1]
        source_line = textwrap.shorten(frame.line or "", 100)
        location = f" ({os.path.relpath(frame.filename, folder)}, in {frame.name}: {source_line})"
    message = textwrap.shorten(str(error), 300)
    return f"{type(error).__name__}{': ' * bool(message)}{message}{location}"


class _PredictorServer:
    """An opened predictor and the tokens that it has been given in this pass.

    Each public method answers the call of its name. Arguments: the payload, then the message's arrays, of which the
    first holds the tokens that are new since the last call. Returns the reply's payload and arrays.
    """

    def __init__(self, settings: dict[str, Any], name: str) -> None:
        from golf.distributed import device
        from golf.model.attention_backends import resolve_attention

        execution = cast(device.ExecutionSettings, types.SimpleNamespace(**settings["execution"]))
        self.ctx = device.init_context(execution, "evaluate", resolve_attention, store_prefix=name)
        module, _, class_name = settings["predictor"].partition(":")
        predictor_class = getattr(importlib.import_module(module), class_name)
        self._predictor = predictor_class.open(
            settings["artifact"], self.ctx, eval_batch_tokens=settings["eval_batch_tokens"]
        )
        self._modules = [sys.modules[name] for name in settings["modules"] if name in sys.modules]
        self._tokens: np.ndarray | None = None
        self._n_tokens = 0
        self.info = {
            "context": [self.ctx.rank, self.ctx.world_size, str(self.ctx.device), str(self.ctx.dtype)],
            "compile": self.ctx.compile,
            "attention": self.ctx.attention,
            "description": self.ctx.description,
            "documents": str(getattr(self._predictor, "documents", "")),
            "disputed": _check_declared(getattr(self._predictor, "disputed", ())),
            "has_predict": callable(getattr(self._predictor, "predict", None)),
        }

    def reset(self, payload: dict[str, Any]) -> _Reply:
        """Start a pass: forget the tokens of the one before and reset the predictor."""
        settings = {key: payload[key] and types.SimpleNamespace(**payload[key]) for key in ("ttt_cfg", "memory_cfg")}
        self._tokens, self._n_tokens = None, 0
        self._predictor.reset(stride=payload["stride"], n_chunks=payload["n_chunks"], **settings)
        return {"state_hash": self._state_hash()}, ()

    def _append_tokens(self, new_tokens: "np.ndarray") -> None:
        """Add to the predictor's tokens, in an array that holds nothing beyond them."""
        import numpy as np

        n_tokens = self._n_tokens + len(new_tokens)
        if self._tokens is None or n_tokens > len(self._tokens):
            larger = np.zeros(max(1 << 16, 2 * n_tokens), dtype=new_tokens.dtype)
            if self._tokens is not None:
                larger[: self._n_tokens] = self._tokens[: self._n_tokens]
            self._tokens = larger
        self._tokens[self._n_tokens : n_tokens] = new_tokens
        self._n_tokens = n_tokens

    def _prefix(self, length: int) -> "np.ndarray":
        assert self._tokens is not None
        view = self._tokens[:length]
        view.flags.writeable = False
        return view

    def score(
        self,
        payload: dict[str, Any],
        new_tokens: "np.ndarray",
        chunk: "np.ndarray",
        positions: "np.ndarray | None" = None,
    ) -> _Reply:
        self._append_tokens(new_tokens)
        hash_before, seconds_before = self._timed_state_hash(payload)
        chunk_copy = chunk.copy()
        result = self._predictor.score(
            self._prefix(payload["prefix_length"]), chunk_copy, *(() if positions is None else (positions.tolist(),))
        )
        if (chunk_copy != chunk).any():
            raise _ContractViolationError("score must not change the chunk that it is given, and did")
        hash_after, seconds_after = self._timed_state_hash(payload)
        reply = {
            "hash_before": hash_before,
            "hash_after": hash_after,
            "hashing_s": seconds_before + seconds_after,
        }
        if positions is None:
            return reply, (_to_floats("score", result),)
        if not isinstance(result, Sequence) or len(result) != 2:
            raise _ContractViolationError(f"score with positions must return (nll, log_probs), got {_describe(result)}")
        return reply, (_to_floats("score", result[0]), _to_floats("score with positions", result[1]))

    def _timed_state_hash(self, payload: dict[str, Any]) -> tuple[str, float]:
        start = time.perf_counter()
        return (self._state_hash() if payload["hash_state"] else ""), time.perf_counter() - start

    def predict(self, payload: dict[str, Any], new_tokens: "np.ndarray") -> _Reply:
        self._append_tokens(new_tokens)
        return {}, (_to_floats("predict", self._predictor.predict(self._prefix(payload["prefix_length"]))),)

    def update(self, payload: dict[str, Any], new_tokens: "np.ndarray", tokens: "np.ndarray") -> _Reply:
        from golf.inference.interface import ScoredChunk

        self._append_tokens(new_tokens)
        self._predictor.update(ScoredChunk(payload["index"], tokens, payload["is_last"], payload["chain_hash"]))
        return {}, ()

    def _state_hash(self) -> str:
        from golf.evaluation.sandbox import state_hash

        return state_hash.hash_state(self._predictor, self._modules)


def _check_declared(disputed: object) -> list[str]:
    """The predictor's attribute ``disputed``, a list or tuple of technique names."""
    if not isinstance(disputed, (list, tuple)) or not all(isinstance(name, str) for name in disputed):
        raise _ContractViolationError(f"disputed must be a list of names, got {disputed!r}")
    return list(disputed)


def _to_floats(call: str, value: Any) -> "np.ndarray":
    """An array as float64 if it is that, else as float32."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise _ContractViolationError(f"{call} must return an array of floats, got {_describe(value)}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


def _describe(value: Any) -> str:
    """A value by its type, and by its dtype or length where it has one."""
    if hasattr(value, "dtype"):
        return f"{type(value).__name__} of {value.dtype}"
    is_sized = isinstance(value, (list, tuple))
    return f"{type(value).__name__} of {len(value)} values" if is_sized else type(value).__name__


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
