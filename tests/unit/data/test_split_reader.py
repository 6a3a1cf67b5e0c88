"""golf/data/split_reader.py"""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import split_reader
from golf.errors import ArtifactError
from tests.helpers.random_splits import BOS, edit_index, encoded_document, random_documents, write_train_split


def test_what_is_written_is_read_back_token_for_token(tmp_path):
    index = write_train_split(tmp_path / "train")
    split = split_reader.open_split(tmp_path / "train", 300)
    want = np.concatenate([each.tokens for each in random_documents((5, 40, 7))])
    assert np.array_equal(split.read_tokens(), want)
    assert split.read_tokens().dtype == np.uint16
    assert (split.name, split.tokens, split.bytes, split.bos, split.vocab_size) == ("train", 52, 156, BOS, 300)
    assert split.documents == index["documents"]
    assert split.document_starts().tolist() == [0, 5, 45]
    assert split.token_bytes is None
    assert [len(shard) for shard in split.shards] == [16, 16, 16, 4]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 50))
def test_documents_run_over_shard_ends_and_nothing_is_lost(lengths, shard_tokens):
    parts = [each.tokens for each in random_documents(lengths)]
    made = list(split_reader.rechunk(parts, shard_tokens))
    assert np.array_equal(np.concatenate(made), np.concatenate(parts))
    assert all(len(part) == shard_tokens for part in made[:-1])
    assert 1 <= len(made[-1]) <= shard_tokens


def test_a_shard_is_the_challenges_format_to_the_byte(tmp_path):
    digest = split_reader.write_shard(tmp_path / "x.bin", np.array([1, 513], dtype=np.uint16))
    data = struct.pack("<3i", 20240520, 1, 2) + bytes(1012) + b"\x01\x00\x01\x02"
    assert (tmp_path / "x.bin").read_bytes() == data
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_document_longer_than_a_shard_is_kept_whole(tmp_path):
    write_train_split(tmp_path / "train", lengths=(3, 100, 3), shard_tokens=16)
    assert split_reader.open_split(tmp_path / "train").documents[1]["tokens"] == 100


def damaged(folder, harm):
    path = folder / "train_000001.bin"
    data = bytearray(path.read_bytes())
    if harm == "magic":
        data[0] ^= 1
    elif harm == "version":
        data[4] = 2
    elif harm == "cut short":
        data = data[:-2]
    elif harm == "half a token":
        data = data[:-1]
    elif harm == "longer":
        data += b"\0\0"
    elif harm == "absurd size":
        data[8:12] = struct.pack("<i", 2**31 - 1)
    elif harm == "negative size":
        data[8:12] = struct.pack("<i", -1)
    elif harm == "no tokens":
        data = data[:8] + bytes(4) + data[12:1024]
    elif harm == "header alone":
        data = data[:100]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("magic", "not a token shard: magic"),
        ("version", "version 2"),
        ("cut short", "16 tokens by its header, 15.0 by its size"),
        ("half a token", "15.5 by its size"),
        ("longer", "17.0 by its size"),
        ("absurd size", "2,147,483,647 tokens"),
        ("negative size", "-1 tokens"),
        ("no tokens", "0 tokens"),
        ("header alone", "1024 bytes of header, this file has 100"),
    ],
)
def test_a_malformed_shard_is_refused_by_name(tmp_path, harm, message):
    write_train_split(tmp_path / "train")
    path = damaged(tmp_path / "train", harm)
    for read in (lambda: split_reader.read_shard(path), lambda: split_reader.open_split(tmp_path / "train")):
        with pytest.raises(ArtifactError, match=message) as caught:
            read()
        assert str(path) in str(caught.value)


def test_any_flipped_bit_of_a_shard_is_seen(tmp_path):
    write_train_split(tmp_path / "train")
    path = tmp_path / "train" / "train_000002.bin"
    data = path.read_bytes()
    for place in [*range(0, 1024, 37), *range(1024, len(data))]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(ArtifactError, match="train_000002"):
            split_reader.open_split(tmp_path / "train")
    path.write_bytes(data)
    split_reader.open_split(tmp_path / "train")


def test_ids_beyond_the_vocabulary_are_refused_by_name(tmp_path):
    write_train_split(tmp_path / "train", documents=[encoded_document([1, 299, 300])])
    with pytest.raises(ArtifactError, match=r"train_000000\.bin: holds the id 300, .* below the vocabulary of 300"):
        split_reader.open_split(tmp_path / "train")


def test_the_largest_id_is_allowed(tmp_path):
    write_train_split(tmp_path / "train", documents=[encoded_document([1, 299])])
    assert split_reader.open_split(tmp_path / "train").read_tokens().tolist() == [1, 299]


