"""golf/pipeline/read_guard.py: stages before evaluate cannot open val (C1-e)"""

import dataclasses
from pathlib import Path

import pytest

from golf.config import loader
from golf.pipeline import read_guard
from tests.helpers.stage_processes import (
    assert_single_error,
    run_stage_process,
    write_params,
    write_stub_stage,
    write_two_rank_stage,
)
from tests.helpers.tiny_corpus import ROOT

VAL = "artifacts/fetch/val/val_000000.bin"
OPENS = {
    "open": "open(path, 'rb').read()",
    "an absolute path": "open(Path(path).absolute()).read()",
    "a path with dots": "open('artifacts/fetch/../fetch/./val/val_000000.bin').read()",
    "bytes": "open(path.encode(), 'rb').read()",
    "os.open": "import os; os.open(path, os.O_RDONLY)",
    "a memory map": "import numpy; numpy.memmap(path, mode='r')",
    "write": "open(path, 'w')",
    "from another folder": "import os; os.chdir('artifacts'); open('fetch/val/val_000000.bin').read()",
}


def add_val(folder: Path) -> Path:
    (folder / VAL).parent.mkdir(parents=True)
    (folder / VAL).write_bytes(b"held out")
    return folder


def test_no_stage_before_evaluate_can_open_val_by_any_call(stage_dir):
    lines = [f"path = {VAL!r}", "refused = 0"]
    for call in OPENS.values():
        lines += ["try:", f"    {call}", "except errors.GolfError as error:"]
        lines += ["    refused += 'only evaluate reads val' in str(error)"]
    lines.append(f"assert refused == {len(OPENS)}, refused")
    write_stub_stage(add_val(stage_dir), "compress", "\n".join(lines))
    code, err = run_stage_process(stage_dir, "compress")
    assert code == 0, err
    assert (stage_dir / VAL).read_bytes() == b"held out"


def test_the_error_names_stage_and_file_in_one_message(stage_dir):
    write_stub_stage(add_val(stage_dir), "train", f"open({VAL!r})")
    code, err = run_stage_process(stage_dir, "train")
    assert code == 1
    assert_single_error(err, "train")
    assert f"train may not open {VAL}: only evaluate reads val (check C1-e)" in err


@pytest.mark.soak
def test_a_rank_cannot_open_val_either(tmp_path):
    body = f"if ctx.rank == 1: open({VAL!r})\nctx.all_reduce_max(0.0)"
    code, err = run_stage_process(add_val(write_two_rank_stage(tmp_path, body)), "calibrate")
    assert code == 1
    assert_single_error(err, "calibrate")
    assert f"calibrate may not open {VAL}" in err


def test_only_fetch_evaluate_and_a_ttt_stage_configured_for_val_may_read_it():
    config = loader.load_config(ROOT / "profiles" / "laptop.yaml")
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    allowed = [name for name, section in sections.items() if read_guard.may_read_val(name, section)]
    assert allowed == ["fetch", "evaluate"]
    assert read_guard.may_read_val("ttt", dataclasses.replace(config.ttt, stream="val"))


def test_a_ttt_stage_that_adapts_on_val_can_open_it(tmp_path):
    write_params(add_val(tmp_path), {"ttt.stream": "val"})
    write_stub_stage(tmp_path, "ttt", f"assert open({VAL!r}).read() == 'held out'")
    code, err = run_stage_process(tmp_path, "ttt")
    assert code == 0, err


def test_files_with_similar_names_can_be_opened(stage_dir):
    names = ("artifacts/fetch/val_notes.txt", "artifacts/fetch/dev/val", "val")
    for name in names:
        (stage_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (stage_dir / name).write_text("open")
    write_stub_stage(stage_dir, "compress", f"for name in {names!r}:\n    assert open(name).read() == 'open'")
    code, err = run_stage_process(stage_dir, "compress")
    assert code == 0, err
