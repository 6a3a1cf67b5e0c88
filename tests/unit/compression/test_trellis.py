"""golf.compression.trellis: any path comes back, sizes are near the ideal, and damaged input is refused."""

import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compression import ans, brotli_planes, reader, trellis, writer
from golf.compression.trellis_writer import NotOnTrellisError, follow_states
from golf.errors import ArtifactError
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.trellis_paths import draw_path

POLYNOMIALS = {4: ("5", "2"), 8: ("13", "4"), 16: ("23", "4")}  # octal h0, h1: Ungerboeck 1982, table I
SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4)


def roundtrip(arrays: list[np.ndarray], n_states: int) -> bytes:
    packed = writer.encode_trellis(arrays, n_states, 5)
    back = trellis.decode(packed, arrays[0].dtype, [array.shape for array in arrays])
    for array, decoded in zip(arrays, back, strict=True):
        assert (decoded.dtype, decoded.shape, decoded.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert decoded.flags.writeable
    return packed


def shift_register(bits: list[int], z0: int, z1: int, h0: str, h1: str) -> list[int]:
    """r_1, …, r_v after one code, bit by bit."""
    h0_bits, h1_bits = (format(int(h, 8), f"0{len(bits) + 1}b")[::-1] for h in (h0, h1))
    later = [*bits[1:], 0]
    return [later[j] ^ (int(h0_bits[j + 1]) & z0) ^ (int(h1_bits[j + 1]) & z1) for j in range(len(bits))]


@pytest.mark.parametrize("n_states", trellis.STATE_COUNTS)
def test_states_follow_each_other_as_in_a_shift_register_of_ungerboecks_polynomials(n_states):
    transitions, v = trellis.next_states(n_states), n_states.bit_length() - 1
    for state in range(n_states):
        bits = [state >> j & 1 for j in range(v)]
        for z1 in range(2):
            after = shift_register(bits, bits[0], z1, *POLYNOMIALS[n_states])
            assert transitions[state, z1] == sum(bit << j for j, bit in enumerate(after))
    assert (np.bincount(transitions.ravel()) == 2).all()


@pytest.mark.parametrize("n_states", trellis.STATE_COUNTS)
def test_two_paths_that_part_differ_by_the_free_distance_of_the_code(n_states):
    """The squared distance of the codes before two paths meet again, which is what a trellis gains by."""
    transitions = trellis.next_states(n_states)
    best = np.full((n_states, n_states), np.inf)
    best[transitions[0, 0], transitions[0, 1]] = 4  # codes 0 and 2
    meeting = math.inf
    for _ in range(20):
        following = np.full_like(best, np.inf)
        for a, b in zip(*np.nonzero(np.isfinite(best)), strict=True):
            for z1, other in np.ndindex(2, 2):
                step = min(abs((a & 1) + 2 * z1 - (b & 1) - 2 * other + 4 * k) for k in (-1, 0, 1)) ** 2
                ends = transitions[a, z1], transitions[b, other]
                if ends[0] == ends[1]:
                    meeting = min(meeting, best[a, b] + step)
                else:
                    following[ends] = min(following[ends], best[a, b] + step)
        best = following
    assert min(meeting, 16) == {4: 9, 8: 10, 16: 11}[n_states]


@given(st.sampled_from(trellis.STATE_COUNTS), st.sampled_from(["<i1", "<i2", "<i4"]), SHAPES, st.integers(0, 2**32))
def test_any_path_of_any_shape_comes_back(n_states, dtype, shapes, seed):
    rng = np.random.default_rng(seed)
    roundtrip([draw_path(rng, n_states, shape, rng.exponential(5), dtype) for shape in shapes], n_states)


@pytest.mark.parametrize("dtype", ["<i1", "<i2", "<i4"])
def test_paths_through_the_whole_range_of_the_dtype_come_back(dtype):
    rng = np.random.default_rng(0)
    codes = draw_path(rng, 8, (300, 5), np.iinfo(dtype).max / 2, dtype)
    roundtrip([codes, draw_path(rng, 8, (300, 4), 0.2, dtype)], 8)


@pytest.mark.parametrize("shape", [(300, 9), (60, 40)])
def test_rows_like_a_template_cost_little(shape):
    rng = np.random.default_rng(0)
    near, far = (draw_path(rng, 8, shape, 0.7, "<i2", mean=mean) for mean in (0, 900))
    assert len(roundtrip([far], 8)) < len(roundtrip([near], 8)) + 40 + 6 * shape[1]


def test_zeros_take_next_to_nothing():
    assert len(roundtrip([np.zeros((100, 1000), np.int8)], 8)) < 60


@pytest.mark.parametrize("outlier", [302, 32766, -32768, 2**31 - 2])
def test_an_outlier_escapes_and_does_not_widen_its_neighbors(outlier):
    rng = np.random.default_rng(1)
    codes = draw_path(rng, 8, (200, 200), 5, "<i4")
    plain = len(roundtrip([codes], 8))
    codes[17, 23] = codes[17, 23] + (outlier & ~3)  # the same two lowest bits, so the path goes on
    assert len(roundtrip([codes], 8)) < plain + 120


@pytest.mark.parametrize("spread", [1.5, 2.4, 6.4, 60.0])
def test_gaussian_codes_take_within_half_a_percent_of_their_length_given_parities(spread):
    codes = draw_path(np.random.default_rng(0), 8, (400, 300), spread, "<i2")
    entropy = sum(
        -(n * np.log2(n / n.sum())).sum()
        for parity in (0, 1)
        for n in [np.unique(codes[(codes & 1) == parity], return_counts=True)[1]]
    )
    assert len(roundtrip([codes], 8)) < 1.005 * entropy / 8 + 60


@pytest.mark.parametrize("level", [0, 5, 18, 27, 40, ans.N_SIGMA_LEVELS - 1])
@pytest.mark.parametrize("parity", [0, 1])
def test_a_table_holds_every_other_integer_of_the_gaussians(level, parity):
    offset, _ = trellis.parity_model(level, parity)
    radius = len(ans.gaussian_weights(level)) - 1
    lowest = 2 - offset
    assert (lowest & 1) == parity
    assert -radius <= lowest < 2 - radius


# Several matrices, levels, templates and escapes. If these bytes change (by constriction, Brotli or this codec), files
# written before cannot be read.
GOLDEN = {
    "levels": (
        4,
        [((12, 5), 2.0, 0), ((12, 3), 9.0, 0), ((6, 2), 0.4, 0)],
        (
            "500000001f0000001f9f00f88fd45acdcce76a8000029291d1059c91061d02001f38174c1d1200673f7d8e5c4c111778"
            "5a5d55338e61ea8eb57855ccd8c8edfdb533bac053cb21bbe40303"
        ),
    ),
    "templates": (
        8,
        [((40, 2), 0.6, 300)],
        ("58000000200000001faf00f8070b6e3b4994c2eb2ef4080a378540034f5085bde7d9fea448093100d4f71ae85eab478c"),
    ),
    "beyond": (
        16,
        [((20, 20), 0.3, 0)],
        ("410000001a0000001f8100f807d964671db584689f91861f8a08003088ec6540851f3cef5ef258282b024ede0100"),
    ),
}


@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_packed_bytes_never_change(case):
    n_states, matrices, packed = GOLDEN[case]
    rng = np.random.default_rng(7)
    arrays = [draw_path(rng, n_states, shape, spread, "<i2", mean=mean) for shape, spread, mean in matrices]
    if case == "beyond":
        arrays[0][3, 7] += 4000
    back = trellis.decode(bytes.fromhex(packed), arrays[0].dtype, [array.shape for array in arrays])
    assert all(np.array_equal(array, decoded) for array, decoded in zip(arrays, back, strict=True))
    assert writer.encode_trellis(arrays, n_states, 11).hex() == packed


def test_codes_beside_the_trellis_are_refused():
    with pytest.raises(NotOnTrellisError, match="not codes of a trellis of 8 states"):
        writer.encode_trellis([np.ones((3, 3), np.int8)], 8, 5)
    assert follow_states(np.zeros((3, 3), np.int8), 8).shape == (3, 3)


def body(numbers, words: bytes = b"") -> bytes:
    """A section with the given numbers."""
    packed = writer.encode_brotli([np.array(numbers, "<i2")], 5)
    return struct.pack("<II", len(numbers), len(packed)) + packed + words


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "cut short"),
        (body([]), "does not fit the shapes"),
        (body([5]), "names 5 trellis states"),
        (body([0]), "names 0 trellis states"),
        (body([-8]), "does not fit the shapes"),
        (body([8, 1, 0, 0]), "does not fit the shapes"),
        (body([8, 1, 0, 0, 0, 0, 0, 0, 0, 96]), "does not fit the shapes"),  # a row's level
        (body([8, 1, 96, 0, 0, 0, 0, 0, 0, 0]), "does not fit the shapes"),  # of columns' levels
    ],
)
def test_claims_that_do_not_fit_the_shapes_are_refused(packed, message):
    with pytest.raises(brotli_planes.DecodeError, match=message):
        trellis.decode(packed, np.dtype("<i1"), [(2, 2)])


