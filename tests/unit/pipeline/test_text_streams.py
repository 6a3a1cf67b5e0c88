"""golf/pipeline/text_streams.py: output in the encoding of its stream"""

import ast
import io
import json
import os
import re
import subprocess
import sys

import pytest

from golf.pipeline import text_streams
from tests.helpers.tiny_corpus import ROOT

NOT_ASCII = re.compile(r"[^\x00-\x7f]")


@pytest.fixture
def print_as(monkeypatch):
    """A function that prints text to stdout and stderr of an encoding, and returns what the latter wrote."""

    def print_as(text: str, encoding: str, errors: str = "strict") -> str:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors))
        text_streams.accept_all_text()
        print(text, end="", flush=True)
        print(text, end="", file=sys.stderr, flush=True)
        assert sys.stdout.buffer.getvalue() == sys.stderr.buffer.getvalue()
        return sys.stdout.buffer.getvalue().decode(encoding)

    return print_as


@pytest.mark.parametrize("errors", ["strict", "surrogateescape", "backslashreplace"])
def test_ascii_gets_the_words_for_symbols_and_escapes_for_the_rest(print_as, errors):
    assert print_as("1.5 ± 0.1 ≥ 2 × 3 … é 中 😀", "ascii", errors) == (
        "1.5 +/- 0.1 >= 2 x 3 ... \\u00e9 \\u4e2d \\ud83d\\ude00"
    )


def test_what_a_stream_can_carry_is_printed_as_it_is(print_as):
    assert print_as("± × … – é → ≥", "cp1252") == "± × … – é -> >="
    assert print_as("± → 中 😀", "utf-8") == "± → 中 😀"


def test_a_name_that_is_not_utf_8_can_be_printed(print_as):
    assert print_as("bad\udcff.txt", "utf-8") == "bad\\udcff.txt"


def test_json_stays_json(print_as):
    text = "".join(map(chr, (0xE9, 0x2014, 0x4E2D, 0x1F600, 0xDCFF))) + "".join(text_streams.REPLACEMENTS)
    for encoding in ("ascii", "cp1252", "latin-1", "utf-8"):
        loaded = json.loads(print_as(json.dumps({"key": text}, ensure_ascii=False), encoding))
        assert loaded["key"].endswith("-") or loaded["key"] == text


def test_streams_of_another_kind_are_left_alone(monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        text_streams.accept_all_text()


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_stage_prints_what_its_stream_can_carry(tmp_path, env):
    params = (ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8").replace("  source: ", "  source: \u00b1")
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    command, env = [sys.executable, "-m", "stages.fetch"], {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    message = done.stderr.decode("ascii")
    assert done.returncode == 1
    assert "fetch.source: must be one of" in message
    assert ", got '+/-" in message
    assert "Traceback" not in message


def test_every_symbol_in_a_message_of_golf_has_a_replacement():
    """Docstrings and comments are not printed, plots are pictures, and some modules handle characters as data."""
    missing = {}
    for path in sorted({*(ROOT / "golf").rglob("*.py"), *(ROOT / "stages").glob("*.py")}):
        if path.is_relative_to(ROOT / "golf" / "data") or path.name in ("plots.py", "text_streams.py"):
            continue
        if path.name in ("decoding.py", "safe_reader.py"):  # they look for these characters in what they read
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                symbols = set(NOT_ASCII.findall(node.value)) - text_streams.REPLACEMENTS.keys()
                if symbols:
                    missing.setdefault(path.relative_to(ROOT).as_posix(), set()).update(symbols)
    assert missing == {}
