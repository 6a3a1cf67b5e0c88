"""Messages through the door: a tag, some JSON and arrays as raw bytes. No pickle: beyond it runs anyone's code."""

import json
from math import prod
from multiprocessing.connection import Connection

import numpy as np

from golf.errors import GolfError

DTYPES = ("uint16", "int64", "float32", "float64")
MAX_MESSAGE_BYTES = 1 << 31  # bytes of a message


class ConnectionClosedError(GolfError):
    """The other side is gone."""


def send(conn: Connection, kind: str, payload: dict | None = None, *arrays: np.ndarray) -> None:
    header = {"tag": kind, "about": payload or {}, "arrays": [[a.dtype.name, list(a.shape)] for a in arrays]}
    parts = [json.dumps(header).encode() + b"\n", *(np.ascontiguousarray(a).tobytes() for a in arrays)]
    try:
        conn.send_bytes(b"".join(parts))
    except (BrokenPipeError, ConnectionResetError):
        raise ConnectionClosedError("the other side of the door is gone") from None


def receive(conn: Connection) -> tuple[str, dict, list[np.ndarray]]:
    """tag, about, arrays (copies). Raises Closed when the other side is gone, ValueError for what is no message."""
    try:
        data = conn.recv_bytes(MAX_MESSAGE_BYTES)
    except (EOFError, OSError):
        raise ConnectionClosedError("the other side of the door is gone") from None
    try:
        header_line, _, body = data.partition(b"\n")
        header = json.loads(header_line)
        if not isinstance(header["about"], dict):
            raise TypeError("its about is no object")
        return header["tag"], header["about"], _unpack_arrays(body, header["arrays"])
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"no message: {error!r}") from None


def _unpack_arrays(body: bytes, specs: list) -> list[np.ndarray]:
    arrays, start = [], 0
    for name, shape in specs:
        if name not in DTYPES:
            raise ValueError(f"an array of {name}")
        size = np.dtype(name).itemsize * prod(shape)
        arrays.append(np.frombuffer(body[start : start + size], dtype=name).reshape(shape).copy())
        start += size
    return arrays
