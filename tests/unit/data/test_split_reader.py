"""golf/data/split_reader.py"""

import dataclasses
import struct

import numpy as np
import pytest

from golf.data import split_reader
from golf.data.shard_file import read_shard, write_shard
from golf.errors import ArtifactError
from tests.helpers.random_splits import edit_index, encoded_document, write_train_split


def damage_shard(folder, damage):
    path = folder / "train_000001.bin"
    data = bytearray(path.read_bytes())
    if damage == "magic":
        data[0] ^= 1
    elif damage == "version":
        data[4] = 2
    elif damage == "truncated":
        data = data[:-2]
    elif damage == "half a token":
        data = data[:-1]
    elif damage == "longer":
        data += b"\0\0"
    elif damage == "absurd size":
        data[8:12] = struct.pack("<i", 2**31 - 1)
    elif damage == "negative size":
        data[8:12] = struct.pack("<i", -1)
    elif damage == "no tokens":
        data = data[:8] + bytes(4) + data[12:1024]
    elif damage == "header alone":
        data = data[:100]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("magic", "not a token shard: magic"),
        ("version", "version 2"),
        ("truncated", "header says 16 tokens, its size 15.0"),
        ("half a token", "its size 15.5"),
        ("longer", "its size 17.0"),
        ("absurd size", "2,147,483,647 tokens"),
        ("negative size", "-1 tokens"),
        ("no tokens", "0 tokens"),
        ("header alone", "header of 1024 bytes, this file has 100"),
    ],
)
def test_a_malformed_shard_is_rejected_by_name(tmp_path, damage, message):
    write_train_split(tmp_path / "train")
    path = damage_shard(tmp_path / "train", damage)
    for read in (lambda: read_shard(path), lambda: split_reader.open_split(tmp_path / "train")):
        with pytest.raises(ArtifactError, match=message) as caught:
            read()
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["train_000002", "train_bytes_000003"])
def test_any_flipped_bit_of_a_shard_or_sidecar_is_detected(tmp_path, name):
    write_train_split(tmp_path / "train", sidecar=True)
    path = tmp_path / "train" / f"{name}.bin"
    data = path.read_bytes()
    for position in [*range(0, 1024, 37), *range(1024, len(data))]:
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        with pytest.raises(ArtifactError, match=name):
            split_reader.open_split(tmp_path / "train")
    path.write_bytes(data)
    split_reader.open_split(tmp_path / "train")


def test_ids_outside_the_vocabulary_are_rejected_by_name_and_the_largest_id_is_allowed(tmp_path):
    write_train_split(tmp_path / "train", documents=[encoded_document([1, 299, 300])])
    with pytest.raises(ArtifactError, match=r"train_000000\.bin: holds the id 300, .* below the vocabulary size 300"):
        split_reader.open_split(tmp_path / "train")
    write_train_split(tmp_path / "train", documents=[encoded_document([1, 299])])
    assert split_reader.open_split(tmp_path / "train").read_tokens().tolist() == [1, 299]


def test_shards_of_another_vocabulary_are_rejected(tmp_path):
    write_train_split(tmp_path / "train")
    with pytest.raises(ArtifactError, match=r"vocabulary of 300, model\.vocab_size is 512"):
        split_reader.open_split(tmp_path / "train", 512)


def test_documents_that_start_with_another_id_than_the_smear_gate_is_masked_at_are_refused(tmp_path):
    write_train_split(tmp_path / "train")
    bos = split_reader.open_split(tmp_path / "train").bos
    assert split_reader.open_split(tmp_path / "train", bos_id=bos).bos == bos
    with pytest.raises(ArtifactError, match=rf"start with the id {bos}, model\.smear_gate_bos_id is {bos + 1}"):
        split_reader.open_split(tmp_path / "train", bos_id=bos + 1)


@pytest.mark.parametrize("name", ["train_000003", "train_bytes_000001"])
def test_a_missing_shard_or_sidecar_is_named(tmp_path, name):
    write_train_split(tmp_path / "train", sidecar=True)
    (tmp_path / "train" / f"{name}.bin").unlink()
    with pytest.raises(ArtifactError, match=rf"{name}\.bin: no such shard"):
        split_reader.open_split(tmp_path / "train")


def test_a_shard_of_another_run_is_rejected_though_well_formed(tmp_path):
    write_train_split(tmp_path / "train")
    write_shard(tmp_path / "train" / "train_000001.bin", np.full(16, 7, dtype=np.uint16))
    with pytest.raises(ArtifactError, match=r"train_000001\.bin: its sha256 differs from the index"):
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
        ({"shards": ["x"]}, r"shards\[0\] is not an object"),
        ({"shards": [{"file": "../x.bin", "tokens": 52, "sha256": ""}]}, "outside its folder: '../x.bin'"),
        ({"vocab_size": 70_000}, "impossible"),
        ({"bos": 300}, "impossible"),
        ({"bos": 2}, "token 0 starts a document and is not BOS"),
        ({"split": "val"}, "belongs to the split 'val', not 'train'"),
        ({"sidecar": None}, "sidecar must be list"),
        ({"sidecar": [{"file": "x.bin", "tokens": 52, "sha256": ""}]}, "its sidecar is not cut as its shards are"),
    ],
)
def test_an_index_that_contradicts_itself_is_rejected(tmp_path, changes, message):
    write_train_split(tmp_path / "train")
    edit_index(tmp_path / "train", **changes)
    with pytest.raises(ArtifactError, match=message) as caught:
        split_reader.open_split(tmp_path / "train")
    assert "index.json" in str(caught.value)