def test_shards_of_another_vocabulary_are_refused(tmp_path):
    write_train_split(tmp_path / "train")
    with pytest.raises(ArtifactError, match=r"vocabulary of 300, model\.vocab_size is 512"):
        split_reader.open_split(tmp_path / "train", 512)


def test_a_missing_shard_is_named(tmp_path):
    write_train_split(tmp_path / "train")
    (tmp_path / "train" / "train_000003.bin").unlink()
    with pytest.raises(ArtifactError, match=r"train_000003\.bin: no such shard"):
        split_reader.open_split(tmp_path / "train")


def test_a_shard_of_another_run_is_refused_though_well_formed(tmp_path):
    write_train_split(tmp_path / "train")
    split_reader.write_shard(tmp_path / "train" / "train_000001.bin", np.full(16, 7, dtype=np.uint16))
    with pytest.raises(ArtifactError, match=r"train_000001\.bin: its sha256 is not the index's"):
        split_reader.open_split(tmp_path / "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 53}, "do not add up to 53"),
        ({"bytes": 1}, "bytes of its documents do not add up"),
        ({"bytes": "many"}, "bytes must be int, got 'many'"),
        ({"documents": []}, "lists no documents"),
        ({"shards": []}, "lists no shards"),
        ({"shards": [{"file": "x"}]}, r"shards\[0\]\.tokens must be int"),
        ({"shards": ["x"]}, r"shards\[0\] is no object"),
        ({"shards": [{"file": "../x.bin", "tokens": 52, "sha256": ""}]}, "outside its folder"),
        ({"vocab_size": 70_000}, "impossible"),
        ({"bos": 300}, "impossible"),
        ({"bos": 2}, "no BOS at token 0"),
        ({"split": "val"}, "is of the split 'val', not 'train'"),
        ({"sidecar": None}, "sidecar must be list"),
        ({"sidecar": [{"file": "x.bin", "tokens": 52, "sha256": ""}]}, "its sidecar is not cut as its shards are"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(tmp_path, changes, message):
    write_train_split(tmp_path / "train")
    edit_index(tmp_path / "train", **changes)
    with pytest.raises(ArtifactError, match=message) as caught:
        split_reader.open_split(tmp_path / "train")
    assert "index.json" in str(caught.value)


def test_documents_that_start_elsewhere_than_the_index_says_are_refused(tmp_path):
    index = write_train_split(tmp_path / "train")
    index["documents"][0]["tokens"] += 1
    index["documents"][1]["tokens"] -= 1
    edit_index(tmp_path / "train", documents=index["documents"])
    with pytest.raises(ArtifactError, match="no BOS at token 6"):
        split_reader.open_split(tmp_path / "train")


@pytest.mark.parametrize("key", ["text", "text_folded"])
def test_an_index_that_does_not_say_what_should_read_back_is_refused_with_the_cure(tmp_path, key):
    index = write_train_split(tmp_path / "train")
    del index["documents"][1][key]
    edit_index(tmp_path / "train", documents=index["documents"])
    with pytest.raises(ArtifactError, match=rf"documents\[1\]\.{key} must be str, got None; run fetch again"):
        split_reader.open_split(tmp_path / "train")


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"index\.json: not found"):
        split_reader.open_split(tmp_path)


def test_writing_again_leaves_no_stale_shard(tmp_path):
    write_train_split(tmp_path / "train", shard_tokens=8)
    write_train_split(tmp_path / "train", shard_tokens=30)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == [
        "index.json",
        "train_000000.bin",
        "train_000001.bin",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_writing_that_fails_leaves_the_old_split_as_it_was(tmp_path):
    write_train_split(tmp_path / "train")

    def broken():
        yield from random_documents((5, 5, 60))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_train_split(tmp_path / "train", documents=broken())
    assert split_reader.open_split(tmp_path / "train").tokens == 52
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_publishing_leaves_other_files_of_the_folder_alone(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "a").write_text("old")
    with split_reader.replace_together(tmp_path / "a", tmp_path / "b") as work:
        (work / "a").write_text("new")
        (work / "b").mkdir()
        assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "run.json"]
    assert (tmp_path / "a").read_text() == "new"


def test_the_digest_of_a_split_s_texts_is_theirs_in_their_order():
    rows = [{"text": "a"}, {"text": "b"}]
    assert split_reader.sha256_texts(rows) == split_reader.sha256_texts([{"text": "a", "bytes": 1}, {"text": "b"}])
    assert split_reader.sha256_texts(rows) != split_reader.sha256_texts(rows[::-1])
