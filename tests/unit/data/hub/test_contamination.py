"""golf/data/hub/contamination.py"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import overlap, split_reader, transforms
from golf.data.contamination import find_clean_targets
from golf.data.eval_stream import EvalStream
from golf.data.hub import contamination, dedup
from golf.data.hub import prepare as hub_prepare
from golf.data.hub.dedup import DocumentIndex
from golf.data.hub.splits import HubSplits, make_byte_counter
from golf.data.overlap import find_runs, mark_overlapping
from golf.data.tokenizer import Tokenizer
from tests.helpers.hub_exports import VOCAB_SIZE, fetch_config, hub_config, make_caseops_export, make_export
from tests.helpers.hub_server import FakeHub


@pytest.fixture(params=["none", "caseops"])
def exported(request, tmp_path, monkeypatch):
    """The data set of a small export with a document of val in train, built block by block, and its transform."""
    monkeypatch.setattr(dedup, "BLOCK_TOKENS", 300)
    monkeypatch.chdir(tmp_path)
    export = make_caseops_export() if request.param == "caseops" else make_export(repeated_val=(3,))
    variant = "sp384_caseops" if request.param == "caseops" else "sp384"
    with FakeHub(export.files).serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = hub_prepare.build_dataset(
            fetch_config(contamination=True, transform=request.param),
            hub_config(variant=variant, train_shards=export.n_train_shards),
            VOCAB_SIZE,
            Path("out"),
        )
    return manifest, transforms.get_transform(request.param)


def read_texts(name, transform):
    split, tokenizer = split_reader.open_split(Path("out") / name), Tokenizer.open("out/tokenizer.model")
    ids = split.read_tokens()
    documents = np.split(ids, np.flatnonzero(ids == split.bos)[1:])
    return [transform.decode_pieces(tokenizer.ids_to_bytes(document)).encode() for document in documents]


def test_covered_ranges_are_those_of_the_decoded_texts_of_the_documents_that_stay_in_train(exported):
    manifest, transform = exported
    train_texts = read_texts("train", transform)
    for name in ("dev", "val"):
        index = split_reader.read_index(Path("out") / name)
        texts = read_texts(name, transform)
        ranges = overlap.find_covered_ranges(texts, train_texts)
        assert [row["covered"] for row in index["documents"]] == [list(map(list, rows)) for rows in ranges]
        share = sum(stop - start for rows in ranges for start, stop in rows) / sum(map(len, texts))
        assert 0 < share < 1
        assert manifest["splits"][name]["contamination"] == pytest.approx(share, abs=1e-12)
    assert manifest["splits"]["train"]["contamination"] is None
    split = split_reader.open_split("out/val")
    is_clean = EvalStream.from_split(split, Tokenizer.open("out/tokenizer.model")).is_clean
    assert 0 < is_clean.sum() < len(is_clean)


def test_what_is_not_measured_is_null_and_absent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeHub(make_export().files).serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = hub_prepare.build_dataset(fetch_config(contamination=False), hub_config(), VOCAB_SIZE, Path("out"))
    assert {row["contamination"] for row in manifest["splits"].values()} == {None}
    split = split_reader.open_split("out/val")
    assert not any("covered" in row for row in split.documents)
    assert EvalStream.from_split(split, Tokenizer.open("out/tokenizer.model")).is_clean is None


def cover(tokenizer, train, val, token_bytes=None):
    """Covered ranges of val's documents; train, val: texts, or ids where a text has no tokens of its own."""
    train, val = (
        DocumentIndex.from_shards([np.concatenate([as_ids(tokenizer, row) for row in rows])], tokenizer.bos)[0]
        for rows in (train, val)
    )
    transform = transforms.get_transform("none")
    if token_bytes is None:
        counts = map(make_byte_counter(tokenizer, transform), map(val.read_document, range(len(val))))
        token_bytes = np.concatenate(list(counts))
    export_splits = HubSplits([], train, np.zeros(0, dtype=np.int64))
    return contamination.find_covered_ranges(export_splits, val, token_bytes, tokenizer, transform)["val"]


def as_ids(tokenizer, row):
    return tokenizer.encode([row])[0] if isinstance(row, str) else np.array([tokenizer.bos, *row], dtype=np.uint16)


@pytest.fixture(scope="module")
def tokenizer():
    return make_export().tokenizer


SHARED = "Sixty-four bytes of this sentence, é and ü and 日本 among them, stand in both."


def test_multi_byte_characters_count_as_their_bytes(tokenizer):
    n_bytes = len(SHARED.encode())
    assert cover(tokenizer, [f"Before {SHARED}"], [f"日 {SHARED} 本", "Nothing."]) == [[(3, 4 + n_bytes)], []]


def test_documents_are_apart(tokenizer):
    assert cover(tokenizer, [SHARED[:40], SHARED[40:]], [SHARED]) == [[]]
    assert cover(tokenizer, [SHARED], [SHARED[:40], SHARED[40:]]) == [[], []]


def test_a_byte_of_white_space_counts_as_a_space(tokenizer):
    ids = as_ids(tokenizer, SHARED)[1:].tolist()
    newline, space = tokenizer.pieces.index("<0x0A>"), tokenizer.pieces.index("\u2581")
    assert cover(tokenizer, [[*ids, newline, *ids]], [[*ids, space, *ids]]) == [[(0, 2 * len(SHARED.encode()) + 1)]]


def test_the_space_of_a_dummy_prefix_is_no_text(tokenizer):
    ids, space = as_ids(tokenizer, SHARED)[1:].tolist(), tokenizer.pieces.index("\u2581")
    assert cover(tokenizer, [f"Before {SHARED}"], [[space, *ids]]) == [[(0, len(SHARED.encode()))]]


def test_where_a_sidecar_counts_other_bytes_the_same_targets_are_clean(tokenizer):
    text = f"Own. {SHARED}"
    exact = make_byte_counter(tokenizer, transforms.get_transform("none"))(as_ids(tokenizer, text))
    raw = exact.copy()
    raw[[2, -2]] += 3  # white space of the raw text that no token decodes to
    expected, found = (
        find_clean_targets(
            [{"bytes": int(counts.sum()), "covered": cover(tokenizer, [SHARED], [text], counts)[0]}], counts[1:]
        )
        for counts in (exact, raw)
    )
    assert found.tolist() == expected.tolist()
    assert 0 < expected.sum() < len(expected)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15), st.integers(0, 6)), min_size=1, max_size=12))
def test_aligned_ranges_cover_the_tokens_that_the_ranges_of_the_text_cover(targets):
    masks = [[bool(bits >> i & 1) for i in range(n_bytes)] for n_bytes, bits, _ in targets]
    ranges = find_runs(np.array([is_covered for mask in masks for is_covered in mask], dtype=bool))
    text_bytes, counted = np.array([len(mask) for mask in masks]), np.array([count for *_, count in targets])
    stops = np.cumsum(counted)
    found = mark_overlapping(contamination._align(ranges, text_bytes, counted), stops - counted, stops)
    assert found.tolist() == [any(mask) and count > 0 for mask, count in zip(masks, counted, strict=True)]
