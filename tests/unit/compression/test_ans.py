"""golf.compression.ans: any integers come back, sizes are near the ideal, and damaged input is refused."""

import math
import struct
import tracemalloc

import brotli
import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.compression import ans, brotli_planes
from golf.compression.ans_fit import fit_codes
from golf.compression.writer import encode_ans, encode_brotli

SHAPES = st.lists(st.lists(st.integers(1, 9), max_size=3).map(tuple), min_size=1, max_size=4)
KINDS = {
    "noise": lambda rng, dtype, shape: np.frombuffer(rng.bytes(dtype.itemsize * math.prod(shape)), dtype),
    "gaussian": lambda rng, dtype, shape: np.rint(rng.normal(0, rng.exponential(5), shape)),
    "constant": lambda rng, dtype, shape: np.full(shape, np.iinfo(dtype).min),
    "outliers": lambda rng, dtype, shape: rng.integers(-1, 2, shape) * rng.choice([0, 1, np.iinfo(dtype).max], shape),
}


def random_array(kind: str, dtype: str, shape, seed: int = 0) -> np.ndarray:
    dtype = np.dtype(dtype)
    values = np.asarray(KINDS[kind](np.random.default_rng(seed), dtype, shape))
    return values.clip(np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype).reshape(shape)


def roundtrip(arrays: list[np.ndarray]) -> bytes:
    packed = encode_ans(arrays, 5)
    back = ans.decode(packed, arrays[0].dtype, [array.shape for array in arrays])
    for array, decoded in zip(arrays, back, strict=True):
        assert (decoded.dtype, decoded.shape, decoded.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert decoded.flags.writeable
    return packed


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(["<i1", "<i2", "<i4"]), SHAPES, st.integers(0, 2**32))
def test_any_integers_of_any_shape_come_back(kind, dtype, shapes, seed):
    roundtrip([random_array(kind, dtype, shape, seed + i) for i, shape in enumerate(shapes)])


@pytest.mark.parametrize("dtype", ["<i1", "<i2", "<i4"])
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("shape", [(1, 700), (700, 1), (700,), (300, 9), (9, 300), ()])
def test_one_row_one_column_tall_and_wide_matrices_come_back(kind, dtype, shape):
    roundtrip([random_array(kind, dtype, shape)])


@pytest.mark.parametrize(("value", "shape"), [(0, (100, 1000)), (-128, (100, 1000)), (7, (5000, 3)), (31, (1, 4000))])
def test_a_constant_matrix_takes_next_to_nothing(value, shape):
    assert len(roundtrip([np.full(shape, value, np.int8)])) < 60


@pytest.mark.parametrize("outlier", [127, -128, 300, 32767, -32768, 32768, 2**31 - 1, -(2**31)])
def test_an_outlier_escapes_and_does_not_widen_its_neighbors(outlier):
    codes = random_array("gaussian", "<i2", (200, 200), 1)
    plain = len(roundtrip([codes]))
    codes = codes.astype("<i2" if -(2**15) <= outlier < 2**15 else "<i4")
    codes[17, 23] = outlier
    assert len(roundtrip([codes])) < plain + 120


def test_codes_that_fit_int16_take_next_to_no_more_bytes_as_int32():
    codes = random_array("gaussian", "<i2", (200, 200), 1)
    assert len(roundtrip([codes.astype("<i4")])) < len(roundtrip([codes])) + 40


# Levels of rows and columns; templates; escapes. If these bytes change (by constriction, Brotli or this codec), files
# written before cannot be read.
GOLDEN = {
    "levels": (
        (np.arange(60) * 7 % 11 - 5 + 100 * (np.arange(60) == 31)).reshape(12, 5).astype(np.int8),
        (
            "20000000180000001f3f00f807d964875249ce96808c3816110868e8f4e0f103ab835e26b880966dae98eb5d952ce34aff10"
            "bbadbc3b400ba2cb3a7ed32277754f8b3801"
        ),
    ),
    "templates": (
        (np.array([[900, -700], [3, 5]])[np.arange(40) % 3 % 2] + np.arange(80).reshape(40, 2) % 3).astype(np.int16),
        ("5b000000290000001fb500f8074176ebef26899778e4058a051b70944a24d184781060c4cf470fe79d3dceacbaab45ee00c4050000"),
    ),
    "beyond": (
        (3000 * (np.arange(400) == 77) + (np.arange(400) % 50 == 0)).reshape(20, 20).astype(np.int16),
        (
            "400000001b0000001f7f00f80751b9ce964cf022f23e230d3f1411005090581ca8f0035fe3379421f52602f10c7dc208d382"
            "48fcd2f9c1ee257602"
        ),
    ),
}


