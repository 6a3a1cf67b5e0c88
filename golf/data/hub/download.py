"""The files of a repository on this machine: each comes once, whole, and is what the hub says it is.

``<root>/<owner>--<name>/<commit>/<path>``, and ``hashes.json`` beside the commits. A file's sha256 must be the one that
the hub lists; where it lists none, the first that was seen, now and ever after. A file that another commit has as well
is linked. What comes lies under ``<path>.incomplete`` until it is whole and checked; after a break it goes on there.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from golf.artifacts import io
from golf.artifacts.hash_cache import HashCache
from golf.data.hub.client import Repository
from golf.data.hub.manifest import RemoteFile
from golf.errors import ArtifactError, InputError
from golf.pipeline.progress import Progress

_POLL_INTERVAL_S = 0.5  # between looks at how much has come
_MIN_FREE_BYTES = 1 << 20  # bytes left free


class DownloadCache:
    """Of one repository below ``root``, which may be shared by workspaces but not be filled by two at once."""

    def __init__(self, root: Path, repository: Repository):
        """Raises BadInput naming hub.root where it can't be written."""
        self.repository = repository
        self.repo_dir = root / repository.repo.replace("/", "--")
        with require_writable(root):
            (self.repo_dir / repository.commit).mkdir(parents=True, exist_ok=True)

    def _key(self, remote: RemoteFile) -> str:
        return f"{self.repository.commit}/{remote.path}"

    def path(self, remote: RemoteFile) -> Path:
        return self.repo_dir / self._key(remote)

    def ensure_files(self, files: list[RemoteFile], workers: int) -> list[str]:
        """See to it that all of them are here, ``workers`` at a time; returns their sha256 in the same order.

        Raises BadArtifact for a file that is not what it must be, BadInput where the disk has no room for the rest,
        and what Repository.transfer raises.
        """
        with _lock_exclusively(self.repo_dir):
            self._hash_cache = HashCache(self.repo_dir)  # now, as another fetch may have added to it until here
            missing = [remote for remote in files if not self._has(remote) and not self._link_from_other_commit(remote)]
            try:
                if missing:
                    self._require_disk_space(missing)
                    self._download(missing, workers)
            finally:
                with require_writable(self.repo_dir):
                    self._hash_cache.save()
        return [self._hash_cache.entries[self._key(remote)]["sha256"] for remote in files]

    def _has(self, remote: RemoteFile) -> bool:
        """Whether the file is here, which is checked anew when it has changed."""
        if not self.path(remote).exists():
            return False
        if self._hash_cache.lookup(self._key(remote)) is None:
            self._verify_and_store(remote, self.path(remote), "delete it, and run fetch again")
        return True

    def _link_from_other_commit(self, remote: RemoteFile) -> bool:
        """Whether another commit has the file, which then is here as well."""
        for key, row in self._hash_cache.entries.items():
            if remote.sha256 is not None and row["sha256"] == remote.sha256 and self._hash_cache.lookup(key):
                link_or_copy(self.repo_dir / key, self.path(remote))
                self._hash_cache.put(self._key(remote), remote.sha256)
                return True
        return False

    def _verify_and_store(self, remote: RemoteFile, path: Path, hint: str) -> None:
        """Note the sha256 of a file once its size and it are right. Raises BadArtifact."""
        size, sha256, location = path.stat().st_size, io.sha256_file(path), self.path(remote)
        expected_sha256 = remote.sha256 or self._hash_cache.recorded(self._key(remote)) or sha256
        if size != remote.size:
            raise ArtifactError(location, f"{size:,} bytes, the hub lists {remote.size:,}", hint)
        if sha256 != expected_sha256:
            expected_source = "the hub lists" if remote.sha256 else "it was, when first seen,"
            raise ArtifactError(
                location, f"its sha256 is {sha256[:12]}, {expected_source} {expected_sha256[:12]}", hint
            )
        os.replace(path, self.path(remote))
        self._hash_cache.put(self._key(remote), sha256)

    def _require_disk_space(self, missing: list[RemoteFile]) -> None:
        needed_bytes = sum(remote.size - _bytes_present(self.path(remote)) for remote in missing)
        free_bytes = shutil.disk_usage(self.repo_dir).free
        if needed_bytes + _MIN_FREE_BYTES > free_bytes:
            raise InputError(
                f"hub.root: {self.repo_dir} has {free_bytes / 1e9:.2f} GB free, {needed_bytes / 1e9:.2f} GB are to come; free some, "
                "lower hub.train_shards, or name another folder"
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
                present_bytes, n_pending = sum(_bytes_present(self.path(remote)) for remote in missing), len(pending)
                progress.update(
                    present_bytes // 1_000_000,
                    fraction=present_bytes / (total_bytes or 1),
                    files=f"{len(missing) - n_pending}/{len(missing)}",
                )
        finally:
            stop_event.set()
            pool.shutdown(cancel_futures=True)
        file_count = f"{len(missing)} file{'s' * (len(missing) != 1)}"
        progress.finish(f"{file_count}, {total_bytes:,} bytes came from {self.repository.repo}")

    def _download_file(self, remote: RemoteFile, stop_event: threading.Event) -> None:
        path = self.path(remote)
        partial_path = _partial_path(path)
        with require_writable(self.repo_dir):
            path.parent.mkdir(parents=True, exist_ok=True)
        if _bytes_present(path) > remote.size:
            partial_path.unlink()
        self.repository.transfer(remote, partial_path, stop_event)
        try:
            self._verify_and_store(remote, partial_path, "run fetch again, or try another hub.revision")
        except ArtifactError:
            partial_path.unlink()  # else it would never be mended
            raise


def _partial_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.incomplete")


def _bytes_present(path: Path) -> int:
    """Bytes of a file that are here, whole or on its way."""
    for candidate in (path, _partial_path(path)):
        with contextlib.suppress(FileNotFoundError):
            return candidate.stat().st_size
    return 0


def _raise_first_error(futures: set[Future]) -> None:
    for future in futures:
        future.result()


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the disk knows no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with io.atomic_write(target) as partial_path:
            shutil.copyfile(source, partial_path)


@contextlib.contextmanager
def require_writable(root: Path) -> Iterator[None]:
    """Write below ``root``. Raises BadInput naming hub.root where that is not possible, a full disk aside."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"hub.root: {root} can't be written ({error.strerror}); name a folder that can") from None


@contextlib.contextmanager
def _lock_exclusively(repo_dir: Path) -> Iterator[None]:
    """Raises BadInput while another process does the same."""
    with require_writable(repo_dir):
        file = open(repo_dir / "lock", "a")  # noqa: SIM115, closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"hub.root: another fetch is filling {repo_dir}; wait for it, or name another folder"
            ) from None
        yield
