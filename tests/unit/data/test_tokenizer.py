"""golf/data/tokenizer.py"""

import hashlib
import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from golf.data.caseops import OPERATORS
from golf.data.tokenizer import MAX_LINE_BYTES, Tokenizer, iter_sentences, train_tokenizer
from golf.errors import InputError


def train_other_recipe(texts, **changes):
    """A model by another recipe than the challenge's."""
    model = io.BytesIO()
    recipe = {"vocab_size": 330, "model_type": "bpe", "byte_fallback": True, "add_dummy_prefix": False}
    recipe |= {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "hard_vocab_limit": False, "minloglevel": 2}
    lines = (line for text in texts for line in text.split("\n") if line)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=model, **recipe | changes)
    return model.getvalue()


@pytest.fixture(scope="module")
def tokenizer(tiny_corpus):
    return Tokenizer(train_tokenizer(tiny_corpus, 384), "tiny.model")


def test_the_same_texts_give_the_same_model(tiny_corpus):
    assert train_tokenizer(tiny_corpus, 384) == train_tokenizer(iter(tiny_corpus), 384)


def test_the_model_follows_the_challenges_recipe(tokenizer):
    assert tokenizer.vocab_size == 384
    assert tokenizer.pieces[:4] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert tokenizer.pieces[4:260] == [f"<0x{i:02X}>" for i in range(256)]
    assert tokenizer.bos == 1
    assert all(tokenizer.is_byte(i) for i in range(4, 260))
    assert [tokenizer.is_special(i) for i in range(5)] == [True] * 4 + [False]
    assert not any(len(piece) > 1 and piece.strip("▁0123456789") == "" for piece in tokenizer.pieces[260:])


def test_digits_stay_apart_and_no_prefix_is_added(tokenizer):
    pieces = [tokenizer.pieces[i] for i in tokenizer.encode(["1904 lamps"])[0]]
    assert pieces[1:5] == ["1", "9", "0", "4"]


def test_every_text_starts_with_bos_as_uint16(tokenizer):
    first, empty = tokenizer.encode(["The old clerk", ""])
    assert first.dtype == np.uint16
    assert first[0] == tokenizer.bos
    assert tokenizer.bos not in first[1:]
    assert empty.tolist() == [tokenizer.bos]


@given(st.text())
def test_tokens_decode_to_the_normalized_text(text):
    model = small_tokenizer()
    ids = model.encode([text])[0][1:].tolist()
    assert model.processor.decode(ids) == model.normalize(text)


@given(st.text())
def test_the_bytes_of_the_ids_are_what_sentencepiece_decodes(text):
    model = small_tokenizer()
    ids = model.encode([text])[0]
    assert b"".join(model.ids_to_bytes(ids)).decode() == model.processor.decode(ids.tolist())
    assert len(model.ids_to_bytes(ids)) == len(ids)


def test_special_pieces_have_no_bytes_and_byte_pieces_their_byte(tokenizer):
    assert tokenizer.ids_to_bytes(np.arange(4)) == [b""] * 4
    assert tokenizer.ids_to_bytes(np.arange(4, 260)) == [bytes([value]) for value in range(256)]
    assert tokenizer.ids_to_bytes(np.array([tokenizer.pieces.index("▁the")])) == [b" the"]


def test_a_transforms_symbols_are_pieces_of_their_own_and_nothing_else_is_changed(tiny_corpus):
    lines = [text.replace("the", "\ue001the\ue002") for text in tiny_corpus]
    model = Tokenizer(train_tokenizer(lines, 384, OPERATORS), "symbols.model")
    assert model.pieces[4:8] == list(OPERATORS)
    assert not any(set(piece) & set(OPERATORS) for piece in model.pieces[8:])
    model.require_symbols(OPERATORS)
    for text in ("a\ue001the\ue002 b", "two  spaces \n", "ﬁ h\u0331"):
        assert model.normalize(text) == text
        assert b"".join(model.ids_to_bytes(model.encode([text])[0])).decode() == text


def test_a_model_without_the_transforms_symbols_is_rejected_whatever_its_name(tokenizer):
    tokenizer.require_symbols(())
    with pytest.raises(InputError, match=r"tiny\.model: has no piece for U\+E001, U\+E002.*fetch\.transform: none"):
        tokenizer.require_symbols(OPERATORS)


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
        patch.setattr("golf.data.tokenizer.MAX_LINE_BYTES", limit)
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


