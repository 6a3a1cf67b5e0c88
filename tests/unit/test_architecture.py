"""The house: its floors, its small modules, and the submitted method's closure"""

import ast
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import golf
from golf.artifacts.source_deps import import_closure, parse_imports
from tests.helpers.tiny_corpus import ROOT

FLOORS = {name: int(floor) for floor, name in re.findall(r"(?m)^floor (\d+)  (\w+)", golf.__doc__)}
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "golf").rglob("*.py"))
STAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").glob("*.py"))
MODULES = [file for file in FILES if not file.endswith("__init__.py")]


def room(file: str) -> str:
    """golf/data/split_reader.py -> data, golf/inference/predictor.py -> method."""
    return Path(file).parts[1].removesuffix(".py")


def reached(file: str) -> set[str]:
    """Our modules that a file imports by itself."""
    dotted = {name.replace(".", "/") + ".py" for name in parse_imports(ROOT, file)}
    return {name for name in dotted if (ROOT / name).is_file()}


def test_the_table_of_floors_names_every_room_and_no_other():
    assert FLOORS.keys() == {room(file) for file in MODULES}


@pytest.mark.parametrize("file", MODULES)
def test_a_module_imports_only_from_lower_floors_or_its_own_room(file):
    above = {
        other for other in reached(file) if room(other) != room(file) and FLOORS[room(other)] >= FLOORS[room(file)]
    }
    assert above == set()


def test_no_modules_import_each_other_in_a_circle():
    tuple(TopologicalSorter({file: reached(file) for file in MODULES}).static_order())  # raises CycleError


def test_nothing_below_looking_imports_the_stages():
    assert [file for file in FILES if any(other.startswith("stages/") for other in reached(file))] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage_and_is_a_screenful(stage):
    assert [other for other in reached(stage) if other.startswith("stages/")] == []
    assert len((ROOT / stage).read_text(encoding="utf-8").splitlines()) <= 70


@pytest.mark.parametrize("file", FILES)
def test_a_module_has_a_docstring_and_at_most_320_lines(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 320


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("__init__.py")])
def test_a_package_is_a_docstring_and_nothing_else(file):
    assert len(ast.parse((ROOT / file).read_text(encoding="utf-8")).body) == 1


def test_the_submitted_method_carries_no_training_no_gptq_and_no_checking():
    carried = import_closure("golf/inference/predictor.py", root=ROOT)
    rooms = {room(file) for file in carried if file != "golf/__init__.py"}
    assert rooms.isdisjoint({"train", "data", "judge", "verdict", "looking", "budget", "__main__"})
    quant = {
        "golf/quantization/gptq.py",
        "golf/quantization/hessians.py",
        "golf/quantization/report.py",
        "golf/quantization/codes_io.py",
    }
    assert quant.isdisjoint(carried)
    assert "golf/compression/quantized_tensor.py" in carried
    assert not any(file.startswith("stages/") for file in carried)


IMPORT_ALL = """
import importlib, os, random, signal, sys
import numpy, torch, torch.distributed, safetensors.torch, sentencepiece, brotli, constriction, psutil, zstandard

def state():
    return (dict(os.environ), os.getcwd(), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.distributed.is_initialized(), torch.initial_seed(), torch.get_rng_state().tolist(),
            torch.backends.cuda.matmul.allow_tf32, random.getstate(), str(numpy.random.get_state()), sys.path[:],
            [signal.getsignal(number) for number in signal.valid_signals()], sorted(os.listdir(".")))

before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert state() == before, name
"""


def test_importing_any_module_or_stage_does_nothing(tmp_path):
    names = [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in FILES + STAGES]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, *names], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
