"""Local cache of a hub repository's files: each is downloaded once, resumed after interruptions, and verified.

Files lie at ``<root>/<owner>--<name>/<commit>/<path>``, with ``hashes.json`` beside the commits. A file's sha256 must
equal the one the hub lists, or, where the hub lists none, the one recorded when the file was first downloaded. A file
that another commit already has is linked. A download is named ``<path>.incomplete`` until it is complete and verified,
and continues from there after an interruption.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import filelock

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.data.hub.client import Repository
from golf.data.hub.manifest import RemoteFile
from golf.errors import ArtifactError, InputError
from golf.pipeline.progress import Progress, format_count

__all__ = ["DownloadCache", "link_or_copy", "translate_write_errors"]

_POLL_INTERVAL_S = 0.5  # between progress updates
_MIN_FREE_BYTES = 1 << 20  # that a download must leave on the disk
_LOCK_FILE = "lock"


class DownloadCache:
    """Files of one repository below ``root``. Workspaces may share a root, but only one fetch may fill it at a time."""

    def __init__(self, root: Path, repository: Repository) -> None:
        """Raises InputError naming hub.root when ``root`` can't be written."""
        self.repository = repository
        self.repo_dir = root / repository.repo.replace("/", "--")
        with translate_write_errors(root):
            (self.repo_dir / repository.commit).mkdir(parents=True, exist_ok=True)

    def _key(self, remote: RemoteFile) -> str:
        return f"{self.repository.commit}/{remote.path}"

    def path(self, remote: RemoteFile) -> Path:
        """Return where the file lies once ``ensure_files`` has returned."""
        return self.repo_dir / self._key(remote)

    def ensure_files(self, files: list[RemoteFile], workers: int) -> list[str]:
        """Download the files that are missing, ``workers`` at a time; returns the sha256 of all, in order.

        Raises ArtifactError for a file with the wrong size or sha256, InputError when the disk is too full or another
        fetch is running, and what Repository.transfer raises.
        """
        with _lock_exclusively(self.repo_dir):
            self._hash_cache = HashCache(self.repo_dir)  # under the lock, as another fetch may have added to it
            missing = [remote for remote in files if not self._has(remote) and not self._link_from_other_commit(remote)]
            try:
                if missing:
                    self._require_disk_space(missing)
                    self._download(missing, workers)
            finally:
                with translate_write_errors(self.repo_dir):
                    self._hash_cache.save()
        return [self._hash_cache.entries[self._key(remote)]["sha256"] for remote in files]

    def _has(self, remote: RemoteFile) -> bool:
        """Whether the file is in the cache; it is verified again if it has changed since it was recorded."""
        if not self.path(remote).exists():
            return False
        if self._hash_cache.lookup(self._key(remote)) is None:
            self._verify_and_store(remote, self.path(remote), "delete it, and run fetch again")
        return True

    def _link_from_other_commit(self, remote: RemoteFile) -> bool:
        """Link the file from another commit that has it; False when none has."""
        for key, row in self._hash_cache.entries.items():
            if remote.sha256 is not None and row["sha256"] == remote.sha256 and self._hash_cache.lookup(key):
                link_or_copy(self.repo_dir / key, self.path(remote))
                self._hash_cache.put(self._key(remote), remote.sha256)
                return True
        return False

    def _verify_and_store(self, remote: RemoteFile, path: Path, hint: str) -> None:
        """Check a file's size and sha256, move it to its place and record it. Raises ArtifactError."""
        size, sha256, location = path.stat().st_size, io.sha256_file(path), self.path(remote)
        expected_sha256 = remote.sha256 or self._hash_cache.get_recorded(self._key(remote)) or sha256
        if size != remote.size:
            raise ArtifactError(location, f"has {size:,} bytes, the hub lists {remote.size:,}", hint)
        if sha256 != expected_sha256:
            source = "the hub lists" if remote.sha256 else "when first downloaded it was"
            problem = f"its sha256 is {sha256[:12]}, {source} {expected_sha256[:12]}"
            raise ArtifactError(location, problem, hint)
        os.replace(path, self.path(remote))
        self._hash_cache.put(self._key(remote), sha256)

    def _require_disk_space(self, missing: list[RemoteFile]) -> None:
        needed_bytes = sum(remote.size - _count_bytes_present(self.path(remote)) for remote in missing)
        free_bytes = shutil.disk_usage(self.repo_dir).free
        if needed_bytes + _MIN_FREE_BYTES > free_bytes:
            raise InputError(
                f"hub.root: {self.repo_dir} has {free_bytes / 1e9:.2f} GB free, {needed_bytes / 1e9:.2f} GB are "
                "needed; free some, lower hub.train_shards, or name another folder"
            )

    def _download(self, missing: list[RemoteFile], workers: int) -> None:
        total_bytes = sum(remote.size for remote in missing)
        progress = Progress("fetch", total_bytes // 1_000_000 or 1, "MB")
        stop_event, pool = threading.Event(), ThreadPoolExecutor(workers)
        try:
            pending = {pool.submit(self._download_file, remote, stop_event) for remote in missing}
            while pending:
                finished, pending = wait(pending, _POLL_INTERVAL_S, FIRST_COMPLETED)
                _raise_first_error(finished)
                present_bytes = sum(_count_bytes_present(self.path(remote)) for remote in missing)
                progress.update(
                    present_bytes // 1_000_000,
                    fraction=present_bytes / (total_bytes or 1),
                    files=f"{len(missing) - len(pending)}/{len(missing)}",
                )
        finally:
            stop_event.set()
            pool.shutdown(cancel_futures=True)
        file_count = format_count(len(missing), "file")
        progress.finish(f"{file_count}, {total_bytes:,} bytes downloaded from {self.repository.repo}")

    def _download_file(self, remote: RemoteFile, stop_event: threading.Event) -> None:
        path = self.path(remote)
        partial_path = _get_partial_path(path)
        with translate_write_errors(self.repo_dir):
            path.parent.mkdir(parents=True, exist_ok=True)
        if _count_bytes_present(path) > remote.size:
            partial_path.unlink()
        self.repository.transfer(remote, partial_path, stop_event)
        try:
            self._verify_and_store(remote, partial_path, "run fetch again, or try another hub.revision")
        except ArtifactError:
            partial_path.unlink()  # otherwise every later fetch would resume the wrong bytes
            raise


def _get_partial_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.incomplete")


def _count_bytes_present(path: Path) -> int:
    """Bytes of a file that are on disk, complete or partial."""
    for candidate in (path, _get_partial_path(path)):
        with contextlib.suppress(FileNotFoundError):
            return candidate.stat().st_size
    return 0


def _raise_first_error(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link ``source`` to ``target``, or copy it where the disk has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with io.atomic_write(target) as partial_path:
            shutil.copyfile(source, partial_path)


@contextlib.contextmanager
def translate_write_errors(root: Path) -> Iterator[None]:
    """Turn an OSError of writing below ``root`` into an InputError naming hub.root, unless the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"hub.root: {root} can't be written ({error.strerror}); name another folder") from None


@contextlib.contextmanager
def _lock_exclusively(repo_dir: Path) -> Iterator[None]:
    """Hold the repository's lock. Raises InputError while another process holds it."""
    lock = filelock.FileLock(repo_dir / _LOCK_FILE)
    with translate_write_errors(repo_dir):
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise InputError(
                f"hub.root: another fetch is filling {repo_dir}; wait for it, or name another folder"
            ) from None
    try:
        yield
    finally:
        lock.release()
