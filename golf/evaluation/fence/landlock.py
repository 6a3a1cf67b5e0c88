"""Landlock (Linux 5.13): the kernel restricts which files this process may open, whoever owns them.

A process restricts itself, forever, with its later threads and children. What no rule allows is refused with EACCES,
or EXDEV for a link or rename, to native code as to Python, and to root too. A rule for a folder holds for all below it,
and no rule can take away what another one allows. Source: docs/references.md#landlock.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FileRights", "query_abi", "restrict"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls, the same on every architecture
_QUERY_VERSION, _RULE_PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FS_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}  # that each version adds
_O_PATH = getattr(os, "O_PATH", 0)  # macOS has none
_TCP_ABI, _BIND_AND_CONNECT_TCP = 4, 3
_SCOPE_ABI, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 3
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # that a rule for a file may hold
_MASKS = {  # by the fields of FileRights
    "readable": _READ_FILE | _READ_DIR,
    "listable": _READ_DIR,
    "writable": _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
    | _MAKE_SYM | _REFER,
    "devices": _READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEV,
    "executable": _READ_FILE | _READ_DIR | _EXECUTE,
}  # fmt: skip


@dataclass(frozen=True)
class FileRights:
    """Paths, of files or of folders with all below them, by what they may be used for. A missing path is no error.

    readable: read and list. listable: list folders alone. writable: read, write, create, remove and rename regular
    files, folders and symbolic links. devices: read, write and control. executable: read and execute.
    """

    readable: tuple[str, ...] = ()
    listable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()

    @classmethod
    def from_payload(cls, payload: dict[str, list[str]]) -> "FileRights":
        """Make rights from what ``dataclasses.asdict`` made, after its way through JSON."""
        return cls(**{kind: tuple(paths) for kind, paths in payload.items()})

    def __or__(self, other: "FileRights") -> "FileRights":
        return FileRights(**{kind: (*getattr(self, kind), *getattr(other, kind)) for kind in _MASKS})

    def masks(self) -> Iterator[tuple[str, int]]:
        """Yield every path with the rights that it gets."""
        for kind, mask in _MASKS.items():
            yield from ((path, mask) for path in getattr(self, kind))


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def query_abi() -> int:
    """Return the version of Landlock that the kernel offers; 0 where it offers none."""
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_QUERY_VERSION))
    except OSError:
        return 0


def restrict(rights: FileRights, *, refuse_tcp: bool = True) -> int:
    """Restrict this thread, and what it starts, to ``rights``; return the ABI version that held.

    From version 6 it can signal no process outside, and reach no abstract socket there. refuse_tcp: from version 4,
    refuse TCP too. The process must have no_new_privs. Raises OSError where the kernel refuses.
    """
    abi = query_abi()
    if abi < 1:
        raise OSError("this kernel offers no Landlock")
    handled = sum(added for version, added in _FS_RIGHTS_BY_ABI.items() if version <= abi)
    attr = _RulesetAttr(
        handled,
        _BIND_AND_CONNECT_TCP if refuse_tcp and abi >= _TCP_ABI else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= _SCOPE_ABI else 0,
    )
    size = 8 if abi < _TCP_ABI else 16 if abi < _SCOPE_ABI else 24  # older kernels refuse fields they do not know
    ruleset_fd = _syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path, mask in rights.masks():
            _allow(ruleset_fd, path, mask & handled)
        _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset_fd), ctypes.c_uint32(0))
    finally:
        os.close(ruleset_fd)
    return abi


def _allow(ruleset_fd: int, path: str, mask: int) -> None:
    try:
        fd = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or not ours to reach
        return
    try:
        is_dir = stat.S_ISDIR(os.fstat(fd).st_mode)
        attr = _PathBeneathAttr(mask if is_dir else mask & _FILE_RIGHTS, fd)
        if attr.allowed_access:
            _syscall(
                _ADD_RULE, ctypes.c_int(ruleset_fd), ctypes.c_int(_RULE_PATH_BENEATH), ctypes.byref(attr),
                ctypes.c_uint32(0),
            )  # fmt: skip
    finally:
        os.close(fd)


def _syscall(number: int, *arguments: object) -> int:
    """Raises OSError with the kernel's error, and where the system has no such calls."""
    if sys.platform != "linux":
        raise OSError("this system has no Landlock")
    result = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)
