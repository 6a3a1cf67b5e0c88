"""golf/evaluation/sandbox/access_audit.py, in processes of their own: an audit hook can't be taken out again"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.tiny_corpus import ROOT

START = """
import json, os, pathlib, socket, subprocess, sys
from golf.room.watch import Watch

watch = Watch(sys.argv[2:], [sys.argv[1]], ["gcc"])
watch.begin()
"""
END = """
print(json.dumps(watch.report()))
"""


def report(allowed: Path, deed: str, *read: Path) -> dict:
    """What was noted of a deed. read: folders that may be read and not written."""
    script = START + textwrap.dedent(deed) + END
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script, str(allowed), *map(str, read)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def allowed_dir(tmp_path) -> Path:
    """A folder ``room`` that is allowed, and beside it files that are not."""
    folder = tmp_path / "room"
    folder.mkdir()
    for file in (folder / "own", tmp_path / "val.bin", tmp_path / "room.bin"):
        file.write_text("text")
    (folder / "link").symlink_to(tmp_path / "val.bin")
    return folder


def test_files_outside_are_noted_by_their_real_path_however_they_are_opened(allowed_dir):
    found = report(
        allowed_dir,
        """
        os.chdir(sys.argv[1])
        open("own").close()
        open("../val.bin").close()
        os.close(os.open(pathlib.Path("../room.bin"), os.O_RDONLY))
        """,
    )
    assert found["files"] == [str(allowed_dir.parent / "room.bin"), str(allowed_dir.parent / "val.bin")]
    assert found["opened"] == 3
    assert found["sockets"] == found["commands"] == []


def test_a_link_out_of_the_folder_leads_out_of_the_folder(allowed_dir):
    assert report(allowed_dir, 'open(sys.argv[1] + "/link").close()')["files"] == [str(allowed_dir.parent / "val.bin")]


@pytest.mark.parametrize("call", ["link", "symlink", "rename"])
def test_another_name_in_the_folder_for_a_file_outside_is_noted(allowed_dir, call):
    outside = allowed_dir.parent / "val.bin"
    found = report(allowed_dir, f'os.{call}("{outside}", sys.argv[1] + "/other")')
    assert found["files"] == [str(outside)]


def test_another_name_for_a_file_of_the_folder_is_nobody_s_concern(allowed_dir):
    deed = 'os.rename(sys.argv[1] + "/own", sys.argv[1] + "/b"); os.symlink("b", sys.argv[1] + "/c")'
    assert report(allowed_dir, deed)["files"] == []


@pytest.mark.parametrize(
    "deed",
    [
        'open(sys.argv[2] + "/new", "w").close()',
        'open(sys.argv[2] + "/new", "ab").close()',
        'open(sys.argv[2] + "/old", "r+").close()',
        'os.close(os.open(sys.argv[2] + "/new", os.O_WRONLY | os.O_CREAT))',
        'os.rename(sys.argv[1] + "/own", sys.argv[2] + "/new")',
    ],
)
def test_a_file_outside_that_is_written_is_noted_even_among_packages_that_may_be_read(allowed_dir, deed):
    packages = allowed_dir.parent / "site-packages"
    packages.mkdir()
    (packages / "old").write_text("text")
    assert report(allowed_dir, 'open(sys.argv[2] + "/old").close()', packages)["files"] == []
    (noted,) = report(allowed_dir, deed, packages)["files"]
    assert noted.startswith(f"{packages}/")


def test_what_is_not_there_is_noted_too(allowed_dir):
    found = report(
        allowed_dir,
        """
        try:
            open("/nowhere/val.bin")
        except FileNotFoundError:
            pass
        """,
    )
    assert found["files"] == ["/nowhere/val.bin"]


def test_the_machine_s_own_files_are_allowed_and_what_processes_share_in_memory_is_not(allowed_dir):
    assert report(allowed_dir, 'open("/proc/cpuinfo").close()')["files"] == []
    found = report(
        allowed_dir,
        """
        open(0).close()
        try:
            open("/dev/shm/val.bin")
        except OSError:
            pass
        """,
    )
    assert found["files"] == [os.path.realpath("/dev/shm/val.bin")]
    assert found["opened"] == 1, "a descriptor is no file that is opened"


@pytest.mark.parametrize(
    ("deed", "noted"),
    [
        ('socket.socket().connect(("127.0.0.1", 9))', "socket.connect ('127.0.0.1', 9)"),
        ('socket.socket().bind(("127.0.0.1", 0))', "socket.bind ('127.0.0.1', 0)"),
        (
            'socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))',
            "socket.sendto ('127.0.0.1', 9)",
        ),
        (
            'socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("127.0.0.1", 9))',
            "socket.sendmsg ('127.0.0.1', 9)",
        ),
        ('socket.getaddrinfo("example.invalid", 80)', "socket.getaddrinfo example.invalid"),
        ('socket.gethostbyname("example.invalid")', "socket.gethostbyname example.invalid"),
    ],
)
def test_the_network_is_noted_and_refused(allowed_dir, deed, noted):
    found = report(
        allowed_dir,
        f"""
        try:
            {deed}
            raise SystemExit("it was not refused")
        except PermissionError as error:
            assert "no network" in str(error)
        """,
    )
    assert found["sockets"] == [noted]


def test_commands_are_noted_and_a_compiler_is_none(allowed_dir):
    found = report(
        allowed_dir,
        """
        subprocess.run(["true"], check=True)
        os.system("true")
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        """,
    )
    assert found["commands"] == ["/bin/true", "true"]
    compilers = """
        try:
            subprocess.run(["/nowhere/gcc"])
        except FileNotFoundError:
            pass
        """
    assert report(allowed_dir, compilers)["commands"] == []
