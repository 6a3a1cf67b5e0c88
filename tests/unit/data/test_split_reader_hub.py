"""golf/data/split_reader.py: a split that lists no documents, and one whose shards lie in hub.root"""

from pathlib import Path

import numpy as np
import pytest

from golf.data import split_reader
from golf.data.shard_file import write_shard
from golf.errors import ArtifactError, InputError
from tests.helpers.random_splits import edit_index, write_train_split

INDEX_DIR = Path("artifacts/fetch/train")
HINT = "set hub.root to where the shards lie, or run: dvc repro -f fetch"


def summarize(folder, **changes):
    """Edit the index to that of the train split of a large export."""
    edit_index(folder, documents=[], bytes=None, summarized={"documents": 3, "disjoint_from": {}} | changes)


def test_a_split_that_lists_no_documents_says_how_many_it_has(tmp_path):
    listed = write_train_split(tmp_path / "train")
    summarize(tmp_path / "train")
    split, index = split_reader.open_split(tmp_path / "train"), split_reader.read_index(tmp_path / "train")
    assert (split.n_tokens, split.n_bytes, split.documents) == (52, None, [])
    assert split_reader.count_documents(index) == split_reader.count_documents(listed) == 3
    assert split.find_document_starts().tolist() == []


def test_the_index_of_a_summarized_split_is_checked(tmp_path):
    write_train_split(tmp_path / "train")
    summarize(tmp_path / "train", documents="3")
    with pytest.raises(ArtifactError, match=r"summarized\.documents must be int"):
        split_reader.open_split(tmp_path / "train")
    summarize(tmp_path / "train")
    edit_index(tmp_path / "train", bytes=156)
    with pytest.raises(ArtifactError, match="bytes must be NoneType"):
        split_reader.open_split(tmp_path / "train")
    summarize(tmp_path / "train")
    edit_index(tmp_path / "train", tokens=53)
    with pytest.raises(ArtifactError, match="tokens of its shards do not add up to 53"):
        split_reader.open_split(tmp_path / "train")
    edit_index(tmp_path / "train", tokens=52, bos=2)
    with pytest.raises(ArtifactError, match="token 0 starts a document and is not BOS"):
        split_reader.open_split(tmp_path / "train")


def test_shards_in_hub_root_are_found_there_and_checked_against_the_index(tmp_path):
    write_train_split(tmp_path / "train")
    hub_root = str(tmp_path / "root")
    (tmp_path / "root").mkdir()
    (tmp_path / "train").rename(tmp_path / "root/train-ab")
    (tmp_path / "train").mkdir()
    (tmp_path / "root/train-ab/index.json").rename(tmp_path / "train/index.json")
    edit_index(tmp_path / "train", root="train-ab")
    assert split_reader.open_split(tmp_path / "train", hub_root=hub_root).n_tokens == 52
    write_shard(tmp_path / "root/train-ab/train_000001.bin", np.full(16, 9))
    with pytest.raises(ArtifactError, match=r"train-ab/train_000001\.bin: its sha256 differs from the index"):
        split_reader.open_split(tmp_path / "train", hub_root=hub_root)
    edit_index(tmp_path / "train", root=7)
    with pytest.raises(ArtifactError, match="root must be str"):
        split_reader.open_split(tmp_path / "train", hub_root=hub_root)


@pytest.mark.parametrize("hub_root", ["data", "../data", "~/data", "/srv/data"])
def test_hub_root_may_be_relative_in_the_home_folder_or_absolute(tmp_path, monkeypatch, hub_root):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    monkeypatch.chdir(work_dir)
    monkeypatch.setenv("HOME", str(work_dir / "home"))
    expected = {"data": work_dir / "data", "../data": tmp_path / "data", "~/data": work_dir / "home/data"}
    root_dir = expected.get(hub_root, Path("/srv/data"))
    assert split_reader.resolve_hub_root(hub_root) == root_dir
    if hub_root != "/srv/data":
        (root_dir / "train-ab").mkdir(parents=True)
        assert split_reader.resolve_shard_dir(INDEX_DIR, {"root": "train-ab"}, hub_root) == root_dir / "train-ab"
    assert split_reader.resolve_shard_dir(INDEX_DIR, {}, hub_root) == INDEX_DIR


def test_the_home_folder_of_an_unknown_user_is_rejected():
    with pytest.raises(
        InputError, match=r"hub\.root: ~nobody-of-this-name/data can't be resolved \(.*\); give the full path"
    ):
        split_reader.resolve_hub_root("~nobody-of-this-name/data")


def test_a_hub_root_without_the_folder_is_named_with_the_key_and_a_hint(tmp_path):
    with pytest.raises(ArtifactError) as caught:
        split_reader.resolve_shard_dir(INDEX_DIR, {"root": "train-ab"}, str(tmp_path / "gone"))
    problem = f"its shards should lie in {tmp_path}/gone/train-ab, by hub.root, which does not exist"
    assert str(caught.value) == f"{INDEX_DIR}/index.json: {problem}; {HINT}"


def test_a_null_hub_root_is_rejected_when_the_shards_lie_in_one():
    with pytest.raises(ArtifactError) as caught:
        split_reader.resolve_shard_dir(INDEX_DIR, {"root": "train-ab"}, None)
    problem = "its shards lie in train-ab of hub.root, which is null"
    assert str(caught.value) == f"{INDEX_DIR}/index.json: {problem}; {HINT}"


@pytest.mark.parametrize("name", ["", ".", "..", "/srv/train-ab", "../train-ab", "a/b"])
def test_an_index_can_not_name_a_folder_outside_hub_root(tmp_path, name):
    with pytest.raises(ArtifactError, match=r"root must be the name of a folder in hub\.root, got .*; run fetch again"):
        split_reader.resolve_shard_dir(INDEX_DIR, {"root": name}, str(tmp_path))
