"""golf/data/hub/download.py: downloads that go wrong, against a stand-in server"""

import errno
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from golf.artifacts.hash_cache import HashCache
from golf.data.hub.client import Repository
from golf.data.hub.download import DownloadCache, link_or_copy
from golf.errors import ArtifactError, InputError, UnavailableError
from tests.helpers.hub_exports import hub_config
from tests.helpers.hub_server import COMMIT, NEXT_COMMIT, FakeHub

FILES = {"a/one.bin": os.urandom(30_000), "a/two.bin": os.urandom(20_000), "b.json": b"{}"}
ONE = f"somebody--exports/{COMMIT}/a/one.bin"


@pytest.fixture
def hub(monkeypatch):
    """Pieces of 1,000 bytes, so that a break leaves some; nobody waits between two tries."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("golf.data.hub.client.RETRY_PAUSE_S", 0.0)
    server = FakeHub(FILES)
    with server.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield server


def bring(root, workers=2, paths=FILES, **changes):
    folder = DownloadCache(Path(root), Repository.open(hub_config(**changes)))
    return folder, folder.ensure_files([folder.repository.files[path] for path in paths], workers)


def here(root) -> dict[str, bytes]:
    base = Path(root) / "somebody--exports"
    return {path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*.bin")}


def test_every_file_comes_whole_with_its_sha256(hub, tmp_path):
    folder, digests = bring(tmp_path)
    assert digests == [hashlib.sha256(data).hexdigest() for data in FILES.values()]
    for path, data in FILES.items():
        assert folder.path(folder.repository.files[path]).read_bytes() == data
    assert not list(tmp_path.rglob("*.incomplete"))


def test_what_is_there_is_not_asked_for_again(hub, tmp_path):
    bring(tmp_path, paths=["a/one.bin"])
    bring(tmp_path)
    assert hub.asked == {"a/one.bin": 1, "a/two.bin": 1, "b.json": 1}


def test_a_cut_connection_goes_on_where_it_broke(hub, tmp_path):
    hub.cut["a/one.bin"] = (10_500, 2)
    bring(tmp_path, paths=["a/one.bin"])
    assert here(tmp_path)[f"{COMMIT}/a/one.bin"] == FILES["a/one.bin"]
    assert hub.range_starts == [0, 10_000, 20_000]


def test_a_connection_that_is_reset_is_opened_again(hub, tmp_path):
    hub.cut["a/one.bin"], hub.reset = (10_500, 1), True
    bring(tmp_path, paths=["a/one.bin"])
    assert here(tmp_path)[f"{COMMIT}/a/one.bin"] == FILES["a/one.bin"]
    assert len(hub.range_starts) == 2


def test_a_connection_that_is_cut_again_and_again_is_given_up_and_what_came_is_kept(hub, tmp_path):
    hub.cut["a/one.bin"] = (0, 1_000)
    (tmp_path / ONE).parent.mkdir(parents=True)
    (tmp_path / f"{ONE}.incomplete").write_bytes(FILES["a/one.bin"][:5_000])
    with pytest.raises(UnavailableError, match=r"one\.bin can't be reached .* run fetch again: what came is kept"):
        bring(tmp_path, paths=["a/one.bin"])
    assert 5 < hub.asked["a/one.bin"] < 40
    hub.cut.clear()
    hub.range_starts.clear()
    bring(tmp_path, paths=["a/one.bin"])
    assert hub.range_starts == [5_000]
    assert here(tmp_path) == {f"{COMMIT}/a/one.bin": FILES["a/one.bin"]}


def test_a_slow_server_is_waited_for(hub, tmp_path):
    hub.pause_s["a/two.bin"] = 0.005
    bring(tmp_path)
    assert here(tmp_path)[f"{COMMIT}/a/two.bin"] == FILES["a/two.bin"]


def test_a_server_that_answers_500_is_asked_again_and_then_given_up(hub, tmp_path):
    hub.status["a/one.bin"] = 500
    with pytest.raises(UnavailableError, match="answers 500"):
        bring(tmp_path)
    assert hub.asked["a/one.bin"] == 3


def test_a_listed_file_that_is_not_there_is_named(hub, tmp_path):
    hub.status["a/one.bin"] = 404
    with pytest.raises(InputError, match=r"a/one\.bin is not there \(404\)"):
        bring(tmp_path)


@pytest.mark.parametrize("sent", [FILES["a/one.bin"][:-1], FILES["a/one.bin"] + b"x"])
def test_a_file_of_another_size_than_the_hub_lists_is_refused_and_not_kept(hub, tmp_path, sent):
    hub.replaced_content["a/one.bin"] = sent
    with pytest.raises(ArtifactError, match=r"exports/a/one\.bin: the hub lists 30,000 bytes and sent another number"):
        bring(tmp_path, paths=["a/one.bin"])
    assert not list(tmp_path.rglob("*one.bin*"))


def test_a_file_of_another_sha256_than_the_hub_lists_is_refused_and_not_kept(hub, tmp_path):
    hub.replaced_content["a/one.bin"] = bytes(30_000)
    with pytest.raises(ArtifactError, match=r"its sha256 is \w+, the hub lists \w+; run fetch"):
        bring(tmp_path, paths=["a/one.bin"])
    assert not list(tmp_path.rglob("*one.bin*"))


def test_a_file_that_the_hub_has_no_sha256_of_is_held_to_the_first_that_was_seen(hub, tmp_path):
    hub.lfs = False
    folder, _ = bring(tmp_path)
    path = folder.path(folder.repository.files["a/one.bin"])
    path.write_bytes(bytes(30_000))
    with pytest.raises(ArtifactError, match=r"one\.bin: its sha256 is .*, it was, when first seen, .*; delete it"):
        bring(tmp_path)
    path.unlink()
    hub.replaced_content["a/one.bin"] = bytes(30_000)
    with pytest.raises(ArtifactError, match="when first seen"):
        bring(tmp_path)
    hub.replaced_content.clear()
    bring(tmp_path)
    assert path.read_bytes() == FILES["a/one.bin"]


def test_a_file_that_was_damaged_here_is_refused(hub, tmp_path):
    folder, _ = bring(tmp_path)
    path = folder.path(folder.repository.files["a/two.bin"])
    path.write_bytes(FILES["a/two.bin"][:-1])
    with pytest.raises(ArtifactError, match=r"two\.bin: 19,999 bytes, the hub lists 20,000; delete it"):
        bring(tmp_path)


def test_a_file_that_another_commit_has_is_linked_and_not_downloaded(hub, tmp_path):
    bring(tmp_path)
    hub.commit = NEXT_COMMIT
    hub.files["a/two.bin"] = b"new"
    bring(tmp_path, revision=NEXT_COMMIT)
    base = tmp_path / "somebody--exports"
    assert os.path.samefile(base / NEXT_COMMIT / "a/one.bin", base / COMMIT / "a/one.bin")
    assert (base / NEXT_COMMIT / "a/two.bin").read_bytes() == b"new"
    assert (base / COMMIT / "a/two.bin").read_bytes() == FILES["a/two.bin"]
    assert hub.asked["a/one.bin"] == 1


def test_a_disk_without_room_is_refused_before_anything_comes(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_049_000))
    with pytest.raises(InputError, match=r"hub\.root: .* has 0\.00 GB free, 0\.00 GB are to come; free some"):
        bring(tmp_path)
    assert not hub.asked


def test_a_disk_that_fills_up_is_an_error_that_names_the_file(hub, tmp_path):
    path = tmp_path / f"{ONE}.incomplete"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        bring(tmp_path, paths=["a/one.bin"])
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)


def test_a_root_that_can_not_be_written_names_the_key(hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"hub\.root: .*file can't be written \(Not a directory\)"):
        bring(tmp_path / "file")

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(InputError, match=r"hub\.root: .* can't be written \(Read-only file system\); name a folder"):
        bring(tmp_path / "root")


def test_an_existing_root_that_is_read_only_names_the_key(hub, tmp_path, monkeypatch):
    bring(tmp_path)

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("golf.data.hub.download.open", read_only, raising=False)
    with pytest.raises(InputError, match=r"hub\.root: .*exports can't be written \(Read-only file system\)"):
        bring(tmp_path)


def test_what_another_fetch_noted_while_this_one_waited_is_kept(hub, tmp_path):
    folder = DownloadCache(tmp_path, Repository.open(hub_config()))
    bring(tmp_path, paths=["a/two.bin"])
    folder.ensure_files([folder.repository.files["a/one.bin"]], 1)
    assert {f"{COMMIT}/{path}" for path in ("a/one.bin", "a/two.bin")} == HashCache(folder.repo_dir).entries.keys()


def test_two_fetches_do_not_fill_one_folder(hub, tmp_path):
    bring(tmp_path)
    with open(tmp_path / "somebody--exports/lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"hub\.root: another fetch is filling .*exports; wait for it"):
            bring(tmp_path)
    bring(tmp_path)


def test_an_error_of_one_file_ends_the_others_too(hub, tmp_path):
    hub.status["b.json"] = 404
    hub.pause_s["a/one.bin"] = 0.05
    with pytest.raises(InputError, match="404"):
        bring(tmp_path, workers=3)
    assert not (tmp_path / ONE).exists()


def test_a_disk_without_hard_links_gets_a_copy(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    (tmp_path / "a").write_bytes(b"text")
    link_or_copy(tmp_path / "a", tmp_path / "b/c")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b/c")
    monkeypatch.setattr(os, "link", none)
    link_or_copy(tmp_path / "a", tmp_path / "b/d")
    assert (tmp_path / "b/d").read_bytes() == b"text"
    assert not os.path.samefile(tmp_path / "a", tmp_path / "b/d")
