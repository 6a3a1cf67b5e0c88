"""A compiler that is there and fails: compile: auto goes on without it, and on is refused, both with the reason"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.programs import stub_stage
from tests.helpers.stage_processes import assert_single_error, write_params, write_stub_stage
from tests.helpers.tiny_corpus import ROOT

REFUSES_STANDARD = """#!/bin/sh
case "$*" in *-std=c++*) echo "g++: error: unrecognized command-line option '-std=c++20'" >&2; exit 1;; esac
exec g++ "$@"
"""

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler to break")


def run_compiled_stage(folder: Path, compile_: str, function=stub_stage.do_nothing, **env: str) -> tuple[int, str]:
    """Run a stage that does no more than resolve its settings, with a cache of its own; exit code and stderr.

    A new interpreter, because torch reads CXX, and Python the locale, when they start.
    """
    write_params(folder, {"ema.compile": compile_})
    write_stub_stage(folder, "ema", function)
    (folder / "file").touch()
    added = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(folder / "cache")}
    result = subprocess.run(
        [sys.executable, "-m", "stages.ema"],
        cwd=folder,
        env=os.environ | added | env,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"CXX": "/bin/false"}, "No working C++ compiler found"),
        ({"CXX": "{folder}/cxx"}, "error: unrecognized command-line option '-std=c++20'"),
        ({"TORCHINDUCTOR_CACHE_DIR": "file/cache"}, "Not a directory: "),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}, "UnicodeDecodeError"),
    ],
    ids=["exits with 1", "refuses the language standard", "no folder for its cache", "messages that can't be decoded"],
)
def test_auto_goes_on_without_a_compiler_that_fails_and_says_why(tmp_path, env, reason):
    (tmp_path / "cxx").write_text(REFUSES_STANDARD)
    (tmp_path / "cxx").chmod(0o755)
    env = {name: value.format(folder=tmp_path) for name, value in env.items()}
    code, err = run_compiled_stage(tmp_path, "auto", **env)
    assert code == 0, err
    (line,) = (line for line in err.splitlines() if line.startswith("ema       cpu"))
    assert "compile off (auto: the compiler fails: " in line
    assert reason in line
    assert "Traceback" not in err


def test_on_is_refused_in_one_message_that_names_the_key(tmp_path):
    code, err = run_compiled_stage(tmp_path, "on", CXX="/bin/false")
    assert code == 1
    assert_single_error(err, "ema")
    assert "ema.compile: on, but the compiler fails: InvalidCxxCompiler: No working C++ compiler found" in err


def test_a_failure_after_the_check_is_one_message_that_names_the_key(tmp_path):
    code, err = run_compiled_stage(tmp_path, "off", stub_stage.fail_to_compile)
    assert code == 1
    assert_single_error(err, "ema")
    reason = "the compiler works, but not on the model: RuntimeError: model.cpp:9:1: error: out of memory"
    assert f"ema.compile: {reason}; set ema.compile to off" in err
