"""golf/data/tokenization/trainer.py"""

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data.caseops import OPERATORS
from golf.data.tokenization import trainer
from golf.data.tokenization.trainer import MAX_LINE_BYTES, iter_sentences, train_tokenizer
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError


def test_the_same_texts_give_the_same_model(tiny_corpus):
    assert train_tokenizer(tiny_corpus, 384) == train_tokenizer(iter(tiny_corpus), 384)


def test_the_model_follows_the_challenges_recipe(tiny_corpus):
    tokenizer = Tokenizer(train_tokenizer(tiny_corpus, 384), "tiny.model")
    assert tokenizer.vocab_size == 384
    assert tokenizer.pieces[:4] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert tokenizer.pieces[4:260] == [f"<0x{i:02X}>" for i in range(256)]
    assert tokenizer.bos == 1
    assert all(tokenizer.is_byte(i) for i in range(4, 260))
    assert [tokenizer.is_special(i) for i in range(5)] == [True] * 4 + [False]
    assert not any(len(piece) > 1 and piece.strip("▁0123456789") == "" for piece in tokenizer.pieces[260:])


def test_a_transforms_symbols_are_pieces_of_their_own_and_nothing_else_is_changed(tiny_corpus):
    lines = [text.replace("the", "\ue001the\ue002") for text in tiny_corpus]
    model = Tokenizer(train_tokenizer(lines, 384, OPERATORS), "symbols.model")
    assert model.pieces[4:8] == list(OPERATORS)
    assert not any(set(piece) & set(OPERATORS) for piece in model.pieces[8:])
    model.require_symbols(OPERATORS)
    for text in ("a\ue001the\ue002 b", "two  spaces \n", "ﬁ h\u0331"):
        assert model.normalize(text) == text
        assert b"".join(model.ids_to_bytes(model.encode([text])[0])).decode() == text


def test_long_lines_are_cut_and_not_dropped():
    word = "lantern "
    pieces = list(iter_sentences([word * 3000, "ä" * 5000 + "\n\nshort"]))
    assert max(len(piece.encode()) for piece in pieces) <= MAX_LINE_BYTES
    assert " ".join(pieces[: -1 - 3]).split() == ["lantern"] * 3000
    assert "".join(pieces[-4:-1]) == "ä" * 5000
    assert pieces[-1] == "short"


@given(st.lists(st.text(alphabet="ab ä😀\n\0", max_size=60)), st.integers(4, 12))
def test_cutting_loses_no_word_and_no_character(texts, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "MAX_LINE_BYTES", limit)
        pieces = list(iter_sentences(texts))
    assert all(0 < len(piece.encode()) <= limit for piece in pieces)
    kept = "".join("".join(texts).replace("\0", " ").split())
    assert "".join("".join(pieces).split()) == kept


def test_a_document_longer_than_the_trainers_limit_is_trained_from(tiny_corpus):
    line = " ".join(" ".join(tiny_corpus).split())
    assert len(line) > 2 * MAX_LINE_BYTES
    assert "▁the" in Tokenizer(train_tokenizer([line], 384), "one line").pieces


def test_text_almost_without_spaces_still_learns_a_lone_space():
    words = "".join(chr(0x4E00 + number * number % 211) for number in range(5000))
    model = Tokenizer(train_tokenizer([words[i : i + 100] for i in range(0, 5000, 100)] + ["a b"], 480), "han")
    assert "▁" in model.pieces


