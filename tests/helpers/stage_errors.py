"""Stages that must fail, run in this process as their command runs them, with their outputs removed as by DVC."""

import contextlib
import importlib
import os
import shutil
import signal
import time
from pathlib import Path
from unittest import mock

import pytest

from golf.cli import inspect
from golf.compliance import evaluation_log
from golf.distributed import launcher
from golf.model.attention_backends import resolve_attention
from golf.pipeline import runner
from tests.helpers.tiny_corpus import ROOT
from tools import ci

STAGE_GRAPH = ci.resolve_stages(ci.read_yaml(ROOT / "dvc.yaml"), ci.read_yaml(ROOT / "profiles/laptop.yaml"))


@contextlib.contextmanager
def restore_signal_handlers():
    """Python's default handler of Ctrl-C inside the block, and the previous signal handlers after it."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_failing_stage(name: str, capfd, exit_code: int = 1) -> str:
    """Run a stage that must fail with one message and leave no partial file; returns its stderr.

    The evaluation's clock starts now, not when the test session did.
    """
    _clear_outputs(name)
    capfd.readouterr()
    clock = mock.patch.dict(os.environ, {launcher.STARTED_AT_ENV: str(time.time())})
    with clock, pytest.raises(SystemExit) as exit_info:
        runner.run_stage(
            name,
            importlib.import_module(f"stages.{name}").main,
            resolve_attention=resolve_attention,
            model_in_subprocess=name == "evaluate",
        )
    stderr = capfd.readouterr().err
    assert exit_info.value.code == exit_code, stderr
    assert "Traceback" not in stderr
    assert stderr.count(f"\n{name}: ") == 1
    assert f"dvc checkout {name}, and the committed figures with: git checkout artifacts/{name};" in stderr
    assert not list(Path().rglob("*.partial"))
    assert_files_readable(Path("artifacts") / name)
    return stderr


def _clear_outputs(name: str) -> None:
    """Remove a stage's outputs, as DVC does before it runs the stage."""
    for out in STAGE_GRAPH[name].outs:
        path = Path(out)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def assert_files_readable(folder: Path) -> None:
    """Every file that a stage left can be read."""
    for path in folder.rglob("*.*"):
        if path.suffix == ".jsonl":
            evaluation_log.read_entries(path)
        elif path.is_file():
            inspect.describe(path)
