"""golf/data/roundtrip.py: what tokens can be read back to, and whether the bytes counted are of that text."""

import io

import numpy as np
import pytest
import sentencepiece

from golf.artifacts import io as artifacts_io
from golf.data import normalize, split_reader, split_writer, transforms
from golf.data.byte_counts import TokenByteTable
from golf.data.roundtrip import RoundtripReport, check_roundtrip
from golf.data.shard_file import write_shard
from golf.data.split_writer import EncodedDocument
from golf.data.splitting import sha256_text
from golf.data.tokenization.trainer import train_tokenizer
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError

TEXTS = ["The cat  sat\non the Mat 12 times", "a bee, a Tree; ﬁn\u00a0É", "all small", "NASA says ABc\ue001 \u00e9", ""]
SENTENCES = [normalize.normalize(text) for text in TEXTS[:3]] * 4


@pytest.fixture(scope="module")
def plain_tokenizer():
    return Tokenizer(train_tokenizer(SENTENCES, 310), "plain.model")


@pytest.fixture(scope="module")
def caseops_tokenizer():
    transform = transforms.get_transform("caseops")
    return Tokenizer(train_tokenizer(map(transform.encode, SENTENCES), 310, transform.symbols), "caseops.model")


def train_other_recipe(**recipe):
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


def make_split(folder, tokenizer, name="none", *, sidecar=True, encode=None, extra_bytes=0):
    """TEXTS as a split.

    encode: applied in place of the transform's encode. extra_bytes: that the sidecar claims beyond the real ones. The
    index's bytes are those of the tokens, so only decoding can find the difference.
    """
    transform = transforms.get_transform(name)
    encode = encode or transform.encode
    documents = []
    for text in map(normalize.normalize, TEXTS):
        ids = tokenizer.encode([encode(text)])[0]
        token_bytes = None
        if sidecar and transform.count_piece_bytes:
            token_bytes = transform.count_piece_bytes(tokenizer.ids_to_bytes(ids))
            token_bytes[-1] += extra_bytes if len(ids) > 1 else 0
        n_bytes = (
            TokenByteTable.from_tokenizer(tokenizer).count_bytes(ids).sum()
            if token_bytes is None
            else token_bytes.sum()
        )
        digests = (sha256_text(text), sha256_text(text), sha256_text(normalize.casefold(text)))
        documents.append(EncodedDocument(*digests, int(n_bytes), ids, token_bytes))
    settings = {"vocab_size": tokenizer.vocab_size, "bos": tokenizer.bos, "tokenizer_sha256": tokenizer.sha256}
    split_writer.write_split(folder / "val", "val", documents, shard_tokens=40, **settings)
    return split_reader.open_split(folder / "val")


def is_exact(report: RoundtripReport) -> bool:
    size = sum(len(normalize.normalize(text).encode()) for text in TEXTS)
    return report == RoundtripReport(len(TEXTS), 0, 0, size, size, 0, None)


def test_a_plain_tokenizer_gives_the_normalized_text_back(tmp_path, plain_tokenizer):
    assert is_exact(check_roundtrip(make_split(tmp_path, plain_tokenizer), plain_tokenizer, "none"))


def test_caseops_gives_the_text_back_with_its_capitals_and_its_bytes(tmp_path, caseops_tokenizer):
    assert is_exact(check_roundtrip(make_split(tmp_path, caseops_tokenizer, "caseops"), caseops_tokenizer, "caseops"))