def chinese_text(n_characters: int, seed: int = 0) -> list[str]:
    """Documents of many different characters, whose frequencies fall as in a natural text."""
    draw = random.Random(seed)
    characters = [chr(0x4E00 + number) for number in range(n_characters)]
    weights = [1 / (rank + 1) for rank in range(n_characters)]
    return ["".join(draw.choices(characters, weights, k=200)) + " 12 Aa" for _ in range(n_characters // 20)]


def test_more_characters_than_pieces_are_trained_with_the_coverage_that_the_message_names():
    texts = chinese_text(6000)
    with pytest.raises(InputError, match=r"model\.vocab_size: 4,096 pieces are too few for the characters") as raised:
        train_tokenizer(texts, 4096)
    coverage = re.search(r"set fetch\.character_coverage: (0\.\d+) ", str(raised.value))[1]
    model = Tokenizer(train_tokenizer(texts, 4096, (), float(coverage)), "han.model")
    model.require_vocab_size(4096, is_trained=True)
    assert sum(len(piece) == 1 for piece in model.pieces) <= 260 + 4096 // 2
    for text, ids in zip(texts, model.encode(texts), strict=True):
        assert b"".join(model.ids_to_bytes(ids)).decode() == text


@pytest.mark.parametrize("symbols", [(), OPERATORS])
def test_both_cures_that_the_message_names_work_and_no_smaller_vocabulary(symbols):
    texts = chinese_text(600)
    with pytest.raises(InputError, match=r"model\.vocab_size: 600 pieces are too few .* beside 26[04] for") as raised:
        train_tokenizer(texts, 600, symbols)
    coverage, enough = re.search(r"_coverage: (0\.\d+) \(.* model\.vocab_size: (\d+)", str(raised.value)).groups()
    assert Tokenizer(train_tokenizer(texts, 600, symbols, float(coverage)), "han.model").vocab_size == 600
    assert Tokenizer(train_tokenizer(texts, int(enough), symbols), "large.model").vocab_size == int(enough)
    with pytest.raises(InputError, match="pieces are too few"):
        train_tokenizer(texts, int(enough) - 1, symbols)


def test_a_vocabulary_too_small_for_any_useful_coverage_asks_for_a_larger_one():
    message = (
        r"model\.vocab_size: 262 pieces are too few .* 0\.999 makes 27 of them .*; set model\.vocab_size: 287 or more"
    )
    with pytest.raises(InputError, match=message):
        train_tokenizer(["abcdefghijklmnopqrstuvwxyz " * 5], 262)


@pytest.mark.parametrize("coverage", [0.98, 0.985, 1.0])
def test_a_coverage_below_the_trainers_range_means_what_it_means_within_it(monkeypatch, coverage):
    texts = chinese_text(1500)
    model = Tokenizer(train_tokenizer(texts, 1900, (), coverage), "trainer.model")
    monkeypatch.setattr(trainer, "_MIN_TRAINER_COVERAGE", 1.1)
    assert Tokenizer(train_tokenizer(texts, 1900, (), coverage), "ours.model").pieces == model.pieces


def test_a_lower_coverage_leaves_fewer_characters_and_never_the_space():
    texts = chinese_text(600)
    covered = {}
    for coverage in (1e-9, 0.3, 0.9, 1.0):
        pieces = Tokenizer(train_tokenizer(texts, 900, (), coverage), "han.model").pieces
        covered[coverage] = {piece for piece in pieces if len(piece) == 1}
    assert covered[1e-9] == {"▁"} < covered[0.3] < covered[0.9] < covered[1.0]
    assert covered[1.0] == {*"".join(texts).replace(" ", "▁")}


def test_no_text_at_all_says_so():
    with pytest.raises(InputError, match=r"model\.vocab_size: SentencePiece can't train 300 pieces .*give more text"):
        train_tokenizer(["", " \n"], 300)


def test_training_is_silent(tiny_corpus, capfd):
    train_tokenizer(tiny_corpus, 384)
    assert capfd.readouterr() == ("", "")


def test_of_a_large_text_evenly_spaced_sentences_are_taken():
    sentences = [f"sentence {number}" for number in range(1000)]
    assert list(trainer._sample(sentences, 1.0)) == sentences
    for frac in (0.3, 0.5, 0.999, 1e-3):
        numbers = [sentences.index(text) for text in trainer._sample(sentences, frac)]
        assert len(numbers) == pytest.approx(1000 * frac, abs=1)
        assert {b - a for a, b in itertools.pairwise(numbers)} <= {int(1 / frac), int(1 / frac) + 1}
    text = "\n".join(sentences)
    expected = "\n".join(trainer._sample(sentences, 0.5))
    assert train_tokenizer([text], 300, sampled_frac=0.5) == train_tokenizer([expected], 300)