@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_packed_bytes_never_change(case):
    codes, packed = GOLDEN[case]
    (back,) = ans.decode(bytes.fromhex(packed), codes.dtype, [codes.shape])
    assert np.array_equal(back, codes)
    assert encode_ans([codes], 11).hex() == packed


@pytest.mark.parametrize("level", [0, 5, 18, 27, 40, 70, ans.N_SIGMA_LEVELS - 1])
def test_a_table_is_the_gaussian_of_its_level_to_a_few_parts_in_16_million(level):
    reach, model = ans.gaussian_model(level)
    variance = 1.25**level / 64
    assert reach >= 8 * math.sqrt(variance)
    weights = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / 2 / variance)
    symbols = 2 * reach + 2
    share = np.concatenate([[0], weights / weights.sum()]) * (2**24 - symbols) + 1  # each symbol gets one part
    starts = np.rint(np.cumsum(share)).astype(int)[:-1]  # of symbols 1, 2, …
    near = 8 + reach // 16  # counts are rounded down, and what is left is the middle's
    for symbol in range(1, symbols, max(1, symbols // 400)):
        start = starts[symbol - 1]
        assert symbol_at(model, max(start - near, 0)) < symbol <= symbol_at(model, min(start + near, 2**24 - 1))


def symbol_at(model, part: int) -> int:
    """The symbol that owns this part of 2^24: the low bits of an ANS coder's state choose it."""
    state = np.array([part, 1], np.uint32)
    return constriction.stream.stack.AnsCoder(state).decode(model, 1)[0]


@pytest.mark.parametrize("spread", [0.3, 0.9, 2.4, 6.4, 60.0])
def test_gaussian_codes_take_within_half_a_percent_of_their_ideal_length(spread):
    rng = np.random.default_rng(0)
    codes = np.rint(rng.normal(0, spread, (400, 300))).astype(np.int16)
    n = np.unique(codes, return_counts=True)[1]
    assert len(roundtrip([codes])) < 1.005 * -(n * np.log2(n / n.sum())).sum() / 8 + 60


def test_a_section_takes_what_its_model_says():
    codes = gptq_like(512, 384)
    fit = fit_codes(codes)
    residual = codes - fit.templates_TI[fit.template_index_O]
    ideal_bits = 0.0
    for level, block in ans.level_blocks(fit.row_level_O, fit.column_level_I):
        x = np.arange(-300, 301.0)
        log2 = -(x**2) * 32 * 0.8**level * math.log2(math.e)
        ideal_bits -= (log2 - np.log2(np.exp2(log2).sum()))[residual[block].astype(int) + 300].sum()
    side = struct.unpack_from("<II", encode_ans([codes], 11))[1]
    assert len(encode_ans([codes], 11)) < 1.001 * ideal_bits / 8 + side + len(fit.column_level_I) / 2 + 20


def gptq_like(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """6-bit codes of rows that were scaled to be alike, in columns that differ in spread."""
    rng = np.random.default_rng(seed)
    spread_I = np.exp(rng.normal(0, 0.15, columns))
    return np.rint(rng.normal(0, 2.4, (rows, columns)) * spread_I).clip(-31, 31).astype(np.int8)


@pytest.mark.parametrize("turned", [False, True])
def test_columns_or_rows_of_different_spread_are_smaller_than_with_brotli_or_order_0(turned):
    codes = gptq_like(384, 512)
    codes = np.ascontiguousarray(codes.T) if turned else codes
    n = np.unique(codes, return_counts=True)[1]
    ours = len(roundtrip([codes]))
    assert ours < 0.986 * len(encode_brotli([codes], 11))
    assert ours < 0.996 * -(n * np.log2(n / n.sum())).sum() / 8


def test_rows_that_are_nearly_the_same_share_a_template():
    rng = np.random.default_rng(0)
    codes = rng.normal(0, 6, (600, 64))
    codes[:200] = codes[0] + rng.normal(0, 0.3, (200, 64))
    alike, apart = np.rint(codes).astype(np.int8), np.rint(codes[200:]).astype(np.int8)
    assert len(roundtrip([alike])) < len(roundtrip([apart])) + 0.25 * 200 * 64


def test_blocks_tile_a_matrix_level_by_level():
    row, column = np.array([0, 2, 0, 95]), np.array([7, 5, 7, 5, 6])
    covered = np.zeros((4, 5), int)
    for level, block in ans.level_blocks(row, column):
        covered[block] += 1
        assert np.array_equal(
            np.minimum(row[:, None] + column, ans.N_SIGMA_LEVELS - 1)[block], np.full_like(covered[block], level)
        )
    assert (covered == 1).all()


def body(numbers, words: bytes = b"", *, count: int | None = None) -> bytes:
    """A section with the given numbers."""
    packed = encode_brotli([np.array(numbers, "<i2")], 5)
    return struct.pack("<II", len(numbers) if count is None else count, len(packed)) + packed + words


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "cut short"),
        (b"\0" * 7, "cut short"),
        (struct.pack("<II", 5, 100), "lengths"),
        (struct.pack("<II", 1 << 31, 0), "lengths"),
        (body([0], b"\1\0\0"), "lengths"),
        (body([0], b"\1\0\0\0" * 3 + b"\0" * 4), "not an ANS stream"),
        (body([0], count=2), "were declared"),
        (body([]), "does not fit the shapes"),
        (body([1, 0, 0]), "does not fit the shapes"),
        (body([32767, 0, 0, 0]), "does not fit the shapes"),
        (body([-1, 0, 0, 0, 0, 0]), "does not fit the shapes"),
        (body([0, 0, 0, 0, 0, 0, 0]), "does not fit the shapes"),  # no template to choose
        (body([1, 0, 0, 0, 0, 1, 0, 0, 0]), "does not fit the shapes"),  # template 1 of 1
        (body([1, 0, 0, 0, 0, 0, 0, 0, 96]), "does not fit the shapes"),  # a row's level
        (body([1, 0, 0, 0, 0, 0, 0, -1, 0]), "does not fit the shapes"),
        (body([1, 0, 96, 0, 0, 0, 0, 0, 0]), "does not fit the shapes"),  # of columns' levels
        (body([1, -1, 0, 0, 0, 0, 0, 0, 0]), "does not fit the shapes"),  # a column's level
    ],
)
def test_claims_that_do_not_fit_the_shapes_are_refused(packed, message):
    with pytest.raises(brotli_planes.DecodeError, match=message):
        ans.decode(packed, np.dtype("<i1"), [(2, 2)])


