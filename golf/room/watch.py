"""What a process opens, connects to and starts, noted by an audit hook (PEP 578), which can't be taken out again.

It sees what goes through Python, and lives in the process that it watches: native code that opens a file by itself is
not seen, and code that sets out to silence it can. docs/legality.md says what to do about a stranger's method.
"""

import os
import re
import sys

OPENED, REACHED, STARTED = "files", "sockets", "commands"
NAMED = "names"  # given to files, under which they could be opened without being known
EVENTS = {
    "open": OPENED,
    "os.link": NAMED,
    "os.symlink": NAMED,
    "os.rename": NAMED,
    "socket.connect": REACHED,
    "socket.bind": REACHED,
    "socket.sendto": REACHED,
    "socket.sendmsg": REACHED,
    "socket.getaddrinfo": REACHED,
    "socket.gethostbyname": REACHED,
    "subprocess.Popen": STARTED,
    "os.system": STARTED,
    "os.exec": STARTED,
    "os.posix_spawn": STARTED,
    "os.fork": STARTED,  # what a child does is heard in the child
    "os.forkpty": STARTED,
}
SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")  # the machine's own description, devices, shared libraries
WORDS = 120  # characters of a command
DEVICES = ("/dev/null", "/dev/tty", "/dev/nvidia")
SHARED = ("/dev/shm/", "/dev/mqueue/")  # what other processes left in memory


class Watch:
    """Notes, from ``begin`` on, every file outside the places ``read``, every file opened for writing outside the
    folders ``written``, every address and every command not among ``commands``, by name. A connection is refused too.
    """

    def __init__(self, read: list[str], written: list[str], commands: list[str]):
        self.places = {os.path.realpath(place) for place in (*read, *written)}
        self.allowed = tuple(os.path.join(place, "") for place in self.places) + SYSTEM
        self.written = tuple(os.path.join(os.path.realpath(place), "") for place in written) + DEVICES
        self.commands = commands
        self.noted: dict[str, set[str]] = {OPENED: set(), REACHED: set(), STARTED: set()}
        self.count = 0

    def begin(self) -> None:
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple) -> None:
        kind = EVENTS.get(event)
        if kind == OPENED:
            self.open(*arguments)
        elif kind == NAMED:
            old, new = map(os.fsdecode, arguments[:2])
            self.open(os.path.join(os.path.dirname(new), old) if event == "os.symlink" else old)
            self.open(new, "w")
        elif kind == STARTED:
            arguments = arguments or (event,)
            if os.path.basename(os.fsdecode(arguments[0])) not in self.commands:
                self.noted[kind].add(spelled(arguments)[:WORDS])
        elif kind == REACHED and not (event == "socket.bind" and isinstance(arguments[1], str)):
            address = arguments[0] if event.startswith("socket.get") else arguments[-1]
            self.noted[kind].add(f"{event} {address}")
            raise PermissionError("the method under evaluation has no network")

    def open(self, path, mode: str | None = "r", flags: int = 0) -> None:
        """mode: of ``open``; None and flags: of ``os.open``."""
        if isinstance(path, int):  # a descriptor that is open already
            return
        writes = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+")
        self.count += 1
        place = os.path.realpath(os.fsdecode(path))
        known = place in self.places or (place.startswith(self.allowed) and not place.startswith(SHARED))
        process = re.match(r"/proc/(\d+)/", place)  # the judge's would show val
        if writes:
            known = place.startswith(self.written)
        if not known or (process and int(process[1]) != os.getpid()):
            self.noted[OPENED].add(place)

    def report(self) -> dict:
        """{"files", "sockets", "commands": sorted lists, "opened": how many files in all}."""
        return {kind: sorted(found) for kind, found in self.noted.items()} | {"opened": self.count}


def spelled(arguments: tuple) -> str:
    """A command as it was started: its words, the program by its own path."""
    words = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], (list, tuple)) else ()
    return " ".join(map(os.fsdecode, (arguments[0], *words[1:])))
