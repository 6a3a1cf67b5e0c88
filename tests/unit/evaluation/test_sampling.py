"""golf/evaluation/sampling.py: tokens drawn with temperature and top-p, and text as its tokens come"""

import numpy as np
import pytest

from golf.data import caseops
from golf.data.tokenization.trainer import train_tokenizer
from golf.data.tokenizer import Tokenizer
from golf.evaluation.sampling import SamplingConfig, TextStream, TokenSampler
from tests.helpers.tiny_corpus import make_tiny_corpus

PROBS = np.array([0.1, 0.4, 0.0, 0.3, 0.2])


def draw_frequencies(n_draws: int = 4000, **settings: float) -> np.ndarray:
    options = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0, "seed": 0} | settings
    sampler = TokenSampler(SamplingConfig(**options))
    return np.bincount([sampler.draw(PROBS) for _ in range(n_draws)], minlength=len(PROBS)) / n_draws


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_tempered_probability(temperature):
    expected = PROBS ** (1 / temperature)
    np.testing.assert_allclose(draw_frequencies(temperature=temperature), expected / expected.sum(), atol=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.39, [1]), (0.4, [1]), (0.5, [1, 3]), (0.8, [1, 3, 4]), (1.0, [0, 1, 3, 4])]
)
def test_top_p_keeps_the_smallest_set_of_likeliest_tokens_with_that_share(top_p, kept):
    frequencies = draw_frequencies(top_p=top_p)
    assert np.flatnonzero(frequencies).tolist() == kept
    np.testing.assert_allclose(frequencies[kept], PROBS[kept] / PROBS[kept].sum(), atol=0.03)


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-3])
def test_a_temperature_toward_0_takes_the_likeliest_token(temperature):
    assert draw_frequencies(50, temperature=temperature)[1] == 1


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    texts = make_tiny_corpus()
    return {
        "none": Tokenizer(train_tokenizer(texts, 384), "plain"),
        "caseops": Tokenizer(
            train_tokenizer([caseops.encode(text) for text in texts], 384, caseops.OPERATORS), "caseops"
        ),
    }


TEXTS = ["The old clerk, 日本 é \U0001f3cc.", "IN 1904 McDonald's NaN aB A", "x"]


@pytest.mark.parametrize("transform", ["none", "caseops"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_parts_make_the_text_and_hold_no_half_character(tokenizers, transform, text):
    tokenizer = tokenizers[transform]
    encoded = caseops.encode(text) if transform == "caseops" else text
    tokens = tokenizer.encode([encoded])[0][1:]
    stream = TextStream(tokenizer, transform, is_continued=True)
    parts = [stream.add(int(token), is_last=index == len(tokens) - 1) for index, token in enumerate(tokens)]
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)


def test_a_space_before_a_documents_first_word_is_the_prefix_of_the_tokenizer(tokenizers):
    tokenizer = tokenizers["none"]
    the = tokenizer.pieces.index("▁the")
    assert TextStream(tokenizer, "none", is_continued=False).add(the) == "the"
    assert TextStream(tokenizer, "none", is_continued=True).add(the) == " the"


def test_bytes_that_are_no_text_become_the_replacement_character(tokenizers):
    stream = TextStream(tokenizers["none"], "none", is_continued=True)
    first_byte = tokenizers["none"].pieces.index("<0xC3>")
    assert (stream.add(first_byte), stream.add(first_byte, is_last=True)) == ("", "\ufffd\ufffd")


def test_an_operator_where_none_is_allowed_is_left_out(tokenizers):
    tokenizer, (title, caps, _, escape) = tokenizers["caseops"], caseops.OPERATORS
    words = f"{title} {caps}{title}ab{escape}{caps}cd{title}"
    stream = TextStream(tokenizer, "caseops", is_continued=True)
    ids = [tokenizer.pieces.index("▁" if c == " " else c) for c in words]
    assert "".join(stream.add(i) for i in ids) == f" Ab{caps}cd"
