"""seccomp (Linux 3.17): the kernel refuses system calls of this process with EPERM, forever, in all its threads.

A filter is a program for the kernel's packet filter that sees a call's number and its arguments' values, but not what
they point to. Source: docs/references.md#seccomp.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable

__all__ = ["find_missing_support", "refuse_calls"]

# number on x86_64, number on aarch64; None where that architecture has no such call
_ALWAYS_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # new connections; those that ranks made before stay usable
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kcmp": (312, 272),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setsid": (112, 157), "setpgid": (109, 154),  # a process of another group would outlive the session
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),  # on the parent, they would reach the next session
    # memory that outlives the process and is no file
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "semget": (64, 190), "semop": (65, 193), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "getxattr": (191, 8), "lgetxattr": (192, 9), "fgetxattr": (193, 10), "getxattrat": (464, 464),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    # ways around this filter and Landlock
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40),
    "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "mknod": (133, None), "mknodat": (259, 33),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "iopl": (172, None), "ioperm": (173, None),
    # the machine itself, for root
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "sethostname": (170, 161), "setdomainname": (171, 162),
}  # fmt: skip
_REFUSED_WITHOUT_COMMANDS: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
}  # fmt: skip
_MODE_CHANGES: dict[str, tuple[int | None, int | None]] = {  # refused; for a linker, which sets modes, ignored
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
}  # fmt: skip
_KILL, _TGKILL, _PRLIMIT64, _CLONE, _CLONE3, _IOCTL = (62, 129), (234, 131), (302, 261), (56, 220), (435, 435), (16, 29)
_SCHED_SETAFFINITY = (203, 122)
_CLONE_THREAD, _CLONE_NAMESPACES, _TIOCSTI = 0x10000, 0x7E020000, 0x5412  # TIOCSTI types into a terminal
# The second byte of commands that file systems take, also on files that are open for reading alone: flags, version,
# project, encryption and verity of ext4 and others; XFS; Btrfs; F2FS. No device that the fence opens has them.
_FILE_SYSTEM_COMMANDS = (ord("f") << 8, ord("v") << 8, ord("X") << 8, 0x9400, 0xF500)
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000  # calls of x86_64's second numbering
_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # _ERRNO alone: the call does nothing and returns 0
_LOAD, _AND, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16  # in struct seccomp_data
_SECCOMP_CALL = (317, 277)
_SET_MODE_FILTER, _ALL_THREADS = 1, 1

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def find_missing_support() -> str:
    """Say why no filter can be made here; "" where one can."""
    if sys.platform != "linux":
        return f"no seccomp on {sys.platform}"
    if platform.machine() not in _AUDIT_ARCH or sys.maxsize < 1 << 32:
        return f"no seccomp filter for {platform.machine()}"
    return ""


def refuse_calls(*, allow_commands: bool) -> None:
    """Refuse the listed calls in every thread of this process, and signals to other processes.

    The process must have no_new_privs.
    allow_commands: let it start processes, for a compiler. Raises OSError where the kernel refuses the filter.
    """
    if missing := find_missing_support():
        raise OSError(missing)
    program = b"".join(
        struct.pack("=HBBI", *each) for each in _assemble(platform.machine(), os.getpid(), allow_commands)
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SECCOMP_CALL[platform.machine() == "aarch64"]
    result = libc.syscall(
        ctypes.c_long(number), ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_ALL_THREADS), ctypes.c_char_p(header)
    )
    if result > 0:
        raise OSError(f"thread {result} cannot take the filter")
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _assemble(machine: str, pid: int, allow_commands: bool) -> list[_Instruction]:
    """The filter's program. Every block ends by a return or falls through with the call's number loaded."""
    column = machine == "aarch64"
    refused = _ALWAYS_REFUSED | ({} if allow_commands else _REFUSED_WITHOUT_COMMANDS)
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _ERRNO | _EPERM),  # 32-bit calls have other numbers
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":
        program += [(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    answers = dict.fromkeys(refused.values(), _EPERM) | dict.fromkeys(
        _MODE_CHANGES.values(), 0 if allow_commands else _EPERM
    )
    numbers = {number: errno for pair, errno in answers.items() if (number := pair[column]) is not None}
    for number, errno in sorted(numbers.items()):
        program += _return_if_number(number, _ERRNO | errno)
    program += _return_if_number(_CLONE3[column], _ERRNO | _ENOSYS)  # its flags are in memory; libc then uses clone
    program += _unless_argument(_KILL[column], 0, _JUMP_EQUAL, (pid,))
    program += _unless_argument(_TGKILL[column], 0, _JUMP_EQUAL, (pid,))
    program += _unless_argument(_PRLIMIT64[column], 0, _JUMP_EQUAL, (0, pid))
    program += _unless_argument(_SCHED_SETAFFINITY[column], 0, _JUMP_EQUAL, (0, pid), errno=0)  # pools may bind threads
    if allow_commands:
        program += _if_argument(_CLONE[column], 0, _JUMP_SET, _CLONE_NAMESPACES)
    else:
        program += _unless_argument(_CLONE[column], 0, _JUMP_SET, (_CLONE_THREAD,))
    program += _if_argument(_IOCTL[column], 1, _JUMP_EQUAL, _TIOCSTI, masked=(0xFF00, _FILE_SYSTEM_COMMANDS))
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _return_if_number(number: int, value: int) -> list[_Instruction]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, value)]


def _unless_argument(
    number: int, index: int, jump: int, constants: Iterable[int], *, errno: int = _EPERM
) -> list[_Instruction]:
    """Refuse the call unless an argument's lower half compares with one of ``constants``."""
    tests = [instruction for constant in constants for instruction in ((jump, 0, 1, constant), (_RETURN, 0, 0, _ALLOW))]
    block: list[_Instruction] = [(_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * index), *tests]
    block.append((_RETURN, 0, 0, _ERRNO | errno))
    return [(_JUMP_EQUAL, 0, len(block), number), *block]


def _if_argument(
    number: int, index: int, jump: int, constant: int, masked: tuple[int, Iterable[int]] = (0, ())
) -> list[_Instruction]:
    """Refuse the call if an argument's lower half compares with ``constant``, or is one of some values after a mask."""
    mask, values = masked
    refusal = (_RETURN, 0, 0, _ERRNO | _EPERM)
    tests = [instruction for value in values for instruction in ((_JUMP_EQUAL, 0, 1, value), refusal)]
    block: list[_Instruction] = [
        (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * index),
        (jump, 0, 1, constant),
        refusal,
        *(((_AND, 0, 0, mask), *tests) if tests else ()),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return [(_JUMP_EQUAL, 0, len(block), number), *block]
