"""golf/data/tokenizer.py"""

import hashlib
import io
import os

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from golf.data import normalize
from golf.data import tokenizer as tokenizer_module
from golf.data.caseops import OPERATORS
from golf.data.tokenization.trainer import train_tokenizer
from golf.data.tokenizer import Tokenizer
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


def test_a_model_without_the_transforms_symbols_is_rejected_whatever_its_name(tokenizer):
    tokenizer.require_symbols(())
    with pytest.raises(InputError, match=r"tiny\.model: has no piece for U\+E001, U\+E002.*fetch\.transform: none"):
        tokenizer.require_symbols(OPERATORS)


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


def test_a_file_that_is_no_model_file_is_rejected_by_name_and_never_read(tmp_path, tokenizer, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large.model").write_bytes(tokenizer.model_bytes)
    monkeypatch.setattr(tokenizer_module, "_MAX_FILE_BYTES", len(tokenizer.model_bytes) - 1)
    for path, problem in (
        (tmp_path / "none.model", "no such tokenizer file"),
        (tmp_path, "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
        (tmp_path / "large.model", rf"{len(tokenizer.model_bytes):,} bytes, a tokenizer has at most [0-9,]+"),
        (tmp_path / "large.model" / "a.model", r"can't be read \(Not a directory\)"),
        (tmp_path / ("n" * 300), r"can't be read \(File name too long\)"),
        ("a\0b", r"can't be read \(embedded null byte\)"),
    ):
        with pytest.raises(InputError, match=rf": {problem}; set fetch\.tokenizer"):
            Tokenizer.open(path)


def test_more_pieces_than_uint16_holds_are_rejected(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "vocab_size", 65537)
    assert "65,537 pieces" in tokenizer.find_incompatibility()


@pytest.mark.parametrize(
    ("name", "vocab_size"), [("1024_bpe", 1024), ("8192_bpe", 8192), ("8192_bpe.alt_0518df93", 8192)]
)
def test_the_challenges_own_tokenizers_are_accepted(shared_data, name, vocab_size):
    tokenizer = Tokenizer.open(shared_data / "tokenizers" / f"fineweb_{name}.model")
    tokenizer.require_vocab_size(vocab_size)
    assert tokenizer.bos == 1


@pytest.mark.parametrize("rule", ["nmt_nfkc_cf", "nfkc_cf"])
def test_a_normalizer_that_folds_case_is_rejected_by_name(tiny_corpus, rule):
    """PRs #1578, #1604: the tokens would decode to another text than the one whose bytes are counted."""
    model = Tokenizer(train_other_recipe(tiny_corpus, normalization_rule_name=rule), "folding.model")
    with pytest.raises(
        InputError, match=r"folding\.model: its normalizer changes 'A' to 'a', .* nmt_nfkc .*; set fetch"
    ):
        model.require_text_unchanged()


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc", "identity"])
@pytest.mark.parametrize("prefix", [True, False])
def test_a_normalizer_that_leaves_normalized_text_alone_is_accepted(tiny_corpus, rule, prefix):
    model = train_other_recipe(tiny_corpus, normalization_rule_name=rule, add_dummy_prefix=prefix)
    Tokenizer(model, "other.model").require_text_unchanged()


@pytest.mark.parametrize("name", ["1024_bpe", "8192_bpe", "8192_bpe_lossless_caps_caseops_v1_reserved"])
def test_the_challenges_normalizers_are_accepted(shared_data, name):
    Tokenizer.open(shared_data / "tokenizers" / f"fineweb_{name}.model").require_text_unchanged()


OTHER_RECIPES = {
    "recipe": {},
    "prefix": {"add_dummy_prefix": True},
    "identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "phrases": {"split_by_whitespace": False},
    "phrases, prefix": {"split_by_whitespace": False, "add_dummy_prefix": True},
    "space last": {"treat_whitespace_as_suffix": True},
    "symbols": {"user_defined_symbols": ["he l", "t,", "a", "\ue001", "漢字"]},
    "characters": {"model_type": "char"},
    "unigram": {"model_type": "unigram", "vocab_size": 300},
}
HARD = "aeht TS.,12 \n\t漢字가か\u1161\u0301\u0344\u0331\u3099é😀\u200d\ue001ﬁ\u00a0"


@pytest.mark.parametrize("recipe", OTHER_RECIPES)
@given(text=st.one_of(st.text(HARD, max_size=60), st.text(max_size=40), st.text("he lat,漢字 ", max_size=80)))
def test_a_text_encoded_in_pieces_has_the_ids_that_it_has_as_a_whole(recipe, text):
    model, text = other_model(recipe), normalize.normalize(text)
    whole = [model.bos, *model.processor.encode(text)]
    for size in (1, 3, 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tokenizer_module, "_PIECE_CHARS", size)
            patch.setattr(tokenizer_module, "_BATCH_PIECES", 3)
            assert [ids.tolist() for ids in model.encode(["", text, "he"])][1] == whole


def test_long_texts_are_cut_where_no_piece_spans_the_cut():
    for recipe, is_cut in {"recipe": True, "phrases": True, "symbols": True, "unigram": False}.items():
        model, text = other_model(recipe), "the 12 cats, 漢 sat on a mat. " * 2000
        pieces = [piece for _, piece in model._iter_pieces(text)]
        assert "".join(pieces) == text
        assert (len(pieces) > 5) == is_cut


CACHE = {}


def other_model(recipe: str) -> Tokenizer:
    """A small model by another recipe, which hypothesis can't take as a fixture."""
    if recipe not in CACHE:
        texts = ["the cat sat on the mat 12 times, he later left\n" * 9, "he la, t, a bee é 漢字 S\nhe l a tree"] * 3
        CACHE[recipe] = Tokenizer(train_other_recipe(texts, **{"vocab_size": 330} | OTHER_RECIPES[recipe]), recipe)
    return CACHE[recipe]


def small_tokenizer() -> Tokenizer:
    """One small model for the properties, which hypothesis can't take as a fixture."""
    if not CACHE:
        CACHE["model"] = Tokenizer(
            train_tokenizer(["the cat sat on the mat 12 times\n" * 3, "a bee, a tree; then he sees me"], 300), "s"
        )
    return CACHE["model"]
