import os

import pytest

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.errors import ArtifactError


@pytest.fixture
def cache_dir(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"text")
    cache = HashCache(tmp_path)
    cache.put("a.bin", io.sha256_file(tmp_path / "a.bin"))
    cache.save()
    return tmp_path


def test_an_unchanged_file_is_found_by_another_process(cache_dir):
    assert HashCache(cache_dir).lookup("a.bin") == io.sha256_file(cache_dir / "a.bin")
    assert HashCache(cache_dir).lookup("b.bin") is None


def test_a_hard_link_to_it_is_the_same_file(cache_dir):
    entry = HashCache(cache_dir).entries["a.bin"]
    os.link(cache_dir / "a.bin", cache_dir / "b.bin")
    assert os.stat(cache_dir / "b.bin").st_ino == entry["inode"]


@pytest.mark.parametrize("change", ["content", "size", "copy", "touch", "gone"])
def test_a_changed_file_is_not_found_but_its_recorded_sha256_is_kept(cache_dir, change):
    path, first = cache_dir / "a.bin", io.sha256_file(cache_dir / "a.bin")
    match change:
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
    cache = HashCache(cache_dir)
    assert (cache.lookup("a.bin"), cache.get_recorded("a.bin")) == (None, first)


@pytest.mark.parametrize("entry", [[], {}, {"sha256": "ab", "size": "4", "mtime_ns": 0, "inode": 1}])
def test_a_malformed_entry_names_the_file_to_delete(cache_dir, entry):
    io.write_json(cache_dir / "hashes.json", {"a.bin": entry})
    with pytest.raises(ArtifactError, match=r"hashes\.json: the entry of a\.bin is malformed; delete"):
        HashCache(cache_dir)
