"""golf/data/split_writer.py"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import split_reader, split_writer
from tests.helpers.random_splits import BOS, random_documents, write_train_split


def test_what_is_written_is_read_back_token_for_token(tmp_path):
    index = write_train_split(tmp_path / "train")
    split = split_reader.open_split(tmp_path / "train", 300)
    expected = np.concatenate([document.tokens for document in random_documents((5, 40, 7))])
    assert np.array_equal(split.read_tokens(), expected)
    assert split.read_tokens().dtype == np.uint16
    assert (split.name, split.n_tokens, split.n_bytes, split.bos, split.vocab_size) == ("train", 52, 156, BOS, 300)
    assert split.documents == index["documents"]
    assert split.find_document_starts().tolist() == [0, 5, 45]
    assert split.token_bytes is None
    assert [len(shard) for shard in split.shards] == [16, 16, 16, 4]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 50))
def test_rechunk_loses_nothing_and_only_the_last_chunk_is_shorter(lengths, chunk_length):
    arrays = [document.tokens for document in random_documents(lengths)]
    chunks = list(split_writer.rechunk(arrays, chunk_length))
    assert np.array_equal(np.concatenate(chunks), np.concatenate(arrays))
    assert all(len(chunk) == chunk_length for chunk in chunks[:-1])
    assert 1 <= len(chunks[-1]) <= chunk_length


def test_a_document_longer_than_a_shard_is_kept_whole(tmp_path):
    write_train_split(tmp_path / "train", lengths=(3, 100, 3), shard_tokens=16)
    assert split_reader.open_split(tmp_path / "train").documents[1]["tokens"] == 100


def test_a_sidecar_is_cut_as_the_shards_are_and_read_back_byte_for_byte(tmp_path):
    index = write_train_split(tmp_path / "train", sidecar=True)
    split = split_reader.open_split(tmp_path / "train")
    documents = list(random_documents((5, 40, 7), sidecar=True))
    assert np.array_equal(split.read_tokens(), np.concatenate([document.tokens for document in documents]))
    expected = np.concatenate([document.token_bytes for document in documents])
    assert np.array_equal(np.concatenate(split.token_bytes), expected)
    assert [len(shard) for shard in split.token_bytes] == [len(shard) for shard in split.shards] == [16, 16, 16, 4]
    assert [row["file"] for row in index["sidecar"]] == [f"train_bytes_{number:06d}.bin" for number in range(4)]
    assert all(split_reader.is_sidecar(row["file"]) for row in index["sidecar"])
    assert not any(split_reader.is_sidecar(row["file"]) for row in index["shards"])


def test_writing_again_leaves_no_stale_shard(tmp_path):
    write_train_split(tmp_path / "train", shard_tokens=8)
    write_train_split(tmp_path / "train", shard_tokens=30)
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == ["index.json", "train_000000.bin", "train_000001.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_writing_that_fails_leaves_the_old_split_unchanged(tmp_path):
    write_train_split(tmp_path / "train")

    def interrupted_documents():
        yield from random_documents((5, 5, 60))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_train_split(tmp_path / "train", documents=interrupted_documents())
    assert split_reader.open_split(tmp_path / "train").n_tokens == 52
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
