"""golf/artifacts/hash_cache.py"""

import os

import pytest

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.errors import ArtifactError


@pytest.fixture
def cache_dir(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"text")
    made = HashCache(tmp_path)
    made.put("a.bin", io.sha256_file(tmp_path / "a.bin"))
    made.save()
    return tmp_path


def test_a_file_that_has_not_changed_is_known_to_another_process(cache_dir):
    assert HashCache(cache_dir).lookup("a.bin") == io.sha256_file(cache_dir / "a.bin")
    assert HashCache(cache_dir).lookup("b.bin") is None


def test_a_hard_link_to_it_is_the_same_file(cache_dir):
    row = HashCache(cache_dir).entries["a.bin"]
    os.link(cache_dir / "a.bin", cache_dir / "b.bin")
    assert os.stat(cache_dir / "b.bin").st_ino == row["inode"]


@pytest.mark.parametrize("harm", ["content", "size", "copy", "touch", "gone"])
def test_a_file_that_changed_in_any_way_is_unknown_and_its_first_sha256_is_remembered(cache_dir, harm):
    path, first = cache_dir / "a.bin", io.sha256_file(cache_dir / "a.bin")
    match harm:
        case "content":
            path.write_bytes(b"TEXT")
        case "size":
            path.write_bytes(b"text and more")
        case "copy":
            (cache_dir / "new").write_bytes(b"text")
            os.replace(cache_dir / "new", path)
        case "touch":
            os.utime(path, ns=(0, 0))
        case "gone":
            path.unlink()
    found = HashCache(cache_dir)
    assert (found.lookup("a.bin"), found.recorded("a.bin")) == (None, first)


@pytest.mark.parametrize("row", [[], {}, {"sha256": "ab", "size": "4", "mtime_ns": 0, "inode": 1}])
def test_a_record_that_is_none_names_the_file_to_delete(cache_dir, row):
    io.write_json(cache_dir / "hashes.json", {"a.bin": row})
    with pytest.raises(ArtifactError, match=r"hashes\.json: what it says of a\.bin is no record of a file; delete"):
        HashCache(cache_dir)
