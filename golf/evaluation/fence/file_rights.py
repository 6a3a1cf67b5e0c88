"""Which files the predictor's process may open: its folder, its packages, Python, shared libraries and its device.

Everything else is refused: the project with val, the user's home, other temporary folders, shared memory, the files of
other processes.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from golf.evaluation.fence.landlock import FileRights

__all__ = ["list_compilers", "list_file_rights", "list_preparing_rights", "subtract"]

_LIBRARY_DIRS = ("/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib", "/usr/libexec")
_LIBRARY_DIR_OF_PYTHON = "python"  # start of the names of folders there that hold Python packages
_SYSTEM_FILES = (
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone", "/etc/passwd",
    "/etc/group", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/usr/share/zoneinfo",
    "/usr/share/locale", "/dev/random", "/dev/urandom", "/dev/zero", "/proc/cpuinfo", "/proc/meminfo",
    "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/loadavg", "/proc/uptime", "/proc/sys/vm",
    "/proc/sys/kernel/osrelease", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip
_OWN_PROCESS = "/proc/self"  # not resolved here: the process that is restricted resolves it
_DEVICES = ("/dev/null",)
_CUDA_FILES = (
    "/sys", "/proc/driver", "/proc/devices", "/proc/modules", "/proc/sys/kernel", "/etc/nvidia", "/usr/share/nvidia",
    "/usr/local/nvidia", "/run/nvidia-persistenced", "/etc/vulkan", "/usr/local/cuda",
)  # fmt: skip
_CUDA_DEVICES = (
    "/dev/nvidia-caps",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
    "/dev/nvidiactl",
)
_NAME_SERVICE_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services")
_COMPILER_FILES = ("/usr/include", "/usr/local/include", "/usr/share/gcc", "/etc/alternatives")
_COMPILER_PARTS = ("cc1", "cc1plus", "collect2", "as", "ld", "lto-wrapper", "liblto_plugin.so")
_DYNAMIC_LINKERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
_COMPILER_WAIT_S = 10


def list_file_rights(
    folder: str, packages: Iterable[Path], package_dirs: Iterable[str], denied: Collection[str], *, uses_cuda: bool
) -> FileRights:
    """Return the rights of a predictor in ``folder``.

    packages: those that it may read, in ``package_dirs``, of which it may read the names alone. denied: files and
    folders that it may not read though another folder's rule would allow it.
    """
    stdlib_dirs = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    library_dirs = [*_LIBRARY_DIRS, *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    cuda_toolkits = [*map(str, Path("/usr/local").glob("cuda-*"))] if uses_cuda else []
    shared_libraries = map(str, Path(sys.base_prefix, "lib").glob("*.so*"))
    allowed = [
        *_SYSTEM_FILES,
        *(_CUDA_FILES if uses_cuda else ()),
        *cuda_toolkits,
        *shared_libraries,
        *stdlib_dirs,
        *map(str, packages),
        *filter(None, library_dirs),
    ]
    python_dirs = [
        str(path) for library_dir in _LIBRARY_DIRS for path in Path(library_dir).glob(f"{_LIBRARY_DIR_OF_PYTHON}*")
    ]
    inside_stdlib = [f"{path}/{name}" for path in stdlib_dirs for name in ("site-packages", "dist-packages")]
    is_stdlib = {os.path.realpath(path) for path in stdlib_dirs}
    hidden = [path for path in python_dirs if os.path.realpath(path) not in is_stdlib]
    readable, listable = subtract(
        allowed, [*denied, *hidden, *inside_stdlib], except_below=[*stdlib_dirs, *map(str, packages)]
    )
    devices = (*_DEVICES, *_CUDA_DEVICES, *map(str, Path("/dev").glob("nvidia[0-9]*"))) if uses_cuda else _DEVICES
    return FileRights(
        readable=(*readable, _OWN_PROCESS),
        listable=(*listable, *package_dirs),
        writable=(folder,),
        devices=devices,
    )


def list_preparing_rights(evaluator_dir: str, *, has_ranks: bool, uses_cuda: bool) -> FileRights:
    """Return what the evaluator's own code may open besides, until the fence stands.

    That is its own files, whose source the compiler reads; for ranks that connect, where hosts and network devices are
    described; for NCCL, shared memory.
    """
    if not has_ranks:
        return FileRights(readable=(evaluator_dir,))
    devices = ("/dev/infiniband",) if uses_cuda else ()
    return FileRights(
        readable=(evaluator_dir, *_NAME_SERVICE_FILES, "/sys", *devices), writable=("/dev/shm",) if uses_cuda else ()
    )


def list_compilers(commands: Iterable[str]) -> FileRights:
    """Return the right to run these compilers, as far as they are installed, with the parts that they start."""
    programs = {path for command in commands if (path := shutil.which(command))}
    compilers = [path for path in programs if os.path.basename(path) in ("gcc", "g++", "cc", "c++")]
    parts = {_ask_compiler(compiler, part) for compiler in compilers[:1] for part in _COMPILER_PARTS}
    executable = {os.path.realpath(path) for path in (*programs, *filter(None, parts))} | {*_DYNAMIC_LINKERS}
    return FileRights(
        readable=(*_COMPILER_FILES, sysconfig.get_path("include"), *sorted(programs)),
        executable=tuple(sorted(executable)),
    )


def _ask_compiler(compiler: str, part: str) -> str | None:
    """Where a compiler has a part of itself; None where it does not say."""
    command = [compiler, f"-print-prog-name={part}"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=_COMPILER_WAIT_S
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return shutil.which(answer)


def subtract(
    allowed: Iterable[str], denied: Iterable[str], except_below: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """Return paths that cover ``allowed`` without ``denied``: those to read, and folders whose names alone may be read.

    A rule cannot take away, so a folder that holds a denied path is replaced by its other entries. The bytecode beside
    a denied source file is denied with it. except_below: allowed, though a folder above them is denied.
    """
    excepted = {os.path.realpath(path) for path in except_below}
    denied_paths = {os.path.realpath(path) for path in denied}
    denied_paths |= {f"{os.path.dirname(path)}/__pycache__" for path in denied_paths if path.endswith(".py")}
    above_denied = {str(parent) for path in denied_paths for parent in Path(path).parents}
    readable: list[str] = []
    listable: list[str] = []
    for path in dict.fromkeys(os.path.realpath(path) for path in allowed):
        is_below_denied = not denied_paths.isdisjoint((path, *map(str, Path(path).parents)))
        if (is_below_denied and not (excepted & {path, *map(str, Path(path).parents)})) or path in denied_paths:
            continue
        for kind, entry in _expand(path, denied_paths, above_denied):
            (readable if kind else listable).append(entry)
    return readable, listable


def _expand(path: str, denied: set[str], above_denied: set[str]) -> Iterator[tuple[bool, str]]:
    """(whether it may be read, path) for ``path``, or for its entries where it holds a denied path."""
    if path in denied:
        return
    if path not in above_denied or not os.path.isdir(path):
        yield True, path
        return
    yield False, path
    for entry in sorted(os.listdir(path)):
        yield from _expand(os.path.join(path, entry), denied, above_denied)
