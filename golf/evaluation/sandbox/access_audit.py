"""Record which files, addresses and commands a process uses, by an audit hook (PEP 578), and refuse the network.

A hook cannot be removed once it is installed. It sees what goes through Python and lives in the process that it
observes, so native code that opens a file by itself is not seen, and code that sets out to silence the hook can do so.
The fence holds what the hook does not see; the hook says what an honest mistake was, and which text a predictor reads
in files that the fence must leave open.
"""

import os
import re
import socket
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

__all__ = ["AccessAudit"]

_FILES, _SOCKETS, _COMMANDS = "files", "sockets", "commands"
_LINKS = "links"  # new names for files, under which they could be opened unnoticed
_EVENT_KINDS = {
    "open": _FILES,
    "os.link": _LINKS,
    "os.symlink": _LINKS,
    "os.rename": _LINKS,
    "socket.__new__": _SOCKETS,
    "socket.connect": _SOCKETS,
    "socket.bind": _SOCKETS,
    "socket.sendto": _SOCKETS,
    "socket.sendmsg": _SOCKETS,
    "socket.getaddrinfo": _SOCKETS,
    "socket.gethostbyname": _SOCKETS,
    "subprocess.Popen": _COMMANDS,
    "os.system": _COMMANDS,
    "os.exec": _COMMANDS,
    "os.posix_spawn": _COMMANDS,
    "os.fork": _COMMANDS,  # a child inherits the hook, but its report is never read
    "os.forkpty": _COMMANDS,
}
_SYSTEM_DIRS = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")  # machine description, devices, shared libraries
_NETWORK_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_MAX_COMMAND_CHARS = 120
_DEVICE_PREFIXES = ("/dev/null", "/dev/tty", "/dev/nvidia")
_SHARED_MEMORY_DIRS = ("/dev/shm/", "/dev/mqueue/")  # could hold data that another process left in memory


class AccessAudit:
    """Records accesses from ``install`` on.

    Recorded are: every file outside ``readable`` and ``writable``, every file opened for writing outside ``writable``,
    every network address (the connection is refused too), and every command whose name is not in ``allowed_commands``.
    ``imported``: files and folders among ``readable`` that may be opened by an import or by a package itself, but not
    by the predictor, because the corpus's text is in them.
    """

    def __init__(
        self,
        readable: Sequence[str],
        writable: Sequence[str],
        allowed_commands: Sequence[str],
        *,
        imported: Sequence[str] = (),
    ) -> None:
        self._imported_prefixes = tuple(os.path.realpath(path) for path in imported)
        self._standard_prefixes = ("<frozen ", os.path.dirname(os.path.realpath(os.__file__)) + os.sep)
        self._allowed_paths = {os.path.realpath(path) for path in (*readable, *writable)}
        self._readable_prefixes = tuple(os.path.join(path, "") for path in self._allowed_paths) + _SYSTEM_DIRS
        self._writable_prefixes = (
            tuple(os.path.join(os.path.realpath(path), "") for path in writable) + _DEVICE_PREFIXES
        )
        self._allowed_commands = allowed_commands
        self._accesses: dict[str, set[str]] = {_FILES: set(), _SOCKETS: set(), _COMMANDS: set()}
        self._n_opened = 0

    def install(self) -> None:
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        kind = _EVENT_KINDS.get(event)
        if kind == _FILES:
            self._on_open(*arguments)
        elif kind == _LINKS:
            old, new = map(os.fsdecode, arguments[:2])
            self._on_open(os.path.join(os.path.dirname(new), old) if event == "os.symlink" else old)
            self._on_open(new, "w")
        elif kind == _COMMANDS:
            arguments = arguments or (event,)
            if os.path.basename(os.fsdecode(arguments[0])) not in self._allowed_commands:
                self._accesses[kind].add(_format_command(arguments)[:_MAX_COMMAND_CHARS])
        elif event == "socket.__new__":  # the fence refuses it before there is an address
            if arguments[1] in _NETWORK_FAMILIES:
                self._accesses[_SOCKETS].add(f"socket {socket.AddressFamily(arguments[1]).name}")
        elif kind == _SOCKETS and not (event == "socket.bind" and isinstance(arguments[1], str)):
            address = arguments[0] if event.startswith("socket.get") else arguments[-1]
            self._accesses[kind].add(f"{event} {address}")
            raise PermissionError("a predictor under evaluation has no network access")

    def _on_open(self, path: str | bytes | int, mode: str | None = "r", flags: int = 0) -> None:
        """``open`` gives a mode; ``os.open`` gives None and flags."""
        if isinstance(path, int):  # an open file descriptor
            return
        is_write = bool(flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+"))
        self._n_opened += 1
        real_path = os.path.realpath(os.fsdecode(path))
        is_allowed = real_path in self._allowed_paths or (
            real_path.startswith(self._readable_prefixes) and not real_path.startswith(_SHARED_MEMORY_DIRS)
        )
        proc_match = re.match(r"/proc/(\d+)/", real_path)  # of another process, such as the host, which holds val
        if is_write:
            is_allowed = real_path.startswith(self._writable_prefixes)
        if is_allowed and self._imported_prefixes and real_path.startswith(self._imported_prefixes):
            is_allowed = self._is_import_or_package()
        if not is_allowed or (proc_match and int(proc_match[1]) != os.getpid()):
            self._accesses[_FILES].add(real_path)

    def _is_import_or_package(self) -> bool:
        """Whether the open that is reported now belongs to an import, or the code behind it to a package."""
        frame: FrameType | None = sys._getframe(3)  # the caller of open
        while frame is not None:
            file, function = frame.f_code.co_filename, frame.f_code.co_name
            if file.startswith("<frozen importlib") and function in ("get_code", "exec_module"):
                return True
            if os.path.realpath(file).startswith(self._imported_prefixes):
                return True
            if not file.startswith(self._standard_prefixes):
                return False
            frame = frame.f_back
        return False

    def report(self) -> dict[str, Any]:
        """Return "files", "sockets" and "commands": what was recorded, sorted; "opened": the number of files opened."""
        return {kind: sorted(entries) for kind, entries in self._accesses.items()} | {"opened": self._n_opened}


def _format_command(arguments: tuple[Any, ...]) -> str:
    """The command line: the program by its own path, then its arguments."""
    argv = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], (list, tuple)) else ()
    return " ".join(map(os.fsdecode, (arguments[0], *argv[1:])))
