"""golf/data/normalize.py"""

import itertools
import json
import lzma
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from golf.data import normalize
from golf.data.tokenization.trainer import train_tokenizer
from golf.data.tokenizer import Tokenizer

# What the normalizer drops, joins, takes apart or turns into spaces, and what it leaves alone.
HARD = (
    "aAhHé가ñ\u1100\u1161\u11a8\u3131\u314f\uffa1\uffc2\u0300\u0301\u0308\u0327\u0331\u0344\u3099\uff9e\u09c7\u09be"
    "か漢字Ａﬁ™Ⅷ½ﷺﱞ¨´ \u00a0\u3000\u200b\u2028▁\t\n\r\0\x07\x8f\u061c\ufeff\ufffd😀👩\u200d<=>≠12.,-"
)
LETTERS = st.one_of(st.text(), st.text(st.sampled_from("aAhHyé ▁\n\t\x8f\u0301\u0308\u0331\u0344\u061c\u00a0ﬁＡ가")))
CACHE = {}


def model() -> Tokenizer:
    if not CACHE:
        CACHE["model"] = Tokenizer(train_tokenizer(["the cat sat on the mat 12 times"] * 9, 300), "small.model")
    return CACHE["model"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  The\n\n\tCat ", "The Cat"),
        ("\u3000a\u00a0b", "a b"),
        ("▁a ▁ b▁", "a b"),  # SentencePiece's own sign is a space to it
        ("e\u0301 ﬁn ™", "é fin TM"),
        ("a\x07b\ufeff", "ab"),
        ("y\x8f\u0308", "ÿ"),  # the control character gone, the accent composes
        ("\ufeff", ""),
    ],
)
def test_white_space_is_collapsed_and_characters_composed(raw, text):
    assert normalize.normalize(raw) == text


@given(LETTERS)
@example("y\x8f\u0308")
def test_canonical_text_is_left_as_it_is(raw):
    once = normalize.normalize(raw)
    assert normalize.normalize(once) == once


@given(LETTERS)
def test_our_own_tokenizers_leave_canonical_text_as_it_is(raw):
    text = normalize.normalize(raw)
    assert model().normalize(text) == text


@given(st.text(st.characters(codec="ascii")))
def test_text_that_one_pass_settles_is_what_the_tokenizer_alone_would_make_of_it(raw):
    assert normalize.normalize(raw) == model().normalize(raw)


def test_texts_that_differ_in_case_alone_fold_alike_and_others_do_not():
    assert normalize.casefold("Straße ΣΑΣ İ") == normalize.casefold("STRASSE σας i\u0307")
    assert normalize.casefold("The cat") != normalize.casefold("the cats")


@pytest.mark.parametrize("name", ["1024_bpe", "8192_bpe", "8192_bpe_lossless_caps_caseops_v1_reserved"])
def test_the_challenges_models_leave_canonical_text_as_it_is(shared_data, name):
    """Every character that Unicode has, before and after an ordinary one; each model has another Unicode's table."""
    model = Tokenizer.open(shared_data / "tokenizers" / f"fineweb_{name}.model")
    letters = [f"x{chr(i)}y" for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    for start in range(0, len(letters), 20_000):
        text = normalize.normalize(" ".join(letters[start : start + 20_000]))
        assert model.normalize(text) == text
    packed = (shared_data / "fineweb_docs200" / "verify_docs.jsonl.xz").read_bytes()
    raws = [json.loads(line)["text"] for line in lzma.decompress(packed).splitlines()]
    assert [normalize.normalize(raw) for raw in raws] == [model.normalize(raw) for raw in raws]


def whole(raw):
    """The text normalized in one piece."""
    return normalize._normalize_piece(raw)


@given(st.one_of(st.text(HARD), st.text(), st.text("ab \t\n\u0301가\u1161漢")), st.integers(1, 5))
@example("a  b \x07 c\u0301 ", 1)
@example("\x07 a", 1)
def test_a_text_normalized_in_pieces_is_the_text_normalized_whole(raw, piece_chars):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalize, "_PIECE_CHARS", piece_chars)
        assert normalize.normalize(raw) == whole(raw)


@given(st.text(HARD), st.integers(1, 5))
def test_pieces_are_the_text_and_joined_pairs_stay_together(text, piece_chars):
    pieces = list(normalize.iter_pieces(text, piece_chars, {"a ", "12", "漢字"}))
    assert "".join(pieces) == text
    assert all(len(piece) >= piece_chars for piece in pieces[:-1])
    assert not {a[-1] + b[0] for a, b in itertools.pairwise(pieces)} & {"a ", "12", "漢字"}


def test_prose_of_any_script_is_cut():
    for text in (
        "the cat sat. " * 9,
        "Зимой и летом " * 9,
        "床前明月光" * 9,
        "사과를 먹는다" * 9,
        "AGTC" * 40,
        "{[(,)]}" * 20,
    ):
        assert max(map(len, normalize.iter_pieces(text, 8))) <= 12


def test_no_rule_of_the_normalizer_has_its_characters_on_both_sides_of_a_cut():
    """All 225,276 rules. A cut stands before a space or a character that stands alone, and after one of the latter."""
    rules = dict(normalize._normalizer().Decompile())
    joining = {char for characters in rules for char in characters[1:]}  # to characters before them
    assert not [char for char in joining if char in normalize._SPACES or normalize._stands_alone(char)]
    assert not [chars for chars in rules if chars[0] in normalize._SPACES and (len(chars) > 1 or rules[chars] != " ")]

    # What a character after the cut becomes, with those behind it, does not join the one before the cut either.
    firsts = {chars[0] for chars in rules if normalize._stands_alone(chars[0])}
    while new := {rules[chars][:1] for chars in rules if chars[0] in firsts} - firsts:
        firsts |= new
    assert not firsts & (joining | {"", " "})
    assert {unicodedata.category(char)[0] for char in firsts} <= {"L", "N", "P", "S"}
