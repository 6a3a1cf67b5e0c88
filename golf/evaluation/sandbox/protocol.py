"""Messages between the host and the sandboxed process: a kind, a JSON payload, and arrays as raw bytes.

A session has a connection of its own. A request's kind is the call's name (reset, score, predict, update,
close). An answer's kind is one of: "fenced" (the fence stands, sent before any of the predictor's code runs), "reply"
(the call returned), "report" (the answer to close), "golf_error" (golf's own code refused its input), "violation" (the
predictor broke its contract), "raised" (its code raised). On the control connection, which no predictor holds, the host
sends "open" and is told "exited" when the session's process has ended.
Nothing is pickled: unpickling what the predictor's process sent would run its code in the host.
"""

import json
import os
import struct
from collections.abc import Callable
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from golf.errors import GolfError

__all__ = ["DTYPES", "MAX_MESSAGE_BYTES", "ConnectionClosedError", "Message", "receive", "send"]

DTYPES = ("uint16", "int64", "float32", "float64")
MAX_MESSAGE_BYTES = (1 << 31) - 1
_READ_BYTES = 1 << 20

Message = tuple[str, dict[str, Any], list[np.ndarray]]


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


def receive(conn: Connection, wait: Callable[[int], None] | None = None) -> Message:
    """Return the next message: its kind, its payload and copies of its arrays.

    wait: called with the file descriptor before each read, which would block until there are bytes; it may raise.
    Raises ConnectionClosedError when the other end is closed, ValueError for bytes that are no message.
    """
    try:
        (size,) = struct.unpack("!i", _read(conn, 4, wait))  # as multiprocessing.Connection frames them
        if not 0 <= size <= MAX_MESSAGE_BYTES:
            raise ValueError(f"not a message: a size of {size} bytes")
        data = _read(conn, size, wait)
    except OSError:
        raise ConnectionClosedError("the other end of the connection is closed") from None
    try:
        header_line, _, body = bytes(data).partition(b"\n")
        header = json.loads(header_line)
        kind, payload, specs = header["kind"], header["payload"], header["arrays"]
        if not (isinstance(kind, str) and isinstance(payload, dict) and isinstance(specs, list)):
            raise TypeError("kind, payload and arrays must be a string, an object and a list")
        return kind, payload, _unpack_arrays(body, specs)
    except (TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a message: {error!r}") from None


def _read(conn: Connection, size: int, wait: Callable[[int], None] | None) -> bytearray:
    """Exactly ``size`` bytes. Memory grows with what arrives, not with what was announced."""
    data = bytearray()
    while len(data) < size:
        if wait is not None:
            wait(conn.fileno())
        part = os.read(conn.fileno(), min(size - len(data), _READ_BYTES))
        if not part:
            raise ConnectionClosedError("the other end of the connection is closed")
        data += part
    return data


def _unpack_arrays(body: bytes, specs: list[Any]) -> list[np.ndarray]:
    arrays, start = [], 0
    for name, shape in specs:
        if name not in DTYPES:
            raise ValueError(f"array dtype must be one of {', '.join(DTYPES)}, got {name}")
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n <= MAX_MESSAGE_BYTES for n in shape):
            raise ValueError("an array's shape must be a list of sizes")
        size = np.dtype(name).itemsize * prod(shape)
        arrays.append(np.frombuffer(body[start : start + size], dtype=name).reshape(shape).copy())
        start += size
    if start != len(body):
        raise ValueError(f"{len(body) - start} bytes belong to no array")
    return arrays
