"""golf/config/yaml_reader.py: DVC's values, limits on size and aliases"""

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from golf.config import yaml_reader
from golf.errors import ConfigError
from tests.helpers.tiny_corpus import ROOT

WIDTH, DEPTH = 9, 30
BILLION_LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * WIDTH)}]\n" for i in range(1, DEPTH)
)
BILLION_MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * WIDTH)}]\n" for i in range(1, DEPTH)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file to be overwritten by each example."""
    return tmp_path_factory.mktemp("yaml") / "params.yaml"


def read(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return yaml_reader.read_yaml(path)


def refusal(path, text):
    with pytest.raises(ConfigError) as error:
        read(path, text)
    return str(error.value)


SCALARS = {
    "1e-05": 1e-05, "1.0e-08": 1e-08, "786_432": 786432, "017": 17, "0x1F": 31, "0o17": 15, "-0.5": -0.5, ".5": 0.5,
    "off": "off", "yes": "yes", "True": True, "None": "None", "null": None, "~": None, "": None, "12:30": "12:30",
    "2001-99-99": "2001-99-99", "-.inf": float("-inf"), "1e400": float("inf"), "9" * 9999: float("inf"),
    "'1'": "1",
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=lambda value: str(value)[:12])
def test_scalars_are_those_of_yaml_1_2(path, text, value):
    actual = read(path, f"a: {text}\n")["a"]
    assert (actual, type(actual)) == (value, type(value))


@given(st.from_regex(r"\A[-+]?[0-9_.eExon]{1,8}\Z") | st.sampled_from(["true", "FALSE", "Null", "NaN", ".NaN", "on"]))
def test_plain_scalars_have_the_values_that_dvc_reads(path, text):
    try:
        expected = YAML(typ="safe", pure=True).load(f"a: {text}\n")
    except (YAMLError, ValueError):
        return
    actual = read(path, f"a: {text}\n")
    if repr(actual) != repr(expected):  # what DVC's reader is wrong about: +.5e3 is a number, ._5 is none
        assert text.lstrip("-+").startswith("."), text


def test_aliases_and_merges_of_ordinary_size_are_read(path):
    text = "run: &run {device: cpu, ranks: 1}\nema:\n  <<: *run\n  ranks: 2\nsame: *run\n"
    assert read(path, text) == {
        "run": {"device": "cpu", "ranks": 1},
        "ema": {"device": "cpu", "ranks": 2},
        "same": {"device": "cpu", "ranks": 1},
    }


@pytest.mark.parametrize("text", [BILLION_LAUGHS, BILLION_MERGES], ids=["lists", "merges"])
def test_aliases_that_expand_without_end_are_refused_in_one_short_line(path, text):
    message = refusal(path, text)
    assert message.startswith(f"{path}: holds more than 100,000 keys and values, aliases expanded")
    assert len(message.removeprefix(str(path))) < 200


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a\n  b: *a\n"])
def test_an_alias_within_what_it_names_is_refused(path, text):
    assert "line 1, column 4: an alias stands within what it names" in refusal(path, text)


def test_a_key_that_stands_twice_is_refused_at_its_place(path):
    assert 'line 3, column 3: found duplicate key "lr"' in refusal(path, "ttt:\n  lr: 1\n  lr: 2\n")


@pytest.mark.parametrize(
    "text", ["a: !!" + "x" * 9999 + " 1", "a: !!bool " + "x" * 9999, "'" + "k" * 999 + "': 1\n" * 2]
)
def test_a_message_of_the_parser_is_cut(path, text):
    assert len(refusal(path, text).removeprefix(str(path))) < 300


def test_a_byte_order_mark_is_no_part_of_the_first_key(path):
    assert read(path, "\ufeffprofile: a\n") == {"profile": "a"}


def test_a_file_that_is_too_large_is_not_parsed(path):
    assert "has 5,000,000 bytes, at most 4,194,304 are allowed" in refusal(path, "#" * 5_000_000)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "fifo"])
def test_what_is_no_regular_file_is_refused_unread(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with pytest.raises(ConfigError, match=f"{name}: cannot be read: it is no regular file"):
        yaml_reader.read_yaml(tmp_path / name)


@pytest.mark.soak
@pytest.mark.parametrize(
    "text",
    [
        "".join(f"key{i}: {i}\n" for i in range(20_000)),
        "train:\n" + "".join(f"  muon_lr{i}: {i}\n" for i in range(20_000)),
        "train:\n  ema_decays: [" + "x, " * 20_000 + "]\n",
        BILLION_LAUGHS,
        BILLION_MERGES,
        "[" * 1_000_000,
        "a: " + "x y " * 900_000,
        "".join(f"k{i}: &a{i} {i}\n" for i in range(30_000)),
    ],
    ids=["keys", "keys of a section", "items", "aliases", "merges", "nesting", "a long value", "anchors"],
)
def test_validate_ends_within_ten_times_its_two_seconds(path, text):
    path.write_text(text)
    started_at = time.perf_counter()
    command = [sys.executable, "-m", "golf", "validate", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert time.perf_counter() - started_at < 20
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 23
    assert len(done.stderr) < 4000
