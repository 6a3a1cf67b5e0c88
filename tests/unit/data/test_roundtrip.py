"""golf/data/roundtrip.py: what tokens can be read back to, and whether the bytes counted are of that text."""

import io

import numpy as np
import pytest
import sentencepiece

from golf.artifacts import io as artifacts_io
from golf.data import normalize, split_reader, transforms
from golf.data.byte_counts import TokenByteTable
from golf.data.roundtrip import RoundtripReport, check_roundtrip
from golf.data.split_reader import EncodedDocument
from golf.data.splitting import sha256_text
from golf.data.tokenizer import Tokenizer, train_model
from golf.errors import ArtifactError, InputError

TEXTS = ["The cat  sat\non the Mat 12 times", "a bee, a Tree; ﬁn\u00a0É", "all small", "NASA says ABc\ue001 \u00e9", ""]
SENTENCES = [normalize.normalize(text) for text in TEXTS[:3]] * 4


@pytest.fixture(scope="module")
def plain_tokenizer():
    return Tokenizer(train_model(SENTENCES, 310), "plain.model")


@pytest.fixture(scope="module")
def caseops_tokenizer():
    change = transforms.get_transform("caseops")
    return Tokenizer(train_model(map(change.encode, SENTENCES), 310, change.symbols), "caseops.model")


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
    change = transforms.get_transform(name)
    write = write or change.encode
    documents = []
    for text in map(normalize.normalize, TEXTS):
        ids = tokenizer.encode([write(text)])[0]
        carried = None
        if sidecar and change.count_piece_bytes:
            carried = change.count_piece_bytes(tokenizer.ids_to_bytes(ids))
            carried[-1] += more if len(ids) > 1 else 0
        size = TokenByteTable.from_tokenizer(tokenizer).count_bytes(ids).sum() if carried is None else carried.sum()
        known = (sha256_text(text), sha256_text(text), sha256_text(normalize.casefold(text)))
        documents.append(EncodedDocument(*known, int(size), ids, carried))
    how = {"vocab_size": tokenizer.vocab_size, "bos": tokenizer.bos, "tokenizer_sha256": tokenizer.sha256}
    split_reader.write_split(folder / "val", "val", documents, shard_tokens=40, **how)
    return split_reader.open_split(folder / "val")


def exact(found: RoundtripReport) -> bool:
    size = sum(len(normalize.normalize(text).encode()) for text in TEXTS)
    return found == RoundtripReport(len(TEXTS), 0, 0, size, size, 0, None)


def test_a_plain_tokenizer_gives_the_normalised_text_back(tmp_path, plain_tokenizer):
    assert exact(check_roundtrip(split(tmp_path, plain_tokenizer), plain_tokenizer, "none"))


def test_caseops_gives_the_text_back_with_its_capitals_and_its_bytes(tmp_path, caseops_tokenizer):
    assert exact(check_roundtrip(split(tmp_path, caseops_tokenizer, "caseops"), caseops_tokenizer, "caseops"))


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
    assert exact(check_roundtrip(split(tmp_path, model), model, "none"))


def test_a_tokenizer_that_folds_case_differs_in_case_alone(tmp_path):
    """Rules 18, #1604. Its own normaliser would fold both sides and see nothing."""
    model = by_rule(normalization_rule_name="nmt_nfkc_cf", add_dummy_prefix=False)
    found = check_roundtrip(split(tmp_path, model), model, "none")
    assert (found.n_mismatch, found.n_case_only, found.first_failure) == (3, 3, 0)
    assert found.n_miscounted == 0


def test_text_made_small_before_it_is_tokenised_differs_in_case_alone(tmp_path, plain_tokenizer):
    found = check_roundtrip(split(tmp_path, plain_tokenizer, write=str.lower), plain_tokenizer, "none")
    assert (found.n_mismatch, found.n_case_only) == (3, 3)