def test_what_is_left_over_is_refused():
    codes = np.array([[1, -1], [0, 2]], np.int8)
    packed = encode_ans([codes], 5)
    count, size = struct.unpack_from("<II", packed)
    (numbers,) = brotli_planes.decode(packed[8 : 8 + size], np.dtype("<i2"), [(count,)])
    words = packed[8 + size :]
    assert np.array_equal(ans.decode(body(numbers, words), codes.dtype, [(2, 2)])[0], codes)
    for more in (body([*numbers, 0], words), body(numbers, b"\1\2\3\4" + words)):
        with pytest.raises(brotli_planes.DecodeError, match="holds more than was declared"):
            ans.decode(more, codes.dtype, [(2, 2)])


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_damage_that_no_checksum_saw_is_refused_or_gives_arrays_of_the_declared_shapes(bit):
    codes = [random_array("outliers", "<i1", (40, 6), 1), gptq_like(30, 8)]
    good = encode_ans(codes, 5)
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1 << bit
        try:
            back = ans.decode(bytes(bad), codes[0].dtype, [array.shape for array in codes])
        except brotli_planes.DecodeError:
            continue
        assert [array.shape for array in back] == [(40, 6), (30, 8)]


def test_a_claim_of_many_numbers_allocates_nothing():
    bomb = brotli.compress(bytes(64 << 20), quality=5)
    packed = struct.pack("<II", 32 << 20, len(bomb)) + bomb
    tracemalloc.start()
    with pytest.raises(brotli_planes.DecodeError, match="lengths"):
        ans.decode(packed, np.dtype("<i1"), [(100, 100)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_floats_are_refused():
    with pytest.raises(brotli_planes.DecodeError, match="integers only"):
        ans.decode(encode_ans([np.zeros((2, 2), np.int16)], 5), np.dtype("<f2"), [(2, 2)])


def test_an_empty_matrix_is_refused_or_empty_and_never_an_error_of_another_kind():
    for shape in [(0, 3), (3, 0), (0,)]:
        for numbers in ([], [1, 0, 0], [1, 0, 0, 0, 0, 0], [1, 0, 0] + [0] * 6, [1, 3, 0] + [0] * 3):
            try:
                (back,) = ans.decode(body(numbers or [0]), np.dtype("<i1"), [shape])
            except brotli_planes.DecodeError:
                continue
            assert back.shape == shape
