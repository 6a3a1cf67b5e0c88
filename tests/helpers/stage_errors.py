"""Stages that must fail: entered in this process as their command enters them, their outputs cleared as by DVC."""

import contextlib
import importlib
import shutil
import signal
from pathlib import Path

import pytest

from golf.cli import inspect
from golf.compliance import evaluation_log
from golf.pipeline import runner as entry
from tests.helpers.tiny_corpus import ROOT
from tools import ci

STAGE_GRAPH = ci.load_stages(ROOT)


@contextlib.contextmanager
def restore_signal_handlers():
    """Python's own answer to Ctrl-C, and afterwards the handlers of signals that were there before."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_failing_stage(name: str, capfd, exit_code: int = 1) -> str:
    """Enter a stage that must fail with one message, nothing half-written; returns what it said."""
    _clear_outputs(name)
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        entry.run_stage(name, importlib.import_module(f"stages.{name}").main, model_in_subprocess=name == "evaluate")
    stderr = capfd.readouterr().err
    assert exit_info.value.code == exit_code, stderr
    assert "Traceback" not in stderr
    assert stderr.count(f"\n{name}: ") == 1
    assert f"the last good ones come back with: dvc checkout {name} (" in stderr
    assert not list(Path().rglob("*.partial"))
    assert_files_readable(Path("artifacts") / name)
    return stderr


def _clear_outputs(name: str) -> None:
    """What DVC does before it runs a stage."""
    for out in STAGE_GRAPH[name].outs:
        path = Path(out)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def assert_files_readable(folder: Path) -> None:
    """Every file opens that is left of a stage."""
    for path in folder.rglob("*.*"):
        if path.suffix == ".jsonl":
            evaluation_log.read_entries(path)
        elif path.is_file():
            inspect.describe(path)
