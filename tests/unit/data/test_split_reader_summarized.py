"""golf/data/split_reader.py: a split too large to list its documents, and one whose shards lie in hub.root"""

import numpy as np
import pytest

from golf.data import split_reader
from golf.errors import ArtifactError
from tests.helpers.random_splits import edit_index, write_train_split
from tests.helpers.stage_processes import write_params


def unlist(folder, **changes):
    """As the train split of a large export is written."""
    edit_index(folder, documents=[], bytes=None, unlisted={"documents": 3, "apart_from": {}} | changes)


def test_a_split_that_lists_no_documents_says_how_many_it_has(tmp_path):
    listed = write_train_split(tmp_path / "train")
    unlist(tmp_path / "train")
    split, index = split_reader.open_split(tmp_path / "train"), split_reader.read_index(tmp_path / "train")
    assert (split.tokens, split.bytes, split.documents) == (52, None, [])
    assert split_reader.count_documents(index) == split_reader.count_documents(listed) == 3
    assert split.document_starts().tolist() == []


def test_what_a_split_without_a_list_says_of_itself_is_checked(tmp_path):
    write_train_split(tmp_path / "train")
    unlist(tmp_path / "train", documents="3")
    with pytest.raises(ArtifactError, match=r"unlisted\.documents must be int"):
        split_reader.open_split(tmp_path / "train")
    unlist(tmp_path / "train")
    edit_index(tmp_path / "train", bytes=156)
    with pytest.raises(ArtifactError, match="bytes must be NoneType"):
        split_reader.open_split(tmp_path / "train")
    unlist(tmp_path / "train")
    edit_index(tmp_path / "train", tokens=53)
    with pytest.raises(ArtifactError, match="tokens of its shards do not add up to 53"):
        split_reader.open_split(tmp_path / "train")
    edit_index(tmp_path / "train", tokens=52, bos=2)
    with pytest.raises(ArtifactError, match="no BOS at token 0"):
        split_reader.open_split(tmp_path / "train")


def test_shards_in_a_root_are_found_there_and_checked_against_the_index(tmp_path, monkeypatch):
    write_train_split(tmp_path / "train")
    (tmp_path / "root").mkdir()
    (tmp_path / "train").rename(tmp_path / "root/train-ab")
    (tmp_path / "train").mkdir()
    (tmp_path / "root/train-ab/index.json").rename(tmp_path / "train/index.json")
    edit_index(tmp_path / "train", root="train-ab")
    monkeypatch.chdir(write_params(tmp_path, {"hub.root": "root"}))
    assert split_reader.open_split(tmp_path / "train").tokens == 52
    split_reader.write_shard(tmp_path / "root/train-ab/train_000001.bin", np.full(16, 9))
    with pytest.raises(ArtifactError, match=r"train-ab/train_000001\.bin: its sha256 is not the index's"):
        split_reader.open_split(tmp_path / "train")
    edit_index(tmp_path / "train", root=7)
    with pytest.raises(ArtifactError, match="root must be str"):
        split_reader.open_split(tmp_path / "train")
