"""golf/data/split_reader.py: bytes of text for every token, in a sidecar"""

import numpy as np
import pytest

from golf.data import split_reader
from golf.errors import ArtifactError
from tests.helpers.random_splits import edit_index, encoded_document, random_documents, write_train_split


def test_a_sidecar_is_cut_as_the_shards_are_and_read_back_byte_for_byte(tmp_path):
    index = write_train_split(tmp_path / "train", sidecar=True)
    split = split_reader.open_split(tmp_path / "train")
    want = list(random_documents((5, 40, 7), sidecar=True))
    assert np.array_equal(split.read_tokens(), np.concatenate([each.tokens for each in want]))
    assert np.array_equal(np.concatenate(split.token_bytes), np.concatenate([each.token_bytes for each in want]))
    assert [len(each) for each in split.token_bytes] == [len(each) for each in split.shards] == [16, 16, 16, 4]
    assert [row["file"] for row in index["sidecar"]] == [f"train_bytes_{number:06d}.bin" for number in range(4)]
    assert [split_reader.is_sidecar(row["file"]) for row in index["sidecar"] + index["shards"]] == [True] * 4 + [
        False
    ] * 4


def test_any_flipped_bit_of_a_sidecar_is_seen(tmp_path):
    write_train_split(tmp_path / "train", sidecar=True)
    path = tmp_path / "train" / "train_bytes_000003.bin"
    data = path.read_bytes()
    for place in [0, 5, 9, 600, *range(1024, len(data))]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(ArtifactError, match="train_bytes_000003"):
            split_reader.open_split(tmp_path / "train")


def test_a_missing_sidecar_is_named_and_never_replaced_by_the_rule(tmp_path):
    write_train_split(tmp_path / "train", sidecar=True)
    (tmp_path / "train" / "train_bytes_000001.bin").unlink()
    with pytest.raises(ArtifactError, match=r"train_bytes_000001\.bin: no such shard"):
        split_reader.open_split(tmp_path / "train")


def test_a_sidecar_that_moves_bytes_from_one_document_to_another_is_refused(tmp_path):
    rows = [encoded_document([1, 5, 6], [0, 4, 4]), encoded_document([1, 7], [0, 3])]
    index = write_train_split(tmp_path / "train", documents=rows, sidecar=True)
    index["documents"][0]["bytes"] -= 1
    index["documents"][1]["bytes"] += 1
    edit_index(tmp_path / "train", documents=index["documents"])
    with pytest.raises(ArtifactError, match=r"index\.json: its sidecar gives document 0 8 bytes, it has 7"):
        split_reader.open_split(tmp_path / "train")


def test_a_sidecar_that_gives_bytes_to_a_documents_start_is_refused(tmp_path):
    write_train_split(
        tmp_path / "train", documents=[encoded_document([1, 5, 6], [0, 4, 4]), encoded_document([1, 7], [1, 3])]
    )
    with pytest.raises(ArtifactError, match="gives bytes to the BOS of document 1"):
        split_reader.open_split(tmp_path / "train")


def test_a_sidecar_outside_its_folder_is_refused(tmp_path):
    index = write_train_split(tmp_path / "train", sidecar=True)
    index["sidecar"][0]["file"] = "../x.bin"
    edit_index(tmp_path / "train", sidecar=index["sidecar"])
    with pytest.raises(ArtifactError, match="names a shard outside its folder"):
        split_reader.open_split(tmp_path / "train")
