"""golf/data/transform.py"""

import dataclasses
import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from golf.data import transform
from golf.data.tokenizer import Tokenizer
from golf.ground.errors import BadInput


@pytest.mark.parametrize("name", transform.BY_NAME)
@given(text=st.text())
def test_every_transform_is_undone(name, text):
    change = transform.of(name)
    assert change.restore(change.apply(text)) == text


@pytest.mark.parametrize("name", transform.BY_NAME)
def test_a_document_is_read_from_what_its_tokens_spell(name):
    change = transform.of(name)
    written = change.apply("The É").encode()
    assert change.read([b"", written[:-1], written[-1:]]) == "The É"
    assert change.read([b"", b" " + written]) == "The É"  # of a model with a dummy prefix


@pytest.mark.parametrize("name", transform.BY_NAME)
def test_half_a_character_is_no_text(name):
    assert transform.of(name).read([b"a", b"\xc3"]) is None


def test_what_the_transform_never_writes_is_no_text():
    assert transform.of("caseops").read(["\ue001 a".encode()]) is None
    assert transform.of("none").read(["\ue001 a".encode()]) == "\ue001 a"


def test_an_unknown_transform_is_refused_with_those_that_are_known():
    with pytest.raises(BadInput, match=r"transform 'rot13' is unknown.*known are none, caseops"):
        transform.of("rot13")


@pytest.fixture(scope="module")
def foreign():
    """A tokenizer for CaseOps whose own rule runs over what was written, as in the challenge's model."""
    change, model = transform.of("caseops"), io.BytesIO()
    texts = [change.apply(text) for text in ["The cat sat on the mat 12 times", "Zwei Käfer über der Tür"] * 4]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=310,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        add_dummy_prefix=False,
        user_defined_symbols=list(change.symbols),
        minloglevel=2,
    )
    return Tokenizer(model.getvalue(), "foreign.model")


def counted(tokenizer, change, text):
    return transform.token_bytes(change, tokenizer, tokenizer.encode([change.apply(text)]), [text], ["mine.txt"])[0]


def test_the_bytes_of_a_documents_tokens_add_up_to_its_text(foreign):
    sizes = counted(foreign, transform.of("caseops"), "Zwei KÄFER über der Tür")
    assert sizes.dtype == np.uint16
    assert (sizes[0], sizes.sum()) == (0, 26)


def test_a_document_that_the_tokenizers_own_rule_changes_is_refused_by_name(foreign):
    """h and the bar below compose where H and the bar do not; the number of bytes alone would not show it."""
    with pytest.raises(BadInput, match=r"mine\.txt: its tokens do not give its text of 3 bytes back; foreign\.model"):
        counted(foreign, transform.of("caseops"), "H\u0331")


def test_a_document_whose_tokens_carry_too_much_is_refused_by_name(foreign):
    change = transform.of("caseops")
    greedy = dataclasses.replace(change, carried=lambda pieces: change.carried(pieces) + np.uint16(1))
    with pytest.raises(BadInput, match=r"mine\.txt: its tokens do not give its text of 8 bytes back"):
        counted(foreign, greedy, "The cats")
