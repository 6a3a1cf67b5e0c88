"""golf/evaluation/sandbox/access_audit.py, in separate processes, as an audit hook cannot be removed"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.programs import run_audited
from tests.helpers.tiny_corpus import ROOT


def report(allowed: Path, code: str, *readable: Path) -> dict:
    """The access report of a process that runs ``code``. readable: folders that may be read but not written."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, run_audited.__file__, textwrap.dedent(code), str(allowed), *map(str, readable)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def allowed_dir(tmp_path) -> Path:
    """A folder that is allowed, and beside it files that are not."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    for file in (folder / "own", tmp_path / "val.bin", tmp_path / "sandbox.bin"):
        file.write_text("text")
    (folder / "link").symlink_to(tmp_path / "val.bin")
    return folder


def test_files_outside_are_recorded_by_their_real_path_however_they_are_opened(allowed_dir):
    accesses = report(
        allowed_dir,
        """
        os.chdir(sys.argv[1])
        open("own").close()
        open("../val.bin").close()
        os.close(os.open(pathlib.Path("../sandbox.bin"), os.O_RDONLY))
        """,
    )
    assert accesses["files"] == [str(allowed_dir.parent / "sandbox.bin"), str(allowed_dir.parent / "val.bin")]
    assert accesses["opened"] == 3
    assert accesses["sockets"] == accesses["commands"] == []


def test_a_link_out_of_the_folder_is_recorded_as_its_target(allowed_dir):
    assert report(allowed_dir, 'open(sys.argv[1] + "/link").close()')["files"] == [str(allowed_dir.parent / "val.bin")]


@pytest.mark.parametrize("call", ["link", "symlink", "rename"])
def test_another_name_in_the_folder_for_a_file_outside_is_recorded(allowed_dir, call):
    outside = allowed_dir.parent / "val.bin"
    accesses = report(allowed_dir, f'os.{call}("{outside}", sys.argv[1] + "/other")')
    assert accesses["files"] == [str(outside)]


def test_another_name_for_a_file_of_the_folder_is_allowed(allowed_dir):
    code = 'os.rename(sys.argv[1] + "/own", sys.argv[1] + "/b"); os.symlink("b", sys.argv[1] + "/c")'
    assert report(allowed_dir, code)["files"] == []


@pytest.mark.parametrize(
    "code",
    [
        'open(sys.argv[2] + "/new", "w").close()',
        'open(sys.argv[2] + "/new", "ab").close()',
        'open(sys.argv[2] + "/old", "r+").close()',
        'os.close(os.open(sys.argv[2] + "/new", os.O_WRONLY | os.O_CREAT))',
        'os.rename(sys.argv[1] + "/own", sys.argv[2] + "/new")',
    ],
)
def test_a_file_outside_that_is_written_is_recorded_even_among_packages_that_may_be_read(allowed_dir, code):
    packages = allowed_dir.parent / "site-packages"
    packages.mkdir()
    (packages / "old").write_text("text")
    assert report(allowed_dir, 'open(sys.argv[2] + "/old").close()', packages)["files"] == []
    (recorded,) = report(allowed_dir, code, packages)["files"]
    assert recorded.startswith(f"{packages}/")


def test_a_file_that_does_not_exist_is_recorded_too(allowed_dir):
    accesses = report(
        allowed_dir,
        """
        try:
            open("/nowhere/val.bin")
        except FileNotFoundError:
            pass
        """,
    )
    assert accesses["files"] == ["/nowhere/val.bin"]


def test_the_machines_own_files_are_allowed_and_shared_memory_is_not(allowed_dir):
    assert report(allowed_dir, 'open("/proc/cpuinfo").close()')["files"] == []
    accesses = report(
        allowed_dir,
        """
        open(0).close()
        try:
            open("/dev/shm/val.bin")
        except OSError:
            pass
        """,
    )
    assert accesses["files"] == [os.path.realpath("/dev/shm/val.bin")]
    assert accesses["opened"] == 1, "a descriptor is no file that is opened"


@pytest.mark.parametrize(
    ("code", "recorded"),
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
def test_the_network_is_recorded_and_refused(allowed_dir, code, recorded):
    accesses = report(
        allowed_dir,
        f"""
        try:
            {code}
            raise SystemExit("it was not refused")
        except PermissionError as error:
            assert "no network" in str(error)
        """,
    )
    assert {*accesses["sockets"]} - {"socket AF_INET"} == {recorded}
    assert ("socket AF_INET" in accesses["sockets"]) == ("socket.socket(" in code)


def test_commands_are_recorded_except_the_compiler(allowed_dir):
    accesses = report(
        allowed_dir,
        """
        subprocess.run(["true"], check=True)
        os.system("true")
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        """,
    )
    assert accesses["commands"] == ["/bin/true", "true"]
    compilers = """
        try:
            subprocess.run(["/nowhere/gcc"])
        except FileNotFoundError:
            pass
        """
    assert report(allowed_dir, compilers)["commands"] == []


def test_a_source_of_the_corpus_may_be_imported_and_read_by_its_package_but_by_nobody_else(allowed_dir):
    package = allowed_dir.parent / "packages" / "corpus"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import inspect\ndef read():\n    return inspect.getsource(inspect.getmodule(read))\n"
    )
    source, code = str(package / "__init__.py"), "sys.path.append(os.path.dirname(sys.argv[2])); import corpus"
    assert source not in report(allowed_dir, f"{code}; corpus.read()", package)["files"]
    for read in (
        "open(corpus.__file__)",
        "pathlib.Path(corpus.__file__).read_text()",
        "corpus.__loader__.get_data(corpus.__file__)",
    ):
        assert source in report(allowed_dir, f"{code}; {read}", package)["files"]