def test_text_that_loses_more_than_its_case_is_told_apart(tmp_path, plain_tokenizer):
    found = check_roundtrip(
        split(tmp_path, plain_tokenizer, write=lambda text: text.replace("s", "")), plain_tokenizer, "none"
    )
    assert (found.n_mismatch, found.n_case_only, found.first_failure) == (3, 0, 0)
    assert found.text_bytes == found.token_bytes  # the bytes are right, of a shorter text


def test_caseops_without_a_sidecar_counts_its_control_glyphs_as_text(tmp_path, caseops_tokenizer):
    """Rules 17, PRs #2071 and #2138: 164.6 M bytes where there are 151.1 M."""
    found = check_roundtrip(split(tmp_path, caseops_tokenizer, "caseops", sidecar=False), caseops_tokenizer, "caseops")
    assert found.n_mismatch == 0
    assert (found.n_miscounted, found.first_failure) == (3, 0)
    assert found.token_bytes == found.text_bytes + 3 * (2 + 1 + 4)  # operators in each document


def test_a_sidecar_that_claims_more_bytes_is_seen_document_by_document(tmp_path, caseops_tokenizer):
    found = check_roundtrip(split(tmp_path, caseops_tokenizer, "caseops", more=1), caseops_tokenizer, "caseops")
    assert (found.n_mismatch, found.n_miscounted, found.first_failure) == (0, 4, 0)
    assert found.token_bytes == found.text_bytes + 4


def test_a_transform_that_is_not_undone_differs(tmp_path, caseops_tokenizer):
    found = check_roundtrip(split(tmp_path, caseops_tokenizer, "caseops"), caseops_tokenizer, "none")
    assert (found.n_mismatch, found.n_case_only, found.first_failure) == (3, 0, 0)


def test_tokens_that_spell_no_text_count_as_nothing_read(tmp_path, caseops_tokenizer):
    broken = split(tmp_path, caseops_tokenizer, "caseops", write=lambda text: text and "\ue001 " + text)
    found = check_roundtrip(broken, caseops_tokenizer, "caseops")
    assert (found.n_mismatch, found.n_case_only, found.n_miscounted, found.text_bytes) == (4, 0, 4, 0)


def test_one_wrong_document_among_many_is_named(tmp_path, plain_tokenizer):
    number = iter(range(len(TEXTS)))
    found = check_roundtrip(
        split(tmp_path, plain_tokenizer, write=lambda text: text + "!" * (next(number) == 2)), plain_tokenizer, "none"
    )
    assert (found.n_documents, found.n_mismatch, found.first_failure) == (5, 1, 2)


def test_another_tokenizer_or_an_unknown_transform_is_refused(tmp_path, plain_tokenizer, caseops_tokenizer):
    made = split(tmp_path, plain_tokenizer)
    with pytest.raises(ArtifactError, match="was tokenised with"):
        check_roundtrip(made, caseops_tokenizer, "none")
    with pytest.raises(InputError, match="transform 'v2' is unknown"):
        check_roundtrip(made, plain_tokenizer, "v2")


def test_half_a_character_is_noticed(tmp_path, plain_tokenizer):
    made = split(tmp_path, plain_tokenizer)
    last = int(np.cumsum([row["tokens"] for row in made.documents])[3] - 1)
    tokens = made.read_tokens().copy()
    assert plain_tokenizer.is_byte(int(tokens[last]))  # of the é at its end, which no piece holds
    tokens[last] = plain_tokenizer.pieces.index("<0xFF>")
    digest_of_shard = split_reader.write_shard(tmp_path / "val" / "val_000000.bin", tokens)
    index = split_reader.read_index(tmp_path / "val")
    index["shards"] = [{"file": "val_000000.bin", "tokens": len(tokens), "sha256": digest_of_shard}]
    artifacts_io.write_json(tmp_path / "val" / "index.json", index)
    found = check_roundtrip(split_reader.open_split(tmp_path / "val"), plain_tokenizer, "none")
    assert (found.n_mismatch, found.n_case_only, found.first_failure) == (1, 0, 3)