def test_documents_that_start_elsewhere_than_the_index_says_are_rejected(tmp_path):
    index = write_train_split(tmp_path / "train")
    index["documents"][0]["tokens"] += 1
    index["documents"][1]["tokens"] -= 1
    edit_index(tmp_path / "train", documents=index["documents"])
    with pytest.raises(ArtifactError, match="token 6 starts a document and is not BOS"):
        split_reader.open_split(tmp_path / "train")


@pytest.mark.parametrize("key", ["text_sha256", "casefolded_text_sha256"])
def test_an_index_without_the_digests_of_the_texts_is_rejected_with_a_hint(tmp_path, key):
    index = write_train_split(tmp_path / "train")
    del index["documents"][1][key]
    edit_index(tmp_path / "train", documents=index["documents"])
    with pytest.raises(ArtifactError, match=rf"documents\[1\]\.{key} must be str, got None; .* -f fetch"):
        split_reader.open_split(tmp_path / "train")


def test_a_folder_without_an_index_is_rejected(tmp_path):
    with pytest.raises(ArtifactError, match=r"index\.json: not found"):
        split_reader.open_split(tmp_path)


def test_a_sidecar_that_moves_bytes_from_one_document_to_another_is_rejected(tmp_path):
    documents = [encoded_document([1, 5, 6], [0, 4, 4]), encoded_document([1, 7], [0, 3])]
    index = write_train_split(tmp_path / "train", documents=documents)
    index["documents"][0]["bytes"] -= 1
    index["documents"][1]["bytes"] += 1
    edit_index(tmp_path / "train", documents=index["documents"])
    with pytest.raises(ArtifactError, match=r"index\.json: its sidecar gives document 0 8 bytes, the index says 7"):
        split_reader.open_split(tmp_path / "train")


def test_a_sidecar_that_gives_bytes_to_a_bos_is_rejected(tmp_path):
    documents = [encoded_document([1, 5, 6], [0, 4, 4]), encoded_document([1, 7], [1, 3])]
    write_train_split(tmp_path / "train", documents=documents)
    with pytest.raises(ArtifactError, match="gives bytes to the BOS of document 1"):
        split_reader.open_split(tmp_path / "train")


def test_a_sidecar_outside_its_folder_is_rejected(tmp_path):
    index = write_train_split(tmp_path / "train", sidecar=True)
    index["sidecar"][0]["file"] = "../x.bin"
    edit_index(tmp_path / "train", sidecar=index["sidecar"])
    with pytest.raises(ArtifactError, match="names a shard outside its folder"):
        split_reader.open_split(tmp_path / "train")


def test_the_digest_of_the_texts_covers_the_texts_in_their_order_and_nothing_else():
    rows = [{"text_sha256": "a"}, {"text_sha256": "b"}]
    digest = split_reader.sha256_texts(rows)
    assert digest == split_reader.sha256_texts([{"text_sha256": "a", "bytes": 1}, {"text_sha256": "b"}])
    assert digest != split_reader.sha256_texts(rows[::-1])


def write_covered_split(folder, *covered):
    """A split of documents of 15 bytes each, with these covered ranges."""
    documents = [dataclasses.replace(encoded_document([1, *range(2, 6)]), covered=ranges) for ranges in covered]
    write_train_split(folder, documents=documents)
    return split_reader.read_index(folder)


def test_covered_ranges_are_read_back_as_they_were_written(tmp_path):
    index = write_covered_split(tmp_path / "train", [(0, 4), (7, 15)], [])
    assert [row["covered"] for row in index["documents"]] == [[[0, 4], [7, 15]], []]
    index = write_covered_split(tmp_path / "train", None, None)
    assert not any("covered" in row for row in index["documents"])


@pytest.mark.parametrize(
    "covered",
    [
        [[0, 16]],
        [[-1, 3]],
        [[4, 4]],
        [[5, 3]],
        [[0, 4], [4, 8]],
        [[8, 9], [0, 4]],
        [[0]],
        [[0, 1.0]],
        [[False, 1]],
        {},
        None,
    ],
)
def test_covered_ranges_that_no_document_can_have_are_rejected(tmp_path, covered):
    rows = write_covered_split(tmp_path / "train", [(0, 4)], [])["documents"]
    edit_index(tmp_path / "train", documents=[rows[0], rows[1] | {"covered": covered}])
    with pytest.raises(ArtifactError, match=r"documents\[1\]\.covered must be ascending ranges of its 15 bytes"):
        split_reader.read_index(tmp_path / "train")
