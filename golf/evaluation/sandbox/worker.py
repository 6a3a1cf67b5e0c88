"""The process behind the door: opens the method in a child of its own for each sitting, and answers the judge's calls.

Started by room.py as ``python -I -S worker.py``, in a folder that holds the counted code, the artifact and this room's
own files, and nothing else. It is forked after its imports, so that a sitting costs no start.
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
from multiprocessing.connection import Connection


def main(settings: dict) -> None:
    sys.path[:0] = [settings["folder"]]
    sys.path += settings["packages"]
    importlib.import_module("torch._dynamo")  # an optimiser imports it; done before the fork, it costs once

    from golf.evaluation.sandbox import protocol

    if settings["commands"] and settings["execution"]["device"] != "cuda":  # it starts Python; asked before the watch
        importlib.import_module("torch._inductor.cpu_vec_isa").pick_vec_isa()
    conn = Connection(settings["door"])
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # threads at a fork: none holds a lock
    try:
        while True:
            kind, payload, _ = protocol.receive(conn)
            if kind != "open":  # asked of a sitting that has ended meanwhile
                continue
            child_pid = os.fork()
            if child_pid == 0:
                _run_session(conn, settings, payload["name"])
            protocol.send(conn, "ended", {"code": os.waitstatus_to_exitcode(os.waitpid(child_pid, 0)[1])})
    except protocol.ConnectionClosedError:  # the judge was killed, or it would have ended this process first
        shutil.rmtree(settings["folder"], ignore_errors=True)


def _run_session(conn: Connection, settings: dict, name: str) -> None:
    """One sitting, watched to its end; then the process ends too, and at once where the judge is gone."""
    from golf.evaluation.sandbox import protocol
    from golf.evaluation.sandbox.access_audit import AccessAudit

    access_audit = AccessAudit(sys.path, [settings["folder"], *settings["caches"]], settings["commands"])
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
    """Ends this process when the other side of ``door`` is closed, however long the method still wants to work."""
    poller = select.poll()
    poller.register(fd, 0)
    poller.poll()
    os._exit(0)


def _serve(conn: Connection, access_audit, settings: dict, name: str) -> None:
    """Open the method and answer calls, up to "leave" or to the first that fails."""
    from golf.errors import GolfError
    from golf.evaluation.sandbox import protocol

    try:
        server = _PredictorServer(settings, name)
        protocol.send(conn, "done", server.info)
        while True:
            kind, payload, arrays = protocol.receive(conn)
            if kind == "leave":
                protocol.send(conn, "left", _gather_reports(access_audit.report(), server.ctx))
                return
            reply, reply_arrays = getattr(server, kind)(payload, *arrays)
            protocol.send(conn, "done", reply, *reply_arrays)
    except protocol.ConnectionClosedError:
        raise
    except GolfError as error:
        protocol.send(conn, "refused", {"message": str(error)})
    except BaseException as error:
        protocol.send(conn, "raised", {"message": _format_exception(error, settings["folder"])})


def _gather_reports(report: dict, ctx) -> dict:
    """What the processes of all ranks opened, reached and started."""
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
        else sorted({entry for each in reports for entry in each[key]})
        for key, value in report.items()
    }


def _format_exception(error: BaseException, folder: str) -> str:
    """An exception of somebody's code in a line: what, and where in it. The file is minified, so the line is quoted."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(folder)]
    location = ""
    if frames:
        frame = frames[-1]
        location = (
            f" ({os.path.relpath(frame.filename, folder)}, in {frame.name}: {textwrap.shorten(frame.line or '', 100)})"
        )
    message = textwrap.shorten(str(error), 300)
    return f"{type(error).__name__}{': ' * bool(message)}{message}{location}"