def test_too_small_a_vocabulary_says_so_by_key():
    with pytest.raises(InputError, match=r"model\.vocab_size: SentencePiece can't train 262 pieces .*raise model"):
        train_tokenizer(["abcdefghijklmnopqrstuvwxyz " * 5], 262)


def test_too_little_text_says_what_to_set(tiny_corpus):
    small = Tokenizer(train_tokenizer(tiny_corpus[:2], 5000), "small.model")
    with pytest.raises(InputError, match=rf"yields a tokenizer of {small.vocab_size} pieces, not 5000.*model.vocab"):
        small.require_vocab_size(5000, is_trained=True)


def test_a_given_tokenizer_of_another_vocabulary_is_rejected_with_both_numbers(tokenizer):
    tokenizer.require_vocab_size(384)
    with pytest.raises(InputError, match=r"tiny\.model: has 384 pieces, model\.vocab_size is 1024"):
        tokenizer.require_vocab_size(1024)


def test_ids_are_read_from_the_model_and_never_assumed(tiny_corpus):
    model = Tokenizer(train_other_recipe(tiny_corpus, unk_id=0, bos_id=5, eos_id=4, pad_id=-1), "other")
    assert model.bos == 5
    assert model.encode(["The clerk"])[0][0] == 5


def test_a_file_gives_the_same_tokenizer_and_its_sha256(tokenizer, tmp_path):
    (tmp_path / "t.model").write_bytes(tokenizer.model_bytes)
    opened = Tokenizer.open(tmp_path / "t.model")
    assert opened.sha256 == hashlib.sha256(tokenizer.model_bytes).hexdigest() == tokenizer.sha256
    assert opened.pieces == tokenizer.pieces


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"byte_fallback": False, "vocab_size": 90}, "no byte fallback"),
        ({"bos_id": -1}, "no BOS id"),
    ],
)
def test_a_model_that_can_not_serve_is_rejected_by_name(tiny_corpus, changes, message):
    model = train_other_recipe(tiny_corpus, **changes)
    with pytest.raises(InputError, match=f"given\\.model: it has {message}"):
        Tokenizer(model, "given.model")


def test_a_model_without_a_lone_space_is_rejected(tiny_corpus):
    model = train_other_recipe([text.replace(" ", "") for text in tiny_corpus])
    with pytest.raises(InputError, match="no piece for a lone space"):
        Tokenizer(model, "spaceless.model")


@pytest.mark.parametrize("data", [b"", b"junk", b"\x0a\x05hello", b"\x89PNG" * 100])
def test_what_is_no_sentencepiece_model_is_rejected_by_name(tmp_path, data):
    (tmp_path / "t.model").write_bytes(data)
    with pytest.raises(InputError, match=r"t\.model: not a SentencePiece model; set fetch\.tokenizer"):
        Tokenizer.open(tmp_path / "t.model")


def test_a_model_cut_short_is_rejected(tokenizer, tmp_path):
    for size in range(1, len(tokenizer.model_bytes), len(tokenizer.model_bytes) // 60):
        with pytest.raises(InputError, match="cut"):
            Tokenizer(tokenizer.model_bytes[:size], "cut")


def test_a_missing_model_is_rejected_by_name(tmp_path):
    for path in (tmp_path / "none.model", tmp_path):
        with pytest.raises(InputError, match=r"no such tokenizer file; set fetch\.tokenizer"):
            Tokenizer.open(path)


def test_more_pieces_than_uint16_holds_are_rejected(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "vocab_size", 65537)
    assert "65,537 pieces" in tokenizer.find_incompatibility()


def test_training_is_silent(tiny_corpus, capfd):
    train_tokenizer(tiny_corpus, 384)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "vocab_size"), [("1024_bpe", 1024), ("8192_bpe", 8192), ("8192_bpe.alt_0518df93", 8192)]
)
def test_the_challenges_own_tokenizers_are_accepted(shared_data, name, vocab_size):
    tokenizer = Tokenizer.open(shared_data / "tokenizers" / f"fineweb_{name}.model")
    tokenizer.require_vocab_size(vocab_size)
    assert tokenizer.bos == 1


CACHE = {}


def small_tokenizer() -> Tokenizer:
    """One small model for the properties, which hypothesis can't take as a fixture."""
    if not CACHE:
        CACHE["model"] = Tokenizer(
            train_tokenizer(["the cat sat on the mat 12 times\n" * 3, "a bee, a tree; then he sees me"], 300), "s"
        )
    return CACHE["model"]
