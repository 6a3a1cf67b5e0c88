"""golf/data/shards.py: a split too large to list its documents, and one whose shards lie in hub.root"""

import numpy as np
import pytest
from processes import configured
from splits import edit, write

from golf.data import shards
from golf.ground.errors import BadArtifact


def unlist(folder, **changes):
    """As the train split of a large export is written."""
    edit(folder, documents=[], bytes=None, unlisted={"documents": 3, "apart_from": {}} | changes)


def test_a_split_that_lists_no_documents_says_how_many_it_has(tmp_path):
    listed = write(tmp_path / "train")
    unlist(tmp_path / "train")
    split, index = shards.open_split(tmp_path / "train"), shards.read_index(tmp_path / "train")
    assert (split.tokens, split.bytes, split.documents) == (52, None, [])
    assert shards.count(index) == shards.count(listed) == 3
    assert split.starts().tolist() == []


def test_what_a_split_without_a_list_says_of_itself_is_checked(tmp_path):
    write(tmp_path / "train")
    unlist(tmp_path / "train", documents="3")
    with pytest.raises(BadArtifact, match=r"unlisted\.documents must be int"):
        shards.open_split(tmp_path / "train")
    unlist(tmp_path / "train")
    edit(tmp_path / "train", bytes=156)
    with pytest.raises(BadArtifact, match="bytes must be NoneType"):
        shards.open_split(tmp_path / "train")
    unlist(tmp_path / "train")
    edit(tmp_path / "train", tokens=53)
    with pytest.raises(BadArtifact, match="tokens of its shards do not add up to 53"):
        shards.open_split(tmp_path / "train")
    edit(tmp_path / "train", tokens=52, bos=2)
    with pytest.raises(BadArtifact, match="no BOS at token 0"):
        shards.open_split(tmp_path / "train")


def test_shards_in_a_root_are_found_there_and_checked_against_the_index(tmp_path, monkeypatch):
    write(tmp_path / "train")
    (tmp_path / "root").mkdir()
    (tmp_path / "train").rename(tmp_path / "root/train-ab")
    (tmp_path / "train").mkdir()
    (tmp_path / "root/train-ab/index.json").rename(tmp_path / "train/index.json")
    edit(tmp_path / "train", root="train-ab")
    monkeypatch.chdir(configured(tmp_path, {"hub.root": "root"}))
    assert shards.open_split(tmp_path / "train").tokens == 52
    shards.write_shard(tmp_path / "root/train-ab/train_000001.bin", np.full(16, 9))
    with pytest.raises(BadArtifact, match=r"train-ab/train_000001\.bin: its sha256 is not the index's"):
        shards.open_split(tmp_path / "train")
    edit(tmp_path / "train", root=7)
    with pytest.raises(BadArtifact, match="root must be str"):
        shards.open_split(tmp_path / "train")
