"""Raise the fence around a fork of this process and try to get out. Arguments: folder, restrictions, uid; prints JSON.

folder: a new one, which gets inside/ and val.bin. restrictions: "landlock", "seccomp", "namespace", and "commands" to
let it start programs, with commas; or "none". The result has a name for each way out, and whether it worked; the
fence's record is under "record".
"""

import _posixsubprocess
import ctypes
import errno
import json
import mmap
import multiprocessing.util
import os
import platform
import signal
import socket
import sys
import time
from pathlib import Path

from golf.evaluation.fence import landlock, seccomp
from golf.evaluation.fence import restrictions as fence_restrictions
from golf.evaluation.fence.landlock import FileRights
from golf.evaluation.fence.restrictions import Fence

SECRET = b"the evaluator's val"
_IOPRIO_SET = 30 if platform.machine() == "aarch64" else 251
libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def by_dir_fd(folder, other):
    os.chdir(folder)
    fd = os.open("inside", os.O_PATH)
    return os.read(os.open("../val.bin", os.O_RDONLY, dir_fd=fd), 3) == b"val"


def by_ctypes_open(folder, other):
    fd = libc.open(f"{folder}/val.bin".encode(), os.O_RDONLY)
    return fd >= 0 and os.read(fd, 3) == b"val"


def by_ctypes_system(folder, other):
    return libc.system(f"/bin/cp {folder}/val.bin {folder}/inside/copy".encode()) == 0


def by_spawnv_passfds(folder, other):
    pid = multiprocessing.util.spawnv_passfds(b"/bin/cp", [b"cp", *_copy_arguments(folder)], [])
    return os.waitpid(pid, 0)[1] == 0


def by_fork_exec(folder, other):
    read_fd, write_fd = os.pipe()
    pid = _posixsubprocess.fork_exec(
        [b"cp", *_copy_arguments(folder)], [b"/bin/cp"], True, (write_fd,), None, None, -1, -1, -1, -1, -1, -1,
        read_fd, write_fd, False, False, -1, None, None, None, -1, None, False,
    )  # fmt: skip
    return os.waitpid(pid, 0)[1] == 0


def by_hard_link(folder, other):
    os.link(f"{folder}/val.bin", f"{folder}/inside/link")
    return Path(folder, "inside/link").read_bytes() == b"val"


def by_proc_mem(folder, other):
    with open(f"/proc/{other['pid']}/mem", "rb") as memory:
        memory.seek(other["address"])
        return memory.read(len(SECRET)) == SECRET


