"""golf/data/normalize.py"""

import json
import lzma

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from golf.data import normalize
from golf.data.tokenizer import Tokenizer, train_tokenizer

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
