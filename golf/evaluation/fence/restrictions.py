"""The fence: what the kernel lets the predictor's process do, raised before any of the predictor's code runs.

It has two restrictions. Landlock is applied first, before this process has a second thread, so that it holds every
thread. Then the evaluator's own code makes what needs more than the predictor may have: the connections between ranks,
the device's context, the compiler's first graph. seccomp is applied last, to all threads. A network namespace is
an addition where the kernel allows one. A restriction that cannot be applied is reported and never silently left out.
"""

import contextlib
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
    """Which restrictions hold, and why others do not, in words for the verdict."""

    restrictions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("no fence was raised",)

    @classmethod
    def from_payload(cls, payload: Any) -> "FenceRecord":
        """Read a record that came through the connection. Raises ValueError for one that is malformed."""
        parts = [payload.get(name) if isinstance(payload, dict) else None for name in ("restrictions", "missing")]
        restrictions, missing = (tuple(part) if isinstance(part, list) else (None,) for part in parts)
        if not all(isinstance(entry, str) for entry in (*restrictions, *missing)):
            raise ValueError("not a fence record")
        return cls(restrictions, missing)

    @classmethod
    def combine(cls, records: "list[FenceRecord]") -> "FenceRecord":
        """Combine records of processes: a restriction holds if it holds each, and is missing if one lacks it."""
        shared = [entry for entry in records[0].restrictions if all(entry in record.restrictions for record in records)]
        return cls(tuple(shared), tuple(dict.fromkeys(entry for record in records for entry in record.missing)))

    def to_payload(self) -> dict[str, list[str]]:
        return {"restrictions": list(self.restrictions), "missing": list(self.missing)}


class Fence:
    """The fence of this process. Call ``limit_files`` while it has one thread, then ``refuse_calls``.

    rights: what the predictor may open. preparing: what may be opened besides until ``refuse_calls``, and by threads
    that start until then. has_ranks: whether the process is connected to others, in the machine's network.
    allow_commands: whether it may start those programs that ``rights`` lets it execute.
    """

    def __init__(
        self, rights: FileRights, preparing: FileRights, *, has_ranks: bool = False, allow_commands: bool = False
    ) -> None:
        self._rights, self._preparing = rights, preparing
        self._has_ranks, self._allow_commands = has_ranks, allow_commands

    def limit_files(self) -> None:
        """Give up new privileges, limit resources and let Landlock refuse all that may not be opened until the end.

        No limit is set on address space, which CUDA reserves by the terabyte, nor on processes, which the kernel counts
        for the whole user and for root not at all; seccomp refuses new ones.
        """
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the memory of this run for the next
        hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        size = MAX_FILE_BYTES if hard_limit == resource.RLIM_INFINITY else min(MAX_FILE_BYTES, hard_limit)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):  # refuse_calls reports it
            landlock.restrict(self._rights | self._preparing, refuse_tcp=False)

    def refuse_calls(self) -> FenceRecord:
        """Close what was open for preparing, apply seccomp, and return the record of all restrictions."""
        restrictions, missing = [], []
        try:
            restrictions.append(f"Landlock (ABI {landlock.restrict(self._rights)})")
        except OSError as error:
            missing.append(f"no Landlock ({error})")
        has_namespace = not (self._allow_commands or self._has_ranks) and _unshare(_CLONE_NEWNET | _CLONE_NEWIPC)
        try:
            seccomp.refuse_calls(allow_commands=self._allow_commands)
            restrictions.append("seccomp except for compilers" if self._allow_commands else "seccomp")
        except OSError as error:
            missing.append(f"no seccomp ({error})")
        return FenceRecord((*restrictions, *(["network namespace"] if has_namespace else [])), tuple(missing))


def _unshare(flags: int) -> bool:
    """Move this thread into new namespaces, which only root may; returns whether the kernel did."""
    return sys.platform == "linux" and ctypes.CDLL(None).unshare(flags) == 0
