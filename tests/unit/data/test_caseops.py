"""golf/data/caseops.py"""

import itertools
import json
import lzma

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from golf.data import normalize
from golf.data.caseops import OPERATORS, count_piece_bytes, decode, encode
from golf.data.tokenizer import Tokenizer

T, C, N, E = OPERATORS
NASTY = st.text(st.sampled_from([*"aAbBzZ9 .éÉßİﬁＡ\u0301\n", *OPERATORS]))
ANY = st.one_of(st.text(), NASTY)


def encode_character_by_character(text):
    """The rules once more, character by character."""
    out, position = [], 0
    while position < len(text):
        end = position
        while end < len(text) and text[end].isascii() and text[end].isalpha():
            end += 1
        word = text[position:end]
        if not word:
            out.append(E + text[position] if text[position] in OPERATORS else text[position])
            end += 1
        elif len(word) > 1 and all("A" <= letter <= "Z" for letter in word):
            out.append(C + word.lower())
        else:
            for number, letter in enumerate(word):
                capital = "A" <= letter <= "Z"
                out.append((T if number == 0 else N) * capital + letter.lower())
        position = end
    return "".join(out)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("small words 12", "small words 12"),
        ("The NASA iPhone, McDonald", f"{T}the {C}nasa i{N}phone, {T}mc{N}donald"),
        ("A", f"{T}a"),
        ("AB", f"{C}ab"),
        ("ABc", f"{T}a{N}bc"),
        ("aBC", f"a{N}b{N}c"),
        ("ÉA Éa", f"É{T}a Éa"),
        ("X9Y", f"{T}x9{T}y"),
        (f"{T}q", f"{E}{T}q"),
        (f"AB{N}c", f"{C}ab{E}{N}c"),
        (E, E + E),
        ("", ""),
    ],
)
def test_each_rule_by_an_example_that_one_can_read(text, encoded):
    assert encode(text) == encoded
    assert decode(encoded) == text


@given(ANY)
@example("".join(OPERATORS))
def test_any_text_comes_back(text):
    assert decode(encode(text)) == text


@given(ANY)
def test_the_transform_is_the_rules_by_the_letter(text):
    assert encode(text) == encode_character_by_character(text)


@pytest.mark.parametrize(
    "text",
    [
        *(T, C, N, E, f"{T} a", f"{T}9", f"{T}é", f"{E}a"),  # no letter, or nothing to escape
        *(f"{C}a", f"{C}", f"{C}ab{N}c", f"{N}ab", f"a{T}b", f"{N}{N}a", f"a{N}{N}b", f"{T}{T}a", f"{T}a{N}b"),
        *("A", "aB", f"{T}A", f"{C}aB"),  # bare capitals
    ],
)
def test_what_encode_never_returns_is_rejected(text):
    with pytest.raises(ValueError, match="not CaseOps text"):
        decode(text)


@given(ANY)
def test_what_is_not_rejected_is_written_the_same_again(text):
    try:
        decoded = decode(text)
    except ValueError:
        return
    assert encode(decoded) == text


@given(NASTY, st.lists(st.integers(0, 200)))
def test_bytes_add_up_to_the_texts_own_however_it_is_cut_into_pieces(text, cut_positions):
    text = normalize.normalize(text)
    encoded = encode(text).encode()
    cuts = [0, *sorted(cut for cut in cut_positions if cut <= len(encoded)), len(encoded)]
    pieces = [encoded[start:end] for start, end in itertools.pairwise(cuts)]
    sizes = count_piece_bytes(pieces)
    assert sizes.dtype == np.uint16
    assert len(sizes) == len(pieces)
    assert sizes.sum() == len(text.encode())
    assert all(size <= len(piece) for size, piece in zip(sizes, pieces, strict=True))


def test_operators_and_document_starts_carry_nothing():
    pieces = [b"", T.encode(), b"the", b" ", C.encode(), b"nas", b"a"]
    assert count_piece_bytes(pieces).tolist() == [0, 0, 3, 1, 0, 3, 1]


def test_an_operator_that_is_text_carries_its_bytes_and_its_escape_none():
    assert count_piece_bytes([E.encode(), T.encode(), b"q"]).tolist() == [0, 3, 1]
    assert count_piece_bytes([E.encode(), E.encode(), T.encode(), b"q"]).tolist() == [0, 3, 0, 1]


def test_an_operator_spelled_in_bytes_carries_nothing_either():
    assert count_piece_bytes([b"\xee", b"\x80", b"\x81", b"a", b"\xee\x80", b"\x83b"]).tolist() == [0, 0, 0, 1, 0, 1]


def test_the_space_of_a_dummy_prefix_is_free_and_any_other_is_one_byte():
    assert count_piece_bytes([b"", b" the", b" cat"]).tolist() == [0, 3, 4]


def test_a_document_without_text_carries_nothing():
    assert count_piece_bytes([b""]).tolist() == [0]


def test_fineweb_comes_back_through_the_challenges_model_with_exact_bytes(shared_data):
    packed = (shared_data / "fineweb_docs200" / "verify_docs.jsonl.xz").read_bytes()
    texts = [normalize.normalize(json.loads(line)["text"]) for line in lzma.decompress(packed).splitlines()]
    name = "fineweb_8192_bpe_lossless_caps_caseops_v1_reserved.model"
    model = Tokenizer.open(shared_data / "tokenizers" / name)
    assert [model.pieces[i] for i in range(4, 8)] == list(OPERATORS)
    piece_lists = [model.ids_to_bytes(ids) for ids in model.encode([encode(text) for text in texts])]
    assert [decode(b"".join(pieces).decode()) for pieces in piece_lists] == texts
    sizes = [int(count_piece_bytes(pieces).sum()) for pieces in piece_lists]
    assert sizes == [len(text.encode()) for text in texts]
    assert sum(sizes) == 1_489_418