def test_what_is_left_over_is_refused():
    codes = draw_path(np.random.default_rng(0), 8, (4, 4), 2, "<i1")
    packed = writer.encode_trellis([codes], 8, 5)
    with pytest.raises(brotli_planes.DecodeError, match="holds more than was declared"):
        trellis.decode(packed[:-4] + b"\1\2\3\4" + packed[-4:], codes.dtype, [codes.shape])


def test_floats_are_refused():
    with pytest.raises(brotli_planes.DecodeError, match="integers only"):
        trellis.decode(writer.encode_trellis([np.zeros((2, 2), np.int16)], 8, 5), np.dtype("<f2"), [(2, 2)])


@pytest.mark.parametrize("bit", [0, 6])
def test_damage_that_no_checksum_saw_is_refused_or_gives_arrays_of_the_declared_shapes(bit):
    rng = np.random.default_rng(1)
    codes = [draw_path(rng, 8, (30, 6), 3, "<i1"), draw_path(rng, 8, (12, 8), 0.5, "<i1")]
    good = writer.encode_trellis(codes, 8, 5)
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1 << bit
        try:
            back = trellis.decode(bytes(bad), codes[0].dtype, [array.shape for array in codes])
        except brotli_planes.DecodeError:
            continue
        assert [array.shape for array in back] == [(30, 6), (12, 8)]


def test_every_flipped_byte_of_a_small_artifact_is_noticed(tmp_path):
    path, rng = tmp_path / "model.golf", np.random.default_rng(0)
    names = [f"blocks.{n}.mlp.fc.weight.codes" for n in range(2)]
    tensors = {name: torch.from_numpy(draw_path(rng, 8, (30, 16), 3, "<i1")) for name in names}
    packed = writer.pack(
        tensors, TINY_MODEL_CONFIG, upstream_splits=("train",), codec="ans", brotli_quality=5, trellis_states=8
    )
    path.write_bytes(packed)
    stored, header = reader.read(path)
    assert [section.codec for section in header.sections] == ["trellis"]
    assert all(torch.equal(stored[name], tensors[name]) for name in tensors)
    for index in range(len(packed)):
        bad = bytearray(packed)
        bad[index] ^= 0x10
        path.write_bytes(bad)
        with pytest.raises(ArtifactError, match=r"model\.golf"):
            reader.read(path)