def by_process_vm_readv(folder, other):
    buffer = ctypes.create_string_buffer(len(SECRET))
    local, remote = _Iovec(ctypes.addressof(buffer), len(SECRET)), _Iovec(other["address"], len(SECRET))
    libc.process_vm_readv(other["pid"], ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return buffer.raw[: len(SECRET)] == SECRET


def by_ptrace(folder, other):
    return libc.ptrace(0x4206, other["pid"], 0, 0) == 0  # PTRACE_SEIZE


def by_python_socket(folder, other):
    with socket.socket() as connection:
        connection.settimeout(5)
        connection.connect(("127.0.0.1", other["port"]))
        return connection.recv(3) == b"val"


def by_ctypes_connect(folder, other):
    fd = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = (
        socket.AF_INET.to_bytes(2, sys.byteorder) + other["port"].to_bytes(2, "big") + bytes([127, 0, 0, 1] + [0] * 8)
    )
    return fd >= 0 and libc.connect(fd, address, len(address)) == 0


def by_shared_memory(folder, other):
    return libc.shmat(libc.shmget(other["key"], 0, 0), None, 0o10000) not in (-1, 0)


def by_attribute(folder, other):
    return libc.setxattr(f"{folder}/val.bin".encode(), b"user.val", b"val", 3, 0) == 0


def by_times(folder, other):
    os.utime(f"{folder}/val.bin", (1, 2))
    return True


def by_mode(folder, other):
    Path(folder, "val.bin").chmod(0o757)
    return Path(folder, "val.bin").stat().st_mode & 0o777 == 0o757


def by_file_version(folder, other):
    return _control_file(folder, 0x40047602, 7)  # FS_IOC32_SETVERSION; what it answers shows that it got there


def by_file_flags(folder, other):
    return _control_file(folder, 0x40086602, 0x80)  # FS_IOC_SETFLAGS, FS_NOATIME_FL


def by_project(folder, other):
    return _control_file(folder, 0x401C5820, 0)  # FS_IOC_FSSETXATTR


def by_priority(folder, other):
    os.setpriority(os.PRIO_PROCESS, other["pid"], os.getpriority(os.PRIO_PROCESS, other["pid"]))
    return True


def by_io_priority(folder, other):
    return libc.syscall(_IOPRIO_SET, 1, other["pid"], 2 << 13 | 5) == 0


def by_affinity(folder, other):
    before = os.sched_getaffinity(other["pid"])
    os.sched_setaffinity(other["pid"], {max(before)} if len(before) > 1 else before)
    return len(before) == 1 or os.sched_getaffinity(other["pid"]) != before


def by_scheduler(folder, other):
    os.sched_setscheduler(other["pid"], os.SCHED_BATCH, os.sched_param(0))
    return True


def by_daemon(folder, other):
    pid = os.fork()
    if pid == 0:
        os._exit(libc.setsid() < 0)
    return os.waitpid(pid, 0)[1] == 0


def by_signal(folder, other):
    os.kill(other["pid"], signal.SIGCONT)
    return True


def by_writing_outside(folder, other):
    Path(folder, "outside").write_bytes(b"val")
    return True


def _control_file(folder, command, value):
    """Whether a command reaches a file that is open for reading; one that the file system lacks reaches it too."""
    with open(f"{folder}/inside/readable", "rb") as file:
        result = libc.ioctl(file.fileno(), ctypes.c_ulong(command), ctypes.byref((ctypes.c_long * 8)(value)))
        return result == 0 or ctypes.get_errno() in (errno.ENOTTY, errno.EOPNOTSUPP)


def _copy_arguments(folder):
    return [f"{folder}/val.bin".encode(), f"{folder}/inside/copy".encode()]


WAYS = {name: value for name, value in list(globals().items()) if name.startswith("by_")}


def main(folder: str, restrictions: str, uid: int) -> None:
    Path(folder, "inside").mkdir(parents=True)
    Path(folder, "val.bin").write_bytes(b"val")
    Path(folder, "inside/readable").touch()
    for path in (Path(folder), *Path(folder).rglob("*")):
        path.chmod(0o777)
        os.chown(path, uid, -1)
    "".encode("idna")  # imports what connecting needs
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory.write(SECRET)
    listener = socket.create_server(("127.0.0.1", 0))
    evaluator_pid = os.fork()
    if evaluator_pid == 0:
        _become(uid)
        while True:
            connection, _ = listener.accept()
            connection.send(b"val")
            connection.close()
    time.sleep(0.1)
    key = 0x601F0000 | os.getpid() & 0xFFFF
    shared = libc.shmget(key, 4096, 0o1666)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    other = {"pid": evaluator_pid, "address": address, "port": listener.getsockname()[1], "key": key}
    results = {}
    try:
        for name, way in WAYS.items():
            results[name] = _try_in_fork(way, folder, other, restrictions, uid)
        results["record"] = _try_in_fork(None, folder, other, restrictions, uid)
    finally:
        libc.shmctl(shared, 0, None)
        os.kill(evaluator_pid, signal.SIGKILL)
        os.waitpid(evaluator_pid, 0)
    print(json.dumps(results))


def _become(uid: int) -> None:
    if uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as a process that was that user's from the start


def _try_in_fork(way, folder, other, restrictions, uid):
    """Whether a way works, in a fork with these restrictions; without one, the fence's record."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become(uid)
            record = _raise_fence(folder, restrictions)
            try:
                answer = record.to_payload() if way is None else bool(way(folder, other))
            except Exception:
                answer = False
            os.write(write_fd, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    os.waitpid(pid, 0)
    with open(read_fd, "rb") as answers:
        return json.loads(answers.read() or b"null")


def _raise_fence(folder: str, restrictions: str):
    if "landlock" not in restrictions:
        landlock.query_abi = lambda: 0
    if "seccomp" not in restrictions:
        seccomp.find_missing_support = lambda: "refused"
    if "namespace" not in restrictions:
        fence_restrictions._unshare = lambda flags: False
    system = ("/usr/lib", "/lib", "/lib64", "/bin", "/proc/self", "/dev/null", "/etc/ld.so.cache")
    rights = FileRights(readable=system, writable=(f"{folder}/inside",), executable=("/bin", "/usr/bin", "/lib64"))
    fence = Fence(rights, FileRights(), allow_commands="commands" in restrictions)
    fence.limit_files()
    return fence.refuse_calls()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
