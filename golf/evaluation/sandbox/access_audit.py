"""What a process opens, connects to and starts, noted by an audit hook (PEP 578), which can't be taken out again.

It sees what goes through Python, and lives in the process that it watches: native code that opens a file by itself is
not seen, and code that sets out to silence it can. docs/legality.md says what to do about a stranger's method.
"""

import os
import re
import sys

_FILES, _SOCKETS, _COMMANDS = "files", "sockets", "commands"
_LINKS = "names"  # given to files, under which they could be opened without being known
_EVENT_KINDS = {
    "open": _FILES,
    "os.link": _LINKS,
    "os.symlink": _LINKS,
    "os.rename": _LINKS,
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
    "os.fork": _COMMANDS,  # what a child does is heard in the child
    "os.forkpty": _COMMANDS,
}
_SYSTEM_DIRS = (
    "/proc/",
    "/sys/",
    "/dev/",
    "/etc/",
    "/usr/",
)  # the machine's own description, devices, shared libraries
_MAX_COMMAND_CHARS = 120  # characters of a command
_DEVICE_PREFIXES = ("/dev/null", "/dev/tty", "/dev/nvidia")
_SHARED_MEMORY_DIRS = ("/dev/shm/", "/dev/mqueue/")  # what other processes left in memory


class AccessAudit:
    """Notes, from ``begin`` on, every file outside the places ``read``, every file opened for writing outside the
    folders ``written``, every address and every command not among ``commands``, by name. A connection is refused too.
    """

    def __init__(self, readable: list[str], writable: list[str], allowed_commands: list[str]):
        self._allowed_paths = {os.path.realpath(path) for path in (*readable, *writable)}
        self._readable_prefixes = tuple(os.path.join(place, "") for place in self._allowed_paths) + _SYSTEM_DIRS
        self._writable_prefixes = (
            tuple(os.path.join(os.path.realpath(place), "") for place in writable) + _DEVICE_PREFIXES
        )
        self._allowed_commands = allowed_commands
        self._accesses: dict[str, set[str]] = {_FILES: set(), _SOCKETS: set(), _COMMANDS: set()}
        self._n_opened = 0

    def install(self) -> None:
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple) -> None:
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
        elif kind == _SOCKETS and not (event == "socket.bind" and isinstance(arguments[1], str)):
            address = arguments[0] if event.startswith("socket.get") else arguments[-1]
            self._accesses[kind].add(f"{event} {address}")
            raise PermissionError("the method under evaluation has no network")

    def _on_open(self, path, mode: str | None = "r", flags: int = 0) -> None:
        """mode: of ``open``; None and flags: of ``os.open``."""
        if isinstance(path, int):  # a descriptor that is open already
            return
        is_write = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+")
        self._n_opened += 1
        real_path = os.path.realpath(os.fsdecode(path))
        is_allowed = real_path in self._allowed_paths or (
            real_path.startswith(self._readable_prefixes) and not real_path.startswith(_SHARED_MEMORY_DIRS)
        )
        proc_match = re.match(r"/proc/(\d+)/", real_path)  # the judge's would show val
        if is_write:
            is_allowed = real_path.startswith(self._writable_prefixes)
        if not is_allowed or (proc_match and int(proc_match[1]) != os.getpid()):
            self._accesses[_FILES].add(real_path)

    def report(self) -> dict:
        """{"files", "sockets", "commands": sorted lists, "opened": how many files in all}."""
        return {kind: sorted(entries) for kind, entries in self._accesses.items()} | {"opened": self._n_opened}


def _format_command(arguments: tuple) -> str:
    """A command as it was started: its words, the program by its own path."""
    argv = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], (list, tuple)) else ()
    return " ".join(map(os.fsdecode, (arguments[0], *argv[1:])))
