"""Stages that must fail: entered in this process as their command enters them, their outputs cleared as by DVC."""

import contextlib
import importlib
import shutil
import signal
from pathlib import Path

import pytest
from conftest import ROOT

from golf.ground import stage as entry
from golf.looking import ci, inspect
from golf.rules import executions

GRAPH = ci.graph(ROOT)


@contextlib.contextmanager
def handlers_kept():
    """Python's own answer to Ctrl-C, and afterwards the handlers of signals that were there before."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def refused(name: str, capfd, code: int = 1) -> str:
    """Enter a stage that must fail with one message, nothing half-written; returns what it said."""
    clear(name)
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        entry.enter(name, importlib.import_module(f"stages.{name}").main, apart=name == "evaluate")
    said = capfd.readouterr().err
    assert ended.value.code == code, said
    assert "Traceback" not in said
    assert said.count(f"\n{name}: ") == 1
    assert f"the last good ones come back with: dvc checkout {name} (" in said
    assert not list(Path().rglob("*.partial"))
    assert_whole(Path("artifacts") / name)
    return said


def clear(name: str) -> None:
    """What DVC does before it runs a stage."""
    for out in GRAPH[name].outs:
        path = Path(out)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def assert_whole(folder: Path) -> None:
    """Every file opens that is left of a stage."""
    for path in folder.rglob("*.*"):
        if path.suffix == ".jsonl":
            executions.read(path)
        elif path.is_file():
            inspect.explain(path)
