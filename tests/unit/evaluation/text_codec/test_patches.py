"""golf/evaluation/text_codec/patches.py: any bytes come back from any text, in few bytes where they are alike"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import normalize
from golf.evaluation.text_codec.patches import (
    Patch,
    PatchError,
    apply_patches,
    find_patches,
    pack_patches,
    unpack_patches,
)

LINES = b"".join(b"%s%d lines of text, some of them\n" % (b" " * (4 * (n % 3)), n) for n in range(200))


def roundtrip(base: bytes, wanted: bytes) -> bytes:
    packed = pack_patches(base, find_patches(base, wanted))
    assert apply_patches(base, unpack_patches(base, packed)) == wanted
    return packed


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_come_back_from_any_text(base, wanted, n_shared):
    roundtrip(base, wanted)
    roundtrip(base, base[:n_shared] + wanted + base[n_shared:])


@given(st.text(alphabet=" \n\tab.é\u0301ﬁ\u00a0\u200b\x00½", max_size=80))
def test_what_the_normalizer_changes_comes_back(text):
    roundtrip(normalize.normalize(text).encode(), text.encode())


def test_line_ends_and_indentation_take_about_a_byte_a_line_and_equal_texts_none():
    base = normalize.normalize(LINES.decode()).encode()
    assert len(roundtrip(base, LINES)) < 200
    assert roundtrip(LINES, LINES) == b""


def test_long_texts_that_have_nothing_in_common_are_replaced_in_pieces():
    assert len(roundtrip(b"a" * 20_000, bytes(range(128, 256)) * 100)) < 20_000


@pytest.mark.parametrize("packed", [b"x", pack_patches(b"a b", [Patch(1, 1, b"ab")])[:-1], b"\x8b\x00\x80\x00\x03"])
def test_damaged_patches_are_refused(packed):
    with pytest.raises(PatchError):
        unpack_patches(b"a b", packed)


def test_patches_of_another_text_are_refused():
    with pytest.raises(PatchError, match="beyond"):
        apply_patches(b"ab", [Patch(2, 1, b"")])
    with pytest.raises(PatchError, match="index"):
        unpack_patches(b"abc", pack_patches(b"a b", [Patch(1, 1, b"\n")]))
