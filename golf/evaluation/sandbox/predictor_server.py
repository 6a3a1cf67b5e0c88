"""The predictor's side of a session: open it, answer the host's calls.

worker.py imports this module behind the fence, from the folder that the predictor's code lies in. Nothing that runs
here is trusted: the predictor's code may change all of it.
"""

import importlib
import os
import sys
import textwrap
import traceback
import types
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from golf.distributed.context import DistContext
from golf.errors import GolfError
from golf.evaluation.sandbox import protocol, state_hash
from golf.evaluation.sandbox.rank_reports import gather_json
from golf.inference.interface import ScoredChunk

__all__ = ["serve"]

_Reply = tuple[dict[str, Any], tuple[np.ndarray, ...]]


class _ContractViolationError(Exception):
    """The predictor returned or did something that its interface does not allow."""


def serve(
    conn: Connection, settings: dict[str, Any], ctx: DistContext, make_report: Callable[[], dict[str, Any]]
) -> None:
    """Open the predictor and answer calls until "close" or the first call that fails.

    settings: as ``Sandbox`` makes them. make_report: the accesses so far, for the answer to "close".
    """
    try:
        server = _PredictorServer(settings, ctx)
        protocol.send(conn, "reply", server.info)
        while True:
            call, payload, arrays = protocol.receive(conn)
            if call == "close":
                protocol.send(conn, "report", _merge_reports(gather_json(make_report(), ctx)))
                return
            reply, reply_arrays = getattr(server, call)(payload, *arrays)
            protocol.send(conn, "reply", reply, *reply_arrays)
    except protocol.ConnectionClosedError:
        return
    except GolfError as error:
        protocol.send(conn, "golf_error", {"message": str(error)})
    except _ContractViolationError as error:
        protocol.send(conn, "violation", {"message": str(error)})
    except BaseException as error:
        protocol.send(conn, "raised", {"message": _format_exception(error, settings["folder"])})


def _merge_reports(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The access reports of all ranks as one: lists are merged, counts added."""
    return {
        key: sum(report[key] for report in reports)
        if isinstance(value, int)
        else sorted({entry for report in reports for entry in report[key]})
        for key, value in reports[0].items()
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

    def __init__(self, settings: dict[str, Any], ctx: DistContext) -> None:
        module, _, class_name = settings["predictor"].partition(":")
        predictor_class = getattr(importlib.import_module(module), class_name)
        self._predictor = predictor_class.open(
            settings["artifact"], ctx, eval_batch_tokens=settings["eval_batch_tokens"]
        )
        self._modules = [sys.modules[name] for name in settings["modules"] if name in sys.modules]
        self._tokens: np.ndarray | None = None
        self._n_tokens = 0
        self.info = {
            "documents": str(getattr(self._predictor, "documents", "")),
            "disputed": _check_declared(getattr(self._predictor, "disputed", ())),
            "has_predict": callable(getattr(self._predictor, "predict", None)),
        }

    def reset(self, payload: dict[str, Any]) -> _Reply:
        """Start a pass: forget the tokens of the one before and reset the predictor."""
        settings = {key: _to_namespace(value) for key, value in payload.items()}
        self._tokens, self._n_tokens = None, 0
        self._predictor.reset(**settings)
        return {"state_hash": state_hash.hash_state(self._predictor, self._modules)}, ()

    def _append_tokens(self, new_tokens: np.ndarray) -> None:
        """Add to the predictor's tokens, in an array that holds nothing beyond them."""
        n_tokens = self._n_tokens + len(new_tokens)
        if self._tokens is None or n_tokens > len(self._tokens):
            larger = np.zeros(max(1 << 16, 2 * n_tokens), dtype=new_tokens.dtype)
            if self._tokens is not None:
                larger[: self._n_tokens] = self._tokens[: self._n_tokens]
            self._tokens = larger
        self._tokens[self._n_tokens : n_tokens] = new_tokens
        self._n_tokens = n_tokens

    def _prefix(self, length: int) -> np.ndarray:
        assert self._tokens is not None
        view = self._tokens[:length]
        view.flags.writeable = False
        return view

    def score(self, payload: dict[str, Any], new_tokens: np.ndarray, chunk: np.ndarray) -> _Reply:
        self._append_tokens(new_tokens)
        chunk_copy = chunk.copy()
        nll = self._predictor.score(self._prefix(payload["prefix_length"]), chunk_copy)
        if (chunk_copy != chunk).any():
            raise _ContractViolationError("score must not change the chunk that it is given, and did")
        return {}, (_to_floats("score", nll),)

    def predict(self, payload: dict[str, Any], new_tokens: np.ndarray) -> _Reply:
        self._append_tokens(new_tokens)
        return {}, (_to_floats("predict", self._predictor.predict(self._prefix(payload["prefix_length"]))),)

    def update(self, payload: dict[str, Any], new_tokens: np.ndarray, tokens: np.ndarray) -> _Reply:
        self._append_tokens(new_tokens)
        self._predictor.update(ScoredChunk(payload["index"], tokens, payload["is_last"], payload["chain_hash"]))
        return {}, ()


def _to_namespace(value: Any) -> Any:
    """A section with its values as attributes; anything else as it is."""
    if not isinstance(value, dict):
        return value
    return types.SimpleNamespace(**{key: _to_namespace(item) for key, item in value.items()})


def _check_declared(disputed: object) -> list[str]:
    """The predictor's attribute ``disputed``, a list or tuple of technique names."""
    if not isinstance(disputed, (list, tuple)) or not all(isinstance(name, str) for name in disputed):
        raise _ContractViolationError(f"disputed must be a list of names, got {disputed!r}")
    return list(disputed)


def _to_floats(call: str, value: Any) -> np.ndarray:
    """An array as float64 if it is that, else as float32."""
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
