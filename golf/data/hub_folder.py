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

from golf.data.hashes import Hashes
from golf.data.hub import Remote
from golf.data.hub_client import Repository
from golf.ground import store
from golf.ground.errors import BadArtifact, BadInput
from golf.ground.progress import Progress

LOOK_S = 0.5  # between looks at how much has come
SPARE = 1 << 20  # bytes left free


class Folder:
    """Of one repository below ``root``, which may be shared by workspaces but not be filled by two at once."""

    def __init__(self, root: Path, repository: Repository):
        """Raises BadInput naming hub.root where it can't be written."""
        self.repository = repository
        self.home = root / repository.repo.replace("/", "--")
        with writable(root):
            (self.home / repository.commit).mkdir(parents=True, exist_ok=True)

    def name(self, remote: Remote) -> str:
        return f"{self.repository.commit}/{remote.path}"

    def path(self, remote: Remote) -> Path:
        return self.home / self.name(remote)

    def bring(self, files: list[Remote], workers: int) -> list[str]:
        """See to it that all of them are here, ``workers`` at a time; returns their sha256 in the same order.

        Raises BadArtifact for a file that is not what it must be, BadInput where the disk has no room for the rest,
        and what Repository.transfer raises.
        """
        with alone(self.home):
            self.hashes = Hashes(self.home)  # now, as another fetch may have added to it until here
            lacking = [remote for remote in files if not self.have(remote) and not self.linked(remote)]
            try:
                if lacking:
                    self.demand_room(lacking)
                    self.download(lacking, workers)
            finally:
                with writable(self.home):
                    self.hashes.save()
        return [self.hashes.rows[self.name(remote)]["sha256"] for remote in files]

    def have(self, remote: Remote) -> bool:
        """Whether the file is here, which is checked anew when it has changed."""
        if not self.path(remote).exists():
            return False
        if self.hashes.known(self.name(remote)) is None:
            self.accept(remote, self.path(remote), "delete it, and run fetch again")
        return True

    def linked(self, remote: Remote) -> bool:
        """Whether another commit has the file, which then is here as well."""
        for name, row in self.hashes.rows.items():
            if remote.sha256 is not None and row["sha256"] == remote.sha256 and self.hashes.known(name):
                link(self.home / name, self.path(remote))
                self.hashes.note(self.name(remote), remote.sha256)
                return True
        return False

    def accept(self, remote: Remote, path: Path, cure: str) -> None:
        """Note the sha256 of a file once its size and it are right. Raises BadArtifact."""
        size, found, where = path.stat().st_size, store.digest(path), self.path(remote)
        wanted = remote.sha256 or self.hashes.first(self.name(remote)) or found
        if size != remote.size:
            raise BadArtifact(where, f"{size:,} bytes, the hub lists {remote.size:,}", cure)
        if found != wanted:
            whose = "the hub lists" if remote.sha256 else "it was, when first seen,"
            raise BadArtifact(where, f"its sha256 is {found[:12]}, {whose} {wanted[:12]}", cure)
        os.replace(path, self.path(remote))
        self.hashes.note(self.name(remote), found)

    def demand_room(self, lacking: list[Remote]) -> None:
        need = sum(remote.size - came(self.path(remote)) for remote in lacking)
        free = shutil.disk_usage(self.home).free
        if need + SPARE > free:
            raise BadInput(
                f"hub.root: {self.home} has {free / 1e9:.2f} GB free, {need / 1e9:.2f} GB are to come; free some, "
                "lower hub.train_shards, or name another folder"
            )

    def download(self, lacking: list[Remote], workers: int) -> None:
        whole = sum(remote.size for remote in lacking)
        progress = Progress("fetch", whole // 1_000_000 or 1, "MB")
        stop, pool = threading.Event(), ThreadPoolExecutor(workers)
        try:
            running = {pool.submit(self.one, remote, stop) for remote in lacking}
            while running:
                ended, running = wait(running, LOOK_S, FIRST_COMPLETED)
                raise_first(ended)
                have, left = sum(came(self.path(remote)) for remote in lacking), len(running)
                progress.update(
                    have // 1_000_000, share=have / (whole or 1), files=f"{len(lacking) - left}/{len(lacking)}"
                )
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        number = f"{len(lacking)} file{'s' * (len(lacking) != 1)}"
        progress.done(f"{number}, {whole:,} bytes came from {self.repository.repo}")

    def one(self, remote: Remote, stop: threading.Event) -> None:
        path = self.path(remote)
        partial = partial_of(path)
        with writable(self.home):
            path.parent.mkdir(parents=True, exist_ok=True)
        if came(path) > remote.size:
            partial.unlink()
        self.repository.transfer(remote, partial, stop)
        try:
            self.accept(remote, partial, "run fetch again, or try another hub.revision")
        except BadArtifact:
            partial.unlink()  # else it would never be mended
            raise


def partial_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.incomplete")


def came(path: Path) -> int:
    """Bytes of a file that are here, whole or on its way."""
    for each in (path, partial_of(path)):
        with contextlib.suppress(FileNotFoundError):
            return each.stat().st_size
    return 0


def raise_first(ended: set[Future]) -> None:
    for future in ended:
        future.result()


def link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the disk knows no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with store.writing(target) as partial:
            shutil.copyfile(source, partial)


@contextlib.contextmanager
def writable(root: Path) -> Iterator[None]:
    """Write below ``root``. Raises BadInput naming hub.root where that is not possible, a full disk aside."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadInput(f"hub.root: {root} can't be written ({error.strerror}); name a folder that can") from None


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Raises BadInput while another process does the same."""
    with writable(home):
        file = open(home / "lock", "a")  # noqa: SIM115, closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"hub.root: another fetch is filling {home}; wait for it, or name another folder") from None
        yield
