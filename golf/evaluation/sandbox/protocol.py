"""Messages between the host and the sandboxed process: a kind, a JSON payload, and arrays as raw bytes.

A request's kind is the call's name (open, reset, score, predict, update, close). A reply's kind is one of:
"reply" (the call returned), "report" (the answer to close), "golf_error" (golf's own code refused its input),
"violation" (the predictor broke its contract), "raised" (its code raised), "exited" (its process ended).
Nothing is pickled: unpickling what the predictor's process sent would run its code in the host.
"""

import json
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from golf.errors import GolfError

__all__ = ["DTYPES", "MAX_MESSAGE_BYTES", "ConnectionClosedError", "receive", "send"]

DTYPES = ("uint16", "int64", "float32", "float64")
MAX_MESSAGE_BYTES = 1 << 31


class ConnectionClosedError(GolfError):
    """The other process closed its end of the connection."""


def send(conn: Connection, kind: str, payload: dict[str, Any] | None = None, *arrays: np.ndarray) -> None:
    """Send one message. Raises ConnectionClosedError."""
    header = {"kind": kind, "payload": payload or {}, "arrays": [[a.dtype.name, list(a.shape)] for a in arrays]}
    parts = [json.dumps(header).encode() + b"\n", *(np.ascontiguousarray(a).tobytes() for a in arrays)]
    try:
        conn.send_bytes(b"".join(parts))
    except (BrokenPipeError, ConnectionResetError):
        raise ConnectionClosedError("the other end of the connection is closed") from None


def receive(conn: Connection) -> tuple[str, dict[str, Any], list[np.ndarray]]:
    """The next message: its kind, its payload and copies of its arrays.

    Raises ConnectionClosedError when the other end is closed, ValueError for bytes that are no message.
    """
    try:
        data = conn.recv_bytes(MAX_MESSAGE_BYTES)
    except (EOFError, OSError):
        raise ConnectionClosedError("the other end of the connection is closed") from None
    try:
        header_line, _, body = data.partition(b"\n")
        header = json.loads(header_line)
        if not isinstance(header["payload"], dict):
            raise TypeError("payload must be an object")
        return header["kind"], header["payload"], _unpack_arrays(body, header["arrays"])
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not a message: {error!r}") from None


def _unpack_arrays(body: bytes, specs: list[Any]) -> list[np.ndarray]:
    arrays, start = [], 0
    for name, shape in specs:
        if name not in DTYPES:
            raise ValueError(f"array dtype must be one of {', '.join(DTYPES)}, got {name}")
        size = np.dtype(name).itemsize * prod(shape)
        arrays.append(np.frombuffer(body[start : start + size], dtype=name).reshape(shape).copy())
        start += size
    return arrays
