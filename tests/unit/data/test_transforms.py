"""golf/data/transforms.py"""

import dataclasses
import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from golf.data import transforms
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
@given(text=st.text())
def test_every_transform_is_undone(name, text):
    transform = transforms.get_transform(name)
    assert transform.decode(transform.encode(text)) == text


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_a_document_is_read_from_what_its_tokens_spell(name):
    transform = transforms.get_transform(name)
    encoded = transform.encode("The É").encode()
    assert transform.decode_pieces([b"", encoded[:-1], encoded[-1:]]) == "The É"
    assert transform.decode_pieces([b"", b" " + encoded]) == "The É"  # of a model with a dummy prefix


@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_half_a_character_is_no_text(name):
    assert transforms.get_transform(name).decode_pieces([b"a", b"\xc3"]) is None


def test_what_the_transform_never_writes_is_no_text():
    assert transforms.get_transform("caseops").decode_pieces(["\ue001 a".encode()]) is None
    assert transforms.get_transform("none").decode_pieces(["\ue001 a".encode()]) == "\ue001 a"


def test_an_unknown_transform_is_rejected_with_those_that_are_known():
    with pytest.raises(InputError, match=r"transform 'rot13' is unknown.*allowed are none, caseops"):
        transforms.get_transform("rot13")


@pytest.fixture(scope="module")
def other_tokenizer():
    """A tokenizer for CaseOps whose own rule runs over what was encoded, as in the challenge's model."""
    transform, model = transforms.get_transform("caseops"), io.BytesIO()
    texts = [transform.encode(text) for text in ["The cat sat on the mat 12 times", "Zwei Käfer über der Tür"] * 4]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=310,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        add_dummy_prefix=False,
        user_defined_symbols=list(transform.symbols),
        minloglevel=2,
    )
    return Tokenizer(model.getvalue(), "other.model")


def counted(tokenizer, transform, text):
    return transforms.count_token_bytes(
        transform, tokenizer, tokenizer.encode([transform.encode(text)]), [text], ["mine.txt"]
    )[0]


def test_the_bytes_of_a_documents_tokens_add_up_to_its_text(other_tokenizer):
    sizes = counted(other_tokenizer, transforms.get_transform("caseops"), "Zwei KÄFER über der Tür")
    assert sizes.dtype == np.uint16
    assert (sizes[0], sizes.sum()) == (0, 26)


def test_a_document_that_the_tokenizers_own_rule_transforms_is_rejected_by_name(other_tokenizer):
    """h and the bar below compose where H and the bar do not; the number of bytes alone would not show it."""
    with pytest.raises(InputError, match=r"mine\.txt: its tokens do not decode to its text of 3 bytes: other\.model"):
        counted(other_tokenizer, transforms.get_transform("caseops"), "H\u0331")


def test_a_document_whose_tokens_carry_too_much_is_rejected_by_name(other_tokenizer):
    transform = transforms.get_transform("caseops")
    overcounting = dataclasses.replace(
        transform, count_piece_bytes=lambda pieces: transform.count_piece_bytes(pieces) + np.uint16(1)
    )
    with pytest.raises(InputError, match=r"mine\.txt: its tokens do not decode to its text of 8 bytes"):
        counted(other_tokenizer, overcounting, "The cats")
