"""golf/data/hub/download.py: downloads that go wrong, against a fake hub"""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import filelock
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
    """Chunks of 1,000 bytes, so that an interruption leaves some; no pause between tries."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("golf.data.hub.client.RETRY_PAUSE_S", 0.0)
    server = FakeHub(FILES)
    with server.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield server


def ensure_files(root, workers=2, paths=FILES, **changes):
    cache = DownloadCache(Path(root), Repository.open(hub_config(**changes)))
    return cache, cache.ensure_files([cache.repository.files[path] for path in paths], workers)


def downloaded(root) -> dict[str, bytes]:
    base = Path(root) / "somebody--exports"
    return {path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*.bin")}


def test_every_file_is_complete_and_has_its_sha256(hub, tmp_path):
    cache, digests = ensure_files(tmp_path)
    assert digests == [hashlib.sha256(data).hexdigest() for data in FILES.values()]
    for path, data in FILES.items():
        assert cache.path(cache.repository.files[path]).read_bytes() == data
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_file_in_the_cache_is_not_downloaded_again(hub, tmp_path):
    ensure_files(tmp_path, paths=["a/one.bin"])
    ensure_files(tmp_path)
    assert hub.n_requests == {"a/one.bin": 1, "a/two.bin": 1, "b.json": 1}


def test_a_cut_connection_goes_on_where_it_broke(hub, tmp_path):
    hub.connection_cuts["a/one.bin"] = (10_500, 2)
    ensure_files(tmp_path, paths=["a/one.bin"])
    assert downloaded(tmp_path)[f"{COMMIT}/a/one.bin"] == FILES["a/one.bin"]
    assert hub.range_starts == [0, 10_000, 20_000]


def test_a_connection_that_is_reset_is_opened_again(hub, tmp_path):
    hub.connection_cuts["a/one.bin"], hub.resets_on_cut = (10_500, 1), True
    ensure_files(tmp_path, paths=["a/one.bin"])
    assert downloaded(tmp_path)[f"{COMMIT}/a/one.bin"] == FILES["a/one.bin"]
    assert len(hub.range_starts) == 2


def test_a_connection_cut_repeatedly_is_given_up_and_downloaded_bytes_are_kept(hub, tmp_path):
    hub.connection_cuts["a/one.bin"] = (0, 1_000)
    (tmp_path / ONE).parent.mkdir(parents=True)
    (tmp_path / f"{ONE}.incomplete").write_bytes(FILES["a/one.bin"][:5_000])
    with pytest.raises(
        UnavailableError, match=r"one\.bin can't be reached .* run fetch again: downloaded bytes are kept"
    ):
        ensure_files(tmp_path, paths=["a/one.bin"])
    assert 5 < hub.n_requests["a/one.bin"] < 40
    hub.connection_cuts.clear()
    hub.range_starts.clear()
    ensure_files(tmp_path, paths=["a/one.bin"])
    assert hub.range_starts == [5_000]
    assert downloaded(tmp_path) == {f"{COMMIT}/a/one.bin": FILES["a/one.bin"]}


def test_a_slow_server_is_waited_for(hub, tmp_path):
    hub.pause_s["a/two.bin"] = 0.005
    ensure_files(tmp_path)
    assert downloaded(tmp_path)[f"{COMMIT}/a/two.bin"] == FILES["a/two.bin"]


def test_a_server_that_answers_500_is_asked_again_and_then_given_up(hub, tmp_path):
    hub.error_statuses["a/one.bin"] = 500
    with pytest.raises(UnavailableError, match="answers 500"):
        ensure_files(tmp_path)
    assert hub.n_requests["a/one.bin"] == 3


def test_a_listed_file_that_is_not_there_is_named(hub, tmp_path):
    hub.error_statuses["a/one.bin"] = 404
    with pytest.raises(InputError, match=r"a/one\.bin does not exist \(404\)"):
        ensure_files(tmp_path)


@pytest.mark.parametrize("sent", [FILES["a/one.bin"][:-1], FILES["a/one.bin"] + b"x"])
def test_a_file_of_another_size_than_the_hub_lists_is_rejected_and_not_kept(hub, tmp_path, sent):
    hub.replaced_content["a/one.bin"] = sent
    with pytest.raises(ArtifactError, match=r"exports/a/one\.bin: the hub lists 30,000 bytes and sent another number"):
        ensure_files(tmp_path, paths=["a/one.bin"])
    assert not list(tmp_path.rglob("*one.bin*"))


def test_a_file_of_another_sha256_than_the_hub_lists_is_rejected_and_not_kept(hub, tmp_path):
    hub.replaced_content["a/one.bin"] = bytes(30_000)
    with pytest.raises(ArtifactError, match=r"its sha256 is \w+, the hub lists \w+; run fetch"):
        ensure_files(tmp_path, paths=["a/one.bin"])
    assert not list(tmp_path.rglob("*one.bin*"))


def test_a_file_that_the_hub_has_no_sha256_of_is_compared_with_the_first_download(hub, tmp_path):
    hub.uses_lfs = False
    cache, _ = ensure_files(tmp_path)
    path = cache.path(cache.repository.files["a/one.bin"])
    path.write_bytes(bytes(30_000))
    with pytest.raises(ArtifactError, match=r"one\.bin: its sha256 is .*, when first downloaded it was .*; delete it"):
        ensure_files(tmp_path)
    path.unlink()
    hub.replaced_content["a/one.bin"] = bytes(30_000)
    with pytest.raises(ArtifactError, match="when first downloaded"):
        ensure_files(tmp_path)
    hub.replaced_content.clear()
    ensure_files(tmp_path)
    assert path.read_bytes() == FILES["a/one.bin"]


def test_a_file_that_was_damaged_here_is_rejected(hub, tmp_path):
    cache, _ = ensure_files(tmp_path)
    path = cache.path(cache.repository.files["a/two.bin"])
    path.write_bytes(FILES["a/two.bin"][:-1])
    with pytest.raises(ArtifactError, match=r"two\.bin: has 19,999 bytes, the hub lists 20,000; delete it"):
        ensure_files(tmp_path)


def test_a_file_that_another_commit_has_is_linked_and_not_downloaded(hub, tmp_path):
    ensure_files(tmp_path)
    hub.commit = NEXT_COMMIT
    hub.files["a/two.bin"] = b"new"
    ensure_files(tmp_path, revision=NEXT_COMMIT)
    base = tmp_path / "somebody--exports"
    assert os.path.samefile(base / NEXT_COMMIT / "a/one.bin", base / COMMIT / "a/one.bin")
    assert (base / NEXT_COMMIT / "a/two.bin").read_bytes() == b"new"
    assert (base / COMMIT / "a/two.bin").read_bytes() == FILES["a/two.bin"]
    assert hub.n_requests["a/one.bin"] == 1


def test_a_disk_too_full_is_rejected_before_anything_is_downloaded(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_049_000))
    with pytest.raises(InputError, match=r"hub\.root: .* has 0\.00 GB free, 0\.00 GB are needed; free some"):
        ensure_files(tmp_path)
    assert not hub.n_requests


def test_a_disk_that_fills_up_is_an_error_that_names_the_file(hub, tmp_path):
    path = tmp_path / f"{ONE}.incomplete"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        ensure_files(tmp_path, paths=["a/one.bin"])
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)


def test_a_root_that_can_not_be_written_names_the_key(hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"hub\.root: .*file can't be written \(Not a directory\)"):
        ensure_files(tmp_path / "file")

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(
        InputError, match=r"hub\.root: .* can't be written \(Read-only file system\); name another folder"
    ):
        ensure_files(tmp_path / "root")


def test_an_existing_root_that_is_read_only_names_the_key(hub, tmp_path, monkeypatch):
    ensure_files(tmp_path)

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(filelock.FileLock, "acquire", read_only)
    with pytest.raises(InputError, match=r"hub\.root: .*exports can't be written \(Read-only file system\)"):
        ensure_files(tmp_path)


def test_hashes_that_another_fetch_recorded_meanwhile_are_kept(hub, tmp_path):
    cache = DownloadCache(tmp_path, Repository.open(hub_config()))
    ensure_files(tmp_path, paths=["a/two.bin"])
    cache.ensure_files([cache.repository.files["a/one.bin"]], 1)
    assert {f"{COMMIT}/{path}" for path in ("a/one.bin", "a/two.bin")} == HashCache(cache.repo_dir).entries.keys()


def test_two_fetches_do_not_fill_one_folder(hub, tmp_path):
    ensure_files(tmp_path)
    lock = filelock.FileLock(tmp_path / "somebody--exports/lock")
    with lock, pytest.raises(InputError, match=r"hub\.root: another fetch is filling .*exports; wait for it"):
        ensure_files(tmp_path)
    ensure_files(tmp_path)


def test_an_error_of_one_file_ends_the_others_too(hub, tmp_path):
    hub.error_statuses["b.json"] = 404
    hub.pause_s["a/one.bin"] = 0.05
    with pytest.raises(InputError, match="404"):
        ensure_files(tmp_path, workers=3)
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
