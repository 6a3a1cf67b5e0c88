"""golf/ground/stage.py: val behind a door (C1-e)"""

import dataclasses
from pathlib import Path

import pytest
from conftest import ROOT
from processes import configured, run, throwaway, told_once, two_ranks

from golf.ground import params, stage

VAL = "artifacts/fetch/val/val_000000.bin"
OPENS = {
    "open": "open(path, 'rb').read()",
    "an absolute path": "open(Path(path).absolute()).read()",
    "a way round": "open('artifacts/fetch/../fetch/./val/val_000000.bin').read()",
    "bytes": "open(path.encode(), 'rb').read()",
    "os.open": "import os; os.open(path, os.O_RDONLY)",
    "a memory map": "import numpy; numpy.memmap(path, mode='r')",
    "write": "open(path, 'w')",
    "from another folder": "import os; os.chdir('artifacts'); open('fetch/val/val_000000.bin').read()",
}


def with_val(folder: Path) -> Path:
    (folder / VAL).parent.mkdir(parents=True)
    (folder / VAL).write_bytes(b"held out")
    return folder


def test_a_stage_before_evaluate_can_not_open_val_by_whatever_call(desk):
    lines = [f"path = {VAL!r}", "refused = 0"]
    for call in OPENS.values():
        lines += ["try:", f"    {call}", "except errors.GolfError as error:"]
        lines += ["    refused += 'val is for evaluate alone' in str(error)"]
    lines.append(f"assert refused == {len(OPENS)}, refused")
    throwaway(with_val(desk), "compress", "\n".join(lines))
    code, err = run(desk, "compress")
    assert code == 0, err
    assert (desk / VAL).read_bytes() == b"held out"


def test_the_refusal_names_the_stage_and_the_file_in_one_message(desk):
    throwaway(with_val(desk), "train", f"open({VAL!r})")
    code, err = run(desk, "train")
    assert code == 1
    told_once(err, "train")
    assert f"train may not open {VAL}: val is for evaluate alone (C1)" in err


@pytest.mark.soak
def test_a_rank_can_not_open_val_either(tmp_path):
    body = f"if here.rank == 1: open({VAL!r})\nhere.agree(0.0)"
    code, err = run(with_val(two_ranks(tmp_path, body)), "calibrate")
    assert code == 1
    told_once(err, "calibrate")
    assert f"calibrate may not open {VAL}" in err


def test_val_is_open_to_fetch_and_evaluate_alone_and_to_a_ttt_that_is_told_to_adapt_on_it():
    tree = params.read(ROOT / "profiles" / "laptop.yaml")
    sections = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    assert [name for name, section in sections.items() if stage.reads_val(name, section)] == ["fetch", "evaluate"]
    assert stage.reads_val("ttt", dataclasses.replace(tree.ttt, stream="val"))


def test_a_ttt_that_adapts_on_val_can_open_it(tmp_path):
    configured(with_val(tmp_path), {"ttt.stream": "val"})
    throwaway(tmp_path, "ttt", f"assert open({VAL!r}).read() == 'held out'")
    code, err = run(tmp_path, "ttt")
    assert code == 0, err


def test_files_of_names_like_vals_stay_open(desk):
    names = ("artifacts/fetch/val_notes.txt", "artifacts/fetch/dev/val", "val")
    for name in names:
        (desk / name).parent.mkdir(parents=True, exist_ok=True)
        (desk / name).write_text("open")
    throwaway(desk, "compress", f"for name in {names!r}:\n    assert open(name).read() == 'open'")
    code, err = run(desk, "compress")
    assert code == 0, err