@pytest.mark.parametrize(
    "recipe",
    [
        {"add_dummy_prefix": True},
        {"add_dummy_prefix": False, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        {"add_dummy_prefix": True, "normalization_rule_name": "nfkc"},
    ],
)
def test_compliant_tokenizers_of_other_recipes_are_not_reported(tmp_path, recipe):
    model = train_other_recipe(**recipe)
    assert is_exact(check_roundtrip(make_split(tmp_path, model), model, "none"))


def test_a_tokenizer_that_folds_case_differs_in_case_alone(tmp_path):
    """#1604. Comparing after its own normalizer would fold both sides and find nothing."""
    model = train_other_recipe(normalization_rule_name="nmt_nfkc_cf", add_dummy_prefix=False)
    report = check_roundtrip(make_split(tmp_path, model), model, "none")
    assert (report.n_mismatch, report.n_case_only, report.first_failure) == (3, 3, 0)
    assert report.n_miscounted == 0


def test_text_made_small_before_it_is_tokenized_differs_in_case_alone(tmp_path, plain_tokenizer):
    report = check_roundtrip(make_split(tmp_path, plain_tokenizer, encode=str.lower), plain_tokenizer, "none")
    assert (report.n_mismatch, report.n_case_only) == (3, 3)


def test_text_that_loses_more_than_its_case_is_distinguished(tmp_path, plain_tokenizer):
    report = check_roundtrip(
        make_split(tmp_path, plain_tokenizer, encode=lambda text: text.replace("s", "")), plain_tokenizer, "none"
    )
    assert (report.n_mismatch, report.n_case_only, report.first_failure) == (3, 0, 0)
    assert report.text_bytes == report.token_bytes  # correct bytes, of a shorter text


def test_caseops_without_a_sidecar_counts_its_control_glyphs_as_text(tmp_path, caseops_tokenizer):
    """PRs #2071 and #2138: 164.6 M bytes where there are 151.1 M."""
    report = check_roundtrip(
        make_split(tmp_path, caseops_tokenizer, "caseops", sidecar=False), caseops_tokenizer, "caseops"
    )
    assert report.n_mismatch == 0
    assert (report.n_miscounted, report.first_failure) == (3, 0)
    assert report.token_bytes == report.text_bytes + 3 * (2 + 1 + 4)  # operators in each document


def test_a_sidecar_that_claims_more_bytes_is_seen_document_by_document(tmp_path, caseops_tokenizer):
    report = check_roundtrip(
        make_split(tmp_path, caseops_tokenizer, "caseops", extra_bytes=1), caseops_tokenizer, "caseops"
    )
    assert (report.n_mismatch, report.n_miscounted, report.first_failure) == (0, 4, 0)
    assert report.token_bytes == report.text_bytes + 4


def test_a_transform_that_is_not_undone_differs(tmp_path, caseops_tokenizer):
    report = check_roundtrip(make_split(tmp_path, caseops_tokenizer, "caseops"), caseops_tokenizer, "none")
    assert (report.n_mismatch, report.n_case_only, report.first_failure) == (3, 0, 0)


def test_tokens_that_spell_no_text_count_as_nothing_read(tmp_path, caseops_tokenizer):
    broken = make_split(tmp_path, caseops_tokenizer, "caseops", encode=lambda text: text and "\ue001 " + text)
    report = check_roundtrip(broken, caseops_tokenizer, "caseops")
    assert (report.n_mismatch, report.n_case_only, report.n_miscounted, report.text_bytes) == (4, 0, 4, 0)


def test_one_wrong_document_among_many_is_named(tmp_path, plain_tokenizer):
    number = iter(range(len(TEXTS)))
    report = check_roundtrip(
        make_split(tmp_path, plain_tokenizer, encode=lambda text: text + "!" * (next(number) == 2)),
        plain_tokenizer,
        "none",
    )
    assert (report.n_documents, report.n_mismatch, report.first_failure) == (5, 1, 2)


def test_another_tokenizer_or_an_unknown_transform_is_rejected(tmp_path, plain_tokenizer, caseops_tokenizer):
    split = make_split(tmp_path, plain_tokenizer)
    with pytest.raises(ArtifactError, match="was tokenized with"):
        check_roundtrip(split, caseops_tokenizer, "none")
    with pytest.raises(InputError, match="transform 'v2' is unknown"):
        check_roundtrip(split, plain_tokenizer, "v2")


def test_half_a_character_is_noticed(tmp_path, plain_tokenizer):
    split = make_split(tmp_path, plain_tokenizer)
    last = int(np.cumsum([row["tokens"] for row in split.documents])[3] - 1)
    tokens = split.read_tokens().copy()
    assert plain_tokenizer.is_byte(int(tokens[last]))  # of the é at its end, which no piece holds
    tokens[last] = plain_tokenizer.pieces.index("<0xFF>")
    shard_sha256 = write_shard(tmp_path / "val" / "val_000000.bin", tokens)
    index = split_reader.read_index(tmp_path / "val")
    index["shards"] = [{"file": "val_000000.bin", "tokens": len(tokens), "sha256": shard_sha256}]
    artifacts_io.write_json(tmp_path / "val" / "index.json", index)
    report = check_roundtrip(split_reader.open_split(tmp_path / "val"), plain_tokenizer, "none")
    assert (report.n_mismatch, report.n_case_only, report.first_failure) == (1, 0, 3)
