"""golf/pipeline/os_errors.py: what the operating system refuses is one message, in stages and in commands"""

import errno
import os
import shutil
import tempfile

import pytest

from golf.artifacts import io
from golf.cli import main as cli
from golf.config import loader
from golf.pipeline import os_errors, runner
from tests.helpers.stage_errors import restore_signal_handlers

NUMBERS = sorted(set(errno.errorcode) - {errno.EPIPE})  # a closed pipe is no error
FORMS = {
    "path": lambda number: OSError(number, os.strerror(number), "some/file"),
    "bytes": lambda number: OSError(number, os.strerror(number), b"some/file"),
    "two paths": lambda number: OSError(number, os.strerror(number), "some/file", None, "other/file"),
    "no path": lambda number: OSError(number, os.strerror(number)),
    "text alone": lambda number: OSError("some/file was refused"),
    "nothing": lambda number: OSError(),
}


def raise_error(error: OSError):
    raise error


@pytest.mark.parametrize("form", FORMS)
def test_every_error_is_one_line_with_the_path_the_reason_and_a_hint(form):
    for number in NUMBERS:
        try:
            raise_error(FORMS[form](number))
        except OSError as error:
            text = os_errors.describe_os_error(error)
        assert "\n" not in text
        assert "while it ran raise_error (tests/unit/pipeline/test_os_errors.py); " in text
        assert ("some/file" in text or "other/file" in text) == (form not in ("no path", "nothing"))
        assert form in ("text alone", "nothing") or os.strerror(number) in text


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "give this user the right to it"),
        (errno.EROFS, "mounted read-only"),
        (errno.ENOTDIR, "is a file, not a folder: move that file away"),
        (errno.EEXIST, "move away what is there"),
        (errno.EISDIR, "a folder stands in the place of a file"),
        (errno.ENOSPC, "free some space on the disk"),
        (errno.ENAMETOOLONG, "give a shorter path"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ECONNRESET, "check the path, the disk and the connection"),
    ],
)
@pytest.mark.parametrize("form", ["path", "no path"])
def test_a_stage_and_a_command_end_with_the_same_words(tmp_path, monkeypatch, capfd, number, hint, form):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loader, "load_config", lambda *_: raise_error(FORMS[form](number)))
    with restore_signal_handlers(), pytest.raises(SystemExit) as exit_info:
        runner.run_stage("fetch", lambda: None)
    stage_text = capfd.readouterr().err
    assert (exit_info.value.code, cli.main(["validate"])) == (1, 1)
    command_text = capfd.readouterr().err
    for text, name in ((stage_text, "\nfetch: "), (command_text, "golf validate: ")):
        assert "Traceback" not in text
        assert text.startswith(name)
        assert os.strerror(number) in text
        assert hint in text
    assert len(command_text.splitlines()) == 1


def test_a_disk_that_fills_up_in_the_temporary_folder_names_it_and_not_the_source(monkeypatch, tmp_path):
    target = f"{tempfile.gettempdir()}/golf-sandbox-x/model.golf"
    text = os_errors.describe_os_error(OSError(errno.ENOSPC, "No space left on device", "model.golf", None, target))
    assert text.startswith(f"{target}: No space left on device; ")
    assert text.endswith("or set TMPDIR to a folder on another one")
    unknown = os_errors.describe_os_error(OSError(errno.ENOSPC, "No space left on device"))
    assert unknown.endswith("or set TMPDIR to a folder on another one")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    elsewhere = os_errors.describe_os_error(OSError(errno.ENOSPC, "No space left on device", "/data/model.golf"))
    assert "TMPDIR" not in elsewhere


def test_a_write_that_fails_after_the_file_was_opened_names_the_file(tmp_path, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        io.write_bytes(tmp_path / "a.bin", b"data")
    assert os_errors.describe_os_error(caught.value).startswith(f"{tmp_path}/a.bin: Input/output error, while it ran ")


def test_a_very_long_path_and_a_nested_error_stay_short():
    text = os_errors.describe_os_error(OSError(errno.ENAMETOOLONG, "File name too long", "a/" * 4000))
    assert len(text) < 500
    many = shutil.Error([("source", "target", "reason")] * 10_000)
    assert len(os_errors.describe_os_error(many)) < 500