class _PredictorServer:
    """A method, opened, with the tokens that it was given so far."""

    def __init__(self, settings: dict, name: str):
        from golf.distributed import device

        self.ctx = device.init_context(types.SimpleNamespace(**settings["execution"]), "evaluate", store_prefix=name)
        module, _, class_name = settings["method"].partition(":")
        predictor_class = getattr(importlib.import_module(module), class_name)
        self._predictor = predictor_class.open(
            settings["artifact"], self.ctx, eval_batch_tokens=settings["score_tokens"]
        )
        self._modules = [sys.modules[name] for name in settings["modules"] if name in sys.modules]
        self._tokens, self._n_tokens = None, 0
        self.info = {
            "runtime": [self.ctx.rank, self.ctx.world_size, str(self.ctx.device), str(self.ctx.dtype)],
            "compile": self.ctx.compile,
            "attention": self.ctx.attention,
            "note": self.ctx.description,
            "documents": str(getattr(self._predictor, "documents", "")),
            "disputed": _check_declared(getattr(self._predictor, "disputed", ())),
            "predicts": callable(getattr(self._predictor, "predict", None)),
        }

    def reset(self, payload: dict):
        """A pass: the tokens of the one before are forgotten, the method goes back to what it was as opened."""
        ttt_cfg = payload["ttt_cfg"] and types.SimpleNamespace(**payload["ttt_cfg"])
        self._tokens, self._n_tokens = None, 0
        self._predictor.reset(stride=payload["stride"], ttt_cfg=ttt_cfg, n_chunks=payload["n_chunks"])
        return {"state": self._state_hash()}, ()

    def _append_tokens(self, new_tokens) -> None:
        """Append to what the method has been given, in an array that holds nothing beyond it."""
        import numpy as np

        if self._tokens is None or self._n_tokens + len(new_tokens) > len(self._tokens):
            larger = np.zeros(max(1 << 16, 2 * (self._n_tokens + len(new_tokens))), dtype=new_tokens.dtype)
            if self._tokens is not None:
                larger[: self._n_tokens] = self._tokens[: self._n_tokens]
            self._tokens = larger
        self._tokens[self._n_tokens : self._n_tokens + len(new_tokens)] = new_tokens
        self._n_tokens += len(new_tokens)

    def _prefix(self, length: int):
        view = self._tokens[:length]
        view.flags.writeable = False
        return view

    def score(self, payload: dict, new_tokens, chunk, positions=None):
        self._append_tokens(new_tokens)
        hash_before, seconds_before = self._timed_state_hash(payload)
        chunk_copy = chunk.copy()
        result = self._predictor.score(
            self._prefix(payload["at"]), chunk_copy, *(() if positions is None else (positions.tolist(),))
        )
        if (chunk_copy != chunk).any():
            raise ValueError("it changed the tokens that it was given")
        hash_after, seconds_after = self._timed_state_hash(payload)
        reply = {"before": hash_before, "after": hash_after, "watch_s": seconds_before + seconds_after}
        nll, *log_probs = (result,) if positions is None else result
        if len(log_probs) != (positions is not None):
            raise ValueError(f"asked for nll and rows, got {1 + len(log_probs)} things")
        return reply, tuple(map(_to_floats, (nll, *log_probs)))

    def _timed_state_hash(self, payload: dict) -> tuple[str, float]:
        start = time.perf_counter()
        return (self._state_hash() if payload["watched"] else ""), time.perf_counter() - start

    def predict(self, payload: dict, new_tokens):
        self._append_tokens(new_tokens)
        return {}, (_to_floats(self._predictor.predict(self._prefix(payload["at"]))),)

    def update(self, payload: dict, new_tokens, tokens):
        from golf.inference.interface import ScoredChunk

        self._append_tokens(new_tokens)
        self._predictor.update(ScoredChunk(payload["index"], tokens, payload["last"], payload["seal"]))
        return {}, ()

    def _state_hash(self) -> str:
        from golf.evaluation.sandbox import state_hash

        return state_hash.hash_state(self._predictor, self._modules)


def _check_declared(disputed) -> list[str]:
    """What a method calls disputed of itself. Raises TypeError for anything but a list or tuple of names."""
    if not isinstance(disputed, (list, tuple)) or not all(isinstance(name, str) for name in disputed):
        raise TypeError(f"disputed must be a list of names, got {disputed!r}")
    return list(disputed)


def _to_floats(value):
    """float32, or float64 where it is that already. Raises TypeError for what is no array of numbers."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"expected an array of floats, got {type(value).__name__} of {array.dtype}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
