"""The fence: what the kernel lets the predictor's process do, raised before any of the predictor's code runs.

It has two walls. Landlock is raised first, before this process has a second thread, so that every thread is behind it.
Then the evaluator's own code makes what needs more than the predictor may have: the connections between ranks, the
device's context, a trial of the compiler. seccomp is raised last, in all threads at once. A network namespace is an
addition where the kernel allows one. A wall that cannot be raised is reported and never silently left out.
"""

import ctypes
import resource
import sys
from dataclasses import dataclass
from typing import Any

from golf.evaluation.fence import landlock, seccomp
from golf.evaluation.fence.landlock import FileRights

__all__ = ["MAX_FILE_BYTES", "Fence", "FenceRecord"]

MAX_FILE_BYTES = 16 << 30  # that the process may write: none needs more, and no endless file fills the disk
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNET, _CLONE_NEWIPC = 0x40000000, 0x08000000


@dataclass(frozen=True)
class FenceRecord:
    """Which walls stand, and why others do not, in words for the verdict."""

    walls: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("no fence was raised",)

    @classmethod
    def from_payload(cls, payload: Any) -> "FenceRecord":
        """A record that came through the connection. Raises ValueError for one that is malformed."""
        parts = [payload.get(name) if isinstance(payload, dict) else None for name in ("walls", "missing")]
        walls, missing = (tuple(part) if isinstance(part, list) else (None,) for part in parts)
        if not all(isinstance(entry, str) for entry in (*walls, *missing)):
            raise ValueError("not a fence record")
        return cls(walls, missing)

    @classmethod
    def combine(cls, records: "list[FenceRecord]") -> "FenceRecord":
        """Of several processes: a wall stands where it stands in each, and is missing where it is in one."""
        walls = [wall for wall in records[0].walls if all(wall in record.walls for record in records)]
        return cls(tuple(walls), tuple(dict.fromkeys(entry for record in records for entry in record.missing)))

    def to_payload(self) -> dict[str, list[str]]:
        return {"walls": list(self.walls), "missing": list(self.missing)}


class Fence:
    """The fence of this process. Call ``limit_files`` while it has one thread, then ``refuse_calls``.

    rights: what the predictor may open. joining: what it may be opened besides until ``refuse_calls``, and by threads
    that start until then. allow_commands: whether it may start those programs that ``rights`` lets it execute.
    """

    def __init__(self, rights: FileRights, joining: FileRights | None = None, *, allow_commands: bool = False) -> None:
        self._rights, self._joining, self._allow_commands = rights, joining, allow_commands
        self._walls: list[str] = []
        self._missing: list[str] = []

    def limit_files(self) -> None:
        """Give up new privileges, limit resources and raise Landlock.

        No limit is set on address space, which CUDA reserves by the terabyte, nor on processes, which the kernel counts
        for the whole user and for root not at all; seccomp refuses new ones.
        """
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the memory of this run for the next
        hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        size = MAX_FILE_BYTES if hard_limit == resource.RLIM_INFINITY else min(MAX_FILE_BYTES, hard_limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        try:
            if self._joining is not None:
                landlock.restrict(self._rights | self._joining, refuse_tcp=False)
            else:
                self._restrict()
        except OSError as error:
            self._missing.append(f"no Landlock ({error})")
            self._joining = None

    def _restrict(self) -> None:
        self._walls.append(f"Landlock (ABI {landlock.restrict(self._rights)})")

    def refuse_calls(self) -> FenceRecord:
        """Raise the rest, and return the record of all."""
        if self._joining is not None:
            self._restrict()
        if not self._allow_commands and self._joining is None and _unshare(_CLONE_NEWNET | _CLONE_NEWIPC):
            extra = ["network namespace"]
        else:
            extra = []
        try:
            seccomp.refuse_calls(allow_commands=self._allow_commands)
            self._walls.append("seccomp except for compilers" if self._allow_commands else "seccomp")
        except OSError as error:
            self._missing.append(f"no seccomp ({error})")
        return FenceRecord((*self._walls, *extra), tuple(self._missing))


def _unshare(flags: int) -> bool:
    """Move this thread into new namespaces, which only root may; returns whether the kernel did."""
    return sys.platform == "linux" and ctypes.CDLL(None).unshare(flags) == 0
