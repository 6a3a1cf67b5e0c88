"""golf/data/byte_counts.py: bytes are counted in one place and checked against the text."""

import io
import json
import lzma

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from golf.data import byte_counts, normalize
from golf.data.byte_counts import TokenByteTable, count_and_verify
from golf.data.tokenization.trainer import train_tokenizer
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError


def train_other_recipe(texts, **changes):
    """A tokenizer trained by another recipe than the challenge's."""
    model = io.BytesIO()
    recipe = {"vocab_size": 360, "model_type": "bpe", "byte_fallback": True, "bos_id": 1, "unk_id": 0, "eos_id": 2}
    recipe |= {"hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=model, **recipe | changes)
    return Tokenizer(model.getvalue(), "other.model")


SENTENCES = ["the cat sat on the mat 12 times", "a bee, a tree; then he sees me", "Zwei Käfer über der Tür"] * 3
CACHE = {}


def tokenizer() -> Tokenizer:
    """One small model for the properties, which hypothesis can't take as a fixture."""
    if not CACHE:
        CACHE["model"] = Tokenizer(train_tokenizer(SENTENCES, 340), "small.model")
        CACHE["table"] = TokenByteTable.from_tokenizer(CACHE["model"])
    return CACHE["model"]


def counted(model, *texts):
    """Bytes of each text by the rule, verified against the text once it is normalized."""
    normalized = [normalize.normalize(text) for text in texts]
    return count_and_verify(model, model.encode(normalized), normalized, [repr(text) for text in texts]).tolist()


def count_token_by_token(model, tokens):
    """The rule once more, token by token, as the challenge states it."""
    sizes = []
    for previous, target in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        piece, is_special = model.processor.id_to_piece(target), model.is_special(target)
        if is_special:
            sizes.append(0)
        elif model.processor.is_byte(target):
            sizes.append(1)
        else:
            has_space = piece.startswith("▁")
            sizes.append(len(piece[1 if has_space else 0 :].encode()) + (has_space and not model.is_special(previous)))
    return sizes


@pytest.mark.parametrize("first", [0, 0x20, 0x80, 0xC0, 0xE0, 0xF0])
def test_every_byte_value_counts_as_one(first):
    model = tokenizer()
    table = TokenByteTable.from_tokenizer(model)
    last = {0: 0x20, 0x20: 0x80, 0x80: 0xC0, 0xC0: 0xE0, 0xE0: 0xF0, 0xF0: 0x100}[first]
    ids = [model.pieces.index(f"<0x{value:02X}>") for value in range(first, last)]
    stream = np.array([model.bos, *ids], dtype=np.uint16)
    assert table.count_bytes(stream).tolist() == [1] * len(ids)
    assert not table.is_boundary[ids].any()


def test_every_character_that_unicode_has_is_counted_exactly():
    """1,112,064 of them, 997 a document. UTF-8 writes all bytes in them but C0, C1 and F5 to FF."""
    model, seen = tokenizer(), set()
    letters = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    texts = ["".join(letters[i : i + 997]) for i in range(0, len(letters), 997)]
    for start in range(0, len(texts), 100):
        batch = [normalize.normalize(text) for text in texts[start : start + 100]]
        tokens = model.encode(batch)
        count_and_verify(model, tokens, batch, [f"from {start + number} × 997" for number in range(len(batch))])
        seen.update(np.unique(np.concatenate(tokens)).tolist())
    bytes_seen = {int(model.pieces[i][3:5], 16) for i in seen if model.is_byte(i)}
    assert bytes_seen >= {*range(0x80, 0xC0), *range(0xC2, 0xF5)}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("cat", 3),
        ("the cat", 7),
        ("the  cat", 7),  # space runs become one
        ("  the cat  ", 7),  # none is left at the ends
        ("the\n\n\tcat", 7),
        ("\u3000the\u00a0cat", 7),
        ("▁the▁cat", 7),  # SentencePiece reads its own sign as a space
        ("😀", 4),
        (" 😀 😀", 9),
        ("👩‍👩‍👧", 18),
        ("é", 2),
        ("e\u0301", 2),  # composed
        ("\ufb01n", 3),  # a ligature taken apart
        ("\x00", 1),
        ("\ufeff", 0),  # dropped by the normalizer
        ("<s></s><unk><0x41>", 18),  # written, not meant
    ],
)
def test_sizes_that_one_can_count_by_hand(text, size):
    assert counted(tokenizer(), text) == [size]


SPACED_TEXT = st.text(alphabet="ab ▁the\n\u00a0é😀12\u200d\u0301", max_size=40)


@given(st.lists(st.text(), max_size=5) | st.lists(SPACED_TEXT, max_size=4))
@example([" "])
@example(["\u2581", " \u2581 a"])
@example(["a ", " b"])
@example(["\ud7a3 \U0010ffff\u0301"])
def test_any_text_is_counted_exactly_and_its_spaces_once_wherever_they_stand(texts):
    counted(tokenizer(), *texts)


