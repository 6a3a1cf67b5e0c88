"""Messages through the door: a tag, some JSON and arrays as raw bytes. No pickle: beyond it runs anyone's code."""

import json
from math import prod
from multiprocessing.connection import Connection

import numpy as np

from golf.ground.errors import GolfError

DTYPES = ("uint16", "int64", "float32", "float64")
LIMIT = 1 << 31  # bytes of a message


class Closed(GolfError):
    """The other side is gone."""


def send(door: Connection, tag: str, about: dict | None = None, *arrays: np.ndarray) -> None:
    head = {"tag": tag, "about": about or {}, "arrays": [[a.dtype.name, list(a.shape)] for a in arrays]}
    parts = [json.dumps(head).encode() + b"\n", *(np.ascontiguousarray(a).tobytes() for a in arrays)]
    try:
        door.send_bytes(b"".join(parts))
    except (BrokenPipeError, ConnectionResetError):
        raise Closed("the other side of the door is gone") from None


def receive(door: Connection) -> tuple[str, dict, list[np.ndarray]]:
    """tag, about, arrays (copies). Raises Closed when the other side is gone, ValueError for what is no message."""
    try:
        data = door.recv_bytes(LIMIT)
    except (EOFError, OSError):
        raise Closed("the other side of the door is gone") from None
    try:
        line, _, body = data.partition(b"\n")
        head = json.loads(line)
        if not isinstance(head["about"], dict):
            raise TypeError("its about is no object")
        return head["tag"], head["about"], unpacked(body, head["arrays"])
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"no message: {error!r}") from None


def unpacked(body: bytes, shapes: list) -> list[np.ndarray]:
    arrays, start = [], 0
    for name, shape in shapes:
        if name not in DTYPES:
            raise ValueError(f"an array of {name}")
        size = np.dtype(name).itemsize * prod(shape)
        arrays.append(np.frombuffer(body[start : start + size], dtype=name).reshape(shape).copy())
        start += size
    return arrays
