"""golf/data/reading.py: what tokens can be read back to, and whether the bytes counted are of that text."""

import io

import numpy as np
import pytest
import sentencepiece

from golf.data import canonical, shards, transform
from golf.data.reading import ReadBack, read_back
from golf.data.shards import Written
from golf.data.split import digest
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer, train
from golf.ground import store
from golf.ground.errors import BadArtifact, BadInput

TEXTS = ["The cat  sat\non the Mat 12 times", "a bee, a Tree; ﬁn\u00a0É", "all small", "NASA says ABc\ue001 \u00e9", ""]
SENTENCES = [canonical.text(text) for text in TEXTS[:3]] * 4


@pytest.fixture(scope="module")
def plain():
    return Tokenizer(train(SENTENCES, 310), "plain.model")


@pytest.fixture(scope="module")
def caseops():
    change = transform.of("caseops")
    return Tokenizer(train(map(change.apply, SENTENCES), 310, change.symbols), "caseops.model")


def by_rule(**recipe):
    """A tokenizer of another recipe than ours."""
    model = io.BytesIO()
    ids = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=310,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        **ids | recipe,
    )
    return Tokenizer(model.getvalue(), "other.model")


def split(folder, tokenizer, name="none", *, sidecar=True, write=None, more=0):
    """TEXTS as a split. write: what is tokenised in place of the canonical text; more: bytes claimed beyond the real.

    The index's bytes are those of the tokens, so that nothing but reading back can find the lie.
    """
    change = transform.of(name)
    write = write or change.apply
    documents = []
    for text in map(canonical.text, TEXTS):
        ids = tokenizer.encode([write(text)])[0]
        carried = None
        if sidecar and change.carried:
            carried = change.carried(tokenizer.spell(ids))
            carried[-1] += more if len(ids) > 1 else 0
        size = ByteTable.of(tokenizer).count(ids).sum() if carried is None else carried.sum()
        known = (digest(text), digest(text), digest(canonical.folded(text)))
        documents.append(Written(*known, int(size), ids, carried))
    how = {"vocabulary": tokenizer.vocabulary, "bos": tokenizer.bos, "tokenizer_sha256": tokenizer.sha256}
    shards.write_split(folder / "val", "val", documents, shard_tokens=40, **how)
    return shards.open_split(folder / "val")


def exact(found: ReadBack) -> bool:
    size = sum(len(canonical.text(text).encode()) for text in TEXTS)
    return found == ReadBack(len(TEXTS), 0, 0, size, size, 0, None)


def test_a_plain_tokenizer_gives_the_normalised_text_back(tmp_path, plain):
    assert exact(read_back(split(tmp_path, plain), plain, "none"))


def test_caseops_gives_the_text_back_with_its_capitals_and_its_bytes(tmp_path, caseops):
    assert exact(read_back(split(tmp_path, caseops, "caseops"), caseops, "caseops"))


@pytest.mark.parametrize(
    "recipe",
    [
        {"add_dummy_prefix": True},
        {"add_dummy_prefix": False, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        {"add_dummy_prefix": True, "normalization_rule_name": "nfkc"},
    ],
)
def test_honest_tokenizers_of_other_recipes_are_not_accused(tmp_path, recipe):
    model = by_rule(**recipe)
    assert exact(read_back(split(tmp_path, model), model, "none"))


def test_a_tokenizer_that_folds_case_differs_in_case_alone(tmp_path):
    """Rules 18, #1604. Its own normaliser would fold both sides and see nothing."""
    model = by_rule(normalization_rule_name="nmt_nfkc_cf", add_dummy_prefix=False)
    found = read_back(split(tmp_path, model), model, "none")
    assert (found.differing, found.folded, found.first) == (3, 3, 0)
    assert found.miscounted == 0


def test_text_made_small_before_it_is_tokenised_differs_in_case_alone(tmp_path, plain):
    found = read_back(split(tmp_path, plain, write=str.lower), plain, "none")
    assert (found.differing, found.folded) == (3, 3)


def test_text_that_loses_more_than_its_case_is_told_apart(tmp_path, plain):
    found = read_back(split(tmp_path, plain, write=lambda text: text.replace("s", "")), plain, "none")
    assert (found.differing, found.folded, found.first) == (3, 0, 0)
    assert found.text_bytes == found.token_bytes  # the bytes are right, of a shorter text


def test_caseops_without_a_sidecar_counts_its_control_glyphs_as_text(tmp_path, caseops):
    """Rules 17, PRs #2071 and #2138: 164.6 M bytes where there are 151.1 M."""
    found = read_back(split(tmp_path, caseops, "caseops", sidecar=False), caseops, "caseops")
    assert found.differing == 0
    assert (found.miscounted, found.first) == (3, 0)
    assert found.token_bytes == found.text_bytes + 3 * (2 + 1 + 4)  # operators in each document


def test_a_sidecar_that_claims_more_bytes_is_seen_document_by_document(tmp_path, caseops):
    found = read_back(split(tmp_path, caseops, "caseops", more=1), caseops, "caseops")
    assert (found.differing, found.miscounted, found.first) == (0, 4, 0)
    assert found.token_bytes == found.text_bytes + 4


def test_a_transform_that_is_not_undone_differs(tmp_path, caseops):
    found = read_back(split(tmp_path, caseops, "caseops"), caseops, "none")
    assert (found.differing, found.folded, found.first) == (3, 0, 0)


def test_tokens_that_spell_no_text_count_as_nothing_read(tmp_path, caseops):
    broken = split(tmp_path, caseops, "caseops", write=lambda text: text and "\ue001 " + text)
    found = read_back(broken, caseops, "caseops")
    assert (found.differing, found.folded, found.miscounted, found.text_bytes) == (4, 0, 4, 0)


def test_one_wrong_document_among_many_is_named(tmp_path, plain):
    number = iter(range(len(TEXTS)))
    found = read_back(split(tmp_path, plain, write=lambda text: text + "!" * (next(number) == 2)), plain, "none")
    assert (found.documents, found.differing, found.first) == (5, 1, 2)


def test_another_tokenizer_or_an_unknown_transform_is_refused(tmp_path, plain, caseops):
    made = split(tmp_path, plain)
    with pytest.raises(BadArtifact, match="was tokenised with"):
        read_back(made, caseops, "none")
    with pytest.raises(BadInput, match="transform 'v2' is unknown"):
        read_back(made, plain, "v2")


def test_half_a_character_is_noticed(tmp_path, plain):
    made = split(tmp_path, plain)
    last = int(np.cumsum([row["tokens"] for row in made.documents])[3] - 1)
    tokens = made.all().copy()
    assert plain.is_byte(int(tokens[last]))  # of the é at its end, which no piece holds
    tokens[last] = plain.pieces.index("<0xFF>")
    digest_of_shard = shards.write_shard(tmp_path / "val" / "val_000000.bin", tokens)
    index = shards.read_index(tmp_path / "val")
    index["shards"] = [{"file": "val_000000.bin", "tokens": len(tokens), "sha256": digest_of_shard}]
    store.write_json(tmp_path / "val" / "index.json", index)
    found = read_back(shards.open_split(tmp_path / "val"), plain, "none")
    assert (found.differing, found.folded, found.first) == (1, 0, 3)