@given(st.lists(st.integers(0, 339), min_size=1, max_size=60))
def test_the_table_is_the_rule_by_the_letter_for_any_ids(ids):
    model = tokenizer()
    stream = np.array(ids, dtype=np.uint16) % model.vocab_size
    sizes = CACHE["table"].count_bytes(stream)
    assert sizes.dtype == np.int64
    assert sizes.tolist() == count_token_by_token(model, stream)


def test_documents_in_a_row_count_as_each_alone():
    model = tokenizer()
    texts = [" the cat", "sat ", "", "on\nthe mat"]
    tokens = model.encode([normalize.normalize(text) for text in texts])
    apart = sum(counted(model, *texts))
    assert CACHE["table"].count_bytes(np.concatenate(tokens)).sum() == apart


def test_the_space_after_a_document_start_is_free_and_any_other_costs_one():
    model = tokenizer()
    the, bos = model.pieces.index("▁the"), model.bos
    stream = np.array([bos, the, the, bos, the], dtype=np.uint16)
    assert CACHE["table"].count_bytes(stream).tolist() == [3, 4, 0, 3]


def test_a_space_is_one_byte_and_not_three():
    model = tokenizer()
    space = model.pieces.index("▁")
    assert CACHE["table"].count_bytes(np.array([space, space, space])).tolist() == [1, 1]


@pytest.mark.parametrize(
    "recipe",
    [
        {"add_dummy_prefix": True},
        {"add_dummy_prefix": False, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        {"add_dummy_prefix": True, "normalization_rule_name": "nfkc"},
    ],
)
def test_models_of_other_recipes_are_counted_exactly_too(recipe):
    model = train_other_recipe(SENTENCES, **recipe)
    for text in ("the cat", " the cat", "  the  cat ", "▁x", "😀 é", "a\u00a0b\tc"):
        counted(model, text)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ({"treat_whitespace_as_suffix": True}, "the cat sat"),
        (
            {
                "allow_whitespace_only_pieces": True,
                "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False,
            },
            "def f    x    y",
        ),
    ],
)
def test_a_tokenizer_that_the_rule_miscounts_is_rejected_naming_the_document(recipe, text):
    model = train_other_recipe(
        ["the cat sat on the mat", "def f    x    y    z    u"] * 9, add_dummy_prefix=False, **recipe
    )
    with pytest.raises(InputError, match=r"mine\.txt: its tokens stand for .* other\.model does not fit the rule"):
        count_and_verify(model, model.encode(["cat", text]), ["cat", text], ["first.txt", "mine.txt"])


def test_tokens_of_another_text_are_noticed():
    model = tokenizer()
    for text, place in (("cats", "nothing instead of 's' at byte 3"), ("ca", "'t' instead of nothing at byte 2")):
        with pytest.raises(InputError, match=rf"a\.txt: its tokens decode to {place}: small\.model changes the text"):
            count_and_verify(model, model.encode(["cat"]), [text], ["a.txt"])


@pytest.mark.parametrize("rule", ["nmt_nfkc_cf", "nfkc_cf"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("the Cat", "'cat' instead of 'Cat' at byte 4"),  # as many bytes
        ("Ⱥ" * 10, "'ⱥ.*' instead of 'Ⱥ.*' at byte 0"),  # 20 bytes, folded 30
        ("a STRAẞE", "'straße' instead of 'STRAẞE' at byte 2"),  # 10 bytes, folded 9
    ],
)
def test_a_tokenizer_that_folds_case_is_rejected_naming_the_document(rule, text, place):
    """PRs #1578, #1604: bytes of folded text are not those of the text."""
    model = train_other_recipe(SENTENCES, normalization_rule_name=rule, add_dummy_prefix=False)
    with pytest.raises(InputError, match=rf"mine\.txt: its tokens decode to {place}: other\.model changes .* nmt_nfkc"):
        count_and_verify(model, model.encode(["a cat", text]), ["a cat", text], ["first.txt", "mine.txt"])


def test_a_long_document_is_counted_and_compared_over_the_edges_of_blocks(monkeypatch):
    model, text = tokenizer(), "the cat sat 😀 on the mat"
    expected = counted(model, text)
    for block in range(1, 9):
        monkeypatch.setattr(byte_counts, "_BLOCK_TOKENS", block)
        assert counted(model, text) == expected == [27]
        with pytest.raises(InputError, match="'t' instead of 'd' at byte 26"):
            count_and_verify(model, model.encode([text]), [text[:-1] + "d"], ["a.txt"])


def real_documents(shared_data):
    packed = (shared_data / "fineweb_docs200" / "verify_docs.jsonl.xz").read_bytes()
    return [json.loads(line)["text"] for line in lzma.decompress(packed).splitlines()]


@pytest.mark.parametrize("name", ["1024_bpe", "8192_bpe", "8192_bpe.alt_0518df93"])
def test_fineweb_bytes_agree_with_the_published_figure(shared_data, name):
    model = Tokenizer.open(shared_data / "tokenizers" / f"fineweb_{name}.model")
    texts = [normalize.normalize(raw) for raw in real_documents(shared_data)]
    sizes = count_and_verify(model, model.encode(texts), texts, list(map(str, range(200))))
    assert (len(texts), sizes.sum()) == (200, 1_489_418)
