"""golf.compression.brotli_planes: every bit comes back, and nothing unpacks beyond what was declared."""

import math
import tracemalloc

import brotli
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.compression import brotli_planes
from golf.compression.writer import encode_brotli, to_planes

DTYPES = ("<i1", "<i2", "<f2", "<f4")
SHAPES = st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), min_size=1, max_size=4)


def random_arrays(dtype: str, shapes, seed: int) -> list[np.ndarray]:
    """Arrays of arbitrary bits, NaN payloads included."""
    rng = np.random.default_rng(seed)
    size = np.dtype(dtype).itemsize
    return [np.frombuffer(rng.bytes(size * math.prod(shape)), dtype).reshape(shape) for shape in shapes]


@given(st.sampled_from(DTYPES), SHAPES, st.integers(0, 2**32))
def test_decoding_gives_decoded_arrays_every_bit_of_every_array(dtype, shapes, seed):
    arrays = random_arrays(dtype, shapes, seed)
    decoded_arrays = brotli_planes.decode(encode_brotli(arrays, 4), np.dtype(dtype), shapes)
    for array, decoded in zip(arrays, decoded_arrays, strict=True):
        assert decoded.dtype == array.dtype
        assert decoded.shape == array.shape
        assert decoded.tobytes() == array.tobytes()
        assert decoded.flags.writeable


def test_codes_lie_column_by_column_and_wider_types_by_byte():
    codes = np.array([[1, 2, 3], [4, 5, 6]], "<i1")
    assert to_planes([codes]) == bytes([1, 4, 2, 5, 3, 6])
    halves = np.array([0x0102, 0x0304], "<u2").view("<f2")
    assert to_planes([halves[:1], halves[1:]]) == bytes([1, 3, 2, 4])


@pytest.mark.parametrize("size", [0, 1, 999, 1001, 1 << 40])
def test_a_stream_of_another_size_than_declared_is_refused(size):
    packed = brotli.compress(bytes(1000))
    assert brotli_planes.decompress_exact(packed, 1000) == bytes(1000)
    with pytest.raises(brotli_planes.DecodeError):
        brotli_planes.decompress_exact(packed, size)


def test_a_small_stream_that_unpacks_to_very_much_stops_at_the_declared_size():
    bomb = brotli.compress(bytes(64 << 20), quality=5)
    assert len(bomb) < 1000
    tracemalloc.start()
    with pytest.raises(brotli_planes.DecodeError, match="more than the 1000 bytes"):
        brotli_planes.decompress_exact(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("damage", [lambda p: p[:-1], lambda p: b"", lambda p: p + b"\0", lambda p: b"\xff" * 9])
def test_a_stream_cut_short_or_grown_or_replaced_is_refused(damage):
    packed = brotli.compress(bytes(range(256)) * 4)
    with pytest.raises(brotli_planes.DecodeError):
        brotli_planes.decompress_exact(damage(packed), 1024)


def test_an_absurd_shape_is_counted_without_overflow():
    assert brotli_planes.raw_bytes(np.dtype("<f4"), [(2**40, 2**40)]) == 4 * 2**80
