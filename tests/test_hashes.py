"""golf/data/hashes.py"""

import os

import pytest

from golf.data.hashes import Hashes
from golf.ground import store
from golf.ground.errors import BadArtifact


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"text")
    made = Hashes(tmp_path)
    made.note("a.bin", store.digest(tmp_path / "a.bin"))
    made.save()
    return tmp_path


def test_a_file_that_has_not_changed_is_known_to_another_process(folder):
    assert Hashes(folder).known("a.bin") == store.digest(folder / "a.bin")
    assert Hashes(folder).known("b.bin") is None


def test_a_hard_link_to_it_is_the_same_file(folder):
    row = Hashes(folder).rows["a.bin"]
    os.link(folder / "a.bin", folder / "b.bin")
    assert os.stat(folder / "b.bin").st_ino == row["inode"]


@pytest.mark.parametrize("harm", ["content", "size", "copy", "touch", "gone"])
def test_a_file_that_changed_in_any_way_is_unknown_and_its_first_sha256_is_remembered(folder, harm):
    path, first = folder / "a.bin", store.digest(folder / "a.bin")
    match harm:
        case "content":
            path.write_bytes(b"TEXT")
        case "size":
            path.write_bytes(b"text and more")
        case "copy":
            (folder / "new").write_bytes(b"text")
            os.replace(folder / "new", path)
        case "touch":
            os.utime(path, ns=(0, 0))
        case "gone":
            path.unlink()
    found = Hashes(folder)
    assert (found.known("a.bin"), found.first("a.bin")) == (None, first)


@pytest.mark.parametrize("row", [[], {}, {"sha256": "ab", "size": "4", "mtime_ns": 0, "inode": 1}])
def test_a_record_that_is_none_names_the_file_to_delete(folder, row):
    store.write_json(folder / "hashes.json", {"a.bin": row})
    with pytest.raises(BadArtifact, match=r"hashes\.json: what it says of a\.bin is no record of a file; delete"):
        Hashes(folder)
