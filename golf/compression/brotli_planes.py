"""The ``brotli`` codec: arrays of one dtype as byte planes under Brotli (decoder; ``writer.encode_brotli`` encodes).

int8 arrays are stored column by column: columns differ in spread while rows were scaled to be alike, so this is 0.1 %
smaller on a trained model than row by row. Wider dtypes are stored as planes, the high bytes of all arrays first: sign
and exponent repeat, the low bytes of a mantissa are noise (docs/references.md#brotli).

The decoder never unpacks more than the declared shapes hold, whatever the packed bytes claim.
"""

import math
from typing import Literal

import brotli
import numpy as np

__all__ = ["DecodeError", "decode", "decompress_exact", "raw_bytes"]


class DecodeError(ValueError):
    """Packed bytes that do not decode to exactly what was declared."""


def decode(packed: bytes, dtype: np.dtype, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Return the arrays of a section, one of ``dtype`` for each of ``shapes``, in their order.

    packed: one Brotli stream. dtype: little-endian. Raises DecodeError unless the stream holds exactly these arrays.
    """
    dtype = np.dtype(dtype)
    flat = np.frombuffer(decompress_exact(packed, raw_bytes(dtype, shapes)), np.uint8)
    is_column_major = dtype.itemsize == 1
    if not is_column_major:
        flat = np.ascontiguousarray(flat.reshape(dtype.itemsize, -1)[::-1].T).ravel()
    offsets = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = np.split(flat.view(dtype), offsets)
    order: Literal["F", "C"] = "F" if is_column_major else "C"
    return [np.array(part.reshape(shape, order=order), order="C") for part, shape in zip(parts, shapes, strict=True)]


def decompress_exact(packed: bytes, size: int) -> bytes:
    """Return exactly ``size`` bytes from a Brotli stream; at most one byte more is ever unpacked.

    Raises DecodeError.
    """
    decoder = brotli.Decompressor()
    chunks, n_bytes = [], 0
    try:
        chunk = decoder.process(packed, output_buffer_limit=size + 1)
        while chunk:
            chunks.append(chunk)
            n_bytes += len(chunk)
            if n_bytes > size:
                raise DecodeError(f"unpacks to more than the {size} bytes declared")
            chunk = b"" if decoder.is_finished() else decoder.process(b"", output_buffer_limit=size + 1 - n_bytes)
    except brotli.error:
        raise DecodeError("not a Brotli stream") from None
    if not decoder.is_finished() or n_bytes != size:
        raise DecodeError(f"unpacks to {n_bytes} bytes, {size} were declared")
    return b"".join(chunks)


def raw_bytes(dtype: np.dtype, shapes: list[tuple[int, ...]]) -> int:
    """Return the bytes of the unpacked arrays, in Python's integers, so that an absurd shape does not overflow."""
    return np.dtype(dtype).itemsize * sum(math.prod(shape) for shape in shapes)
