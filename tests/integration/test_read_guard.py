"""golf/pipeline/read_guard.py: stages before evaluate cannot open val (C1-e)"""

import dataclasses
from pathlib import Path

import pytest

from golf.config import loader
from golf.pipeline import read_guard
from tests.helpers.programs import stub_stage
from tests.helpers.programs.stub_stage import VAL_SHARD
from tests.helpers.stage_processes import (
    assert_single_error,
    run_stage_process,
    write_params,
    write_stub_stage,
    write_two_rank_stage,
)
from tests.helpers.tiny_corpus import ROOT


def add_val(folder: Path) -> Path:
    (folder / VAL_SHARD).parent.mkdir(parents=True)
    (folder / VAL_SHARD).write_bytes(b"held out")
    return folder


def test_no_stage_before_evaluate_can_open_val_by_any_call(stage_dir):
    write_stub_stage(add_val(stage_dir), "compress", stub_stage.open_val_by_every_call)
    code, err = run_stage_process(stage_dir, "compress")
    assert code == 0, err
    assert (stage_dir / VAL_SHARD).read_bytes() == b"held out"


def test_the_error_names_stage_and_file_in_one_message(stage_dir):
    write_stub_stage(add_val(stage_dir), "train", stub_stage.open_val)
    code, err = run_stage_process(stage_dir, "train")
    assert code == 1
    assert_single_error(err, "train")
    assert f"train may not open {VAL_SHARD}: only evaluate reads val (check C1-e)" in err


@pytest.mark.soak
def test_a_rank_cannot_open_val_either(tmp_path):
    code, err = run_stage_process(add_val(write_two_rank_stage(tmp_path, stub_stage.open_val_on_rank_1)), "calibrate")
    assert code == 1
    assert_single_error(err, "calibrate")
    assert f"calibrate may not open {VAL_SHARD}" in err


def test_only_fetch_evaluate_and_a_ttt_stage_configured_for_val_may_read_it():
    config = loader.load_config(ROOT / "profiles" / "laptop.yaml")
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    allowed = [name for name, section in sections.items() if read_guard.may_read_val(name, section)]
    assert allowed == ["fetch", "evaluate"]
    assert read_guard.may_read_val("ttt", dataclasses.replace(config.ttt, stream="val"))


def test_a_ttt_stage_that_adapts_on_val_can_open_it(tmp_path):
    write_params(add_val(tmp_path), {"ttt.stream": "val"})
    write_stub_stage(tmp_path, "ttt", stub_stage.read_val)
    code, err = run_stage_process(tmp_path, "ttt")
    assert code == 0, err


def test_files_with_similar_names_can_be_opened(stage_dir):
    for name in stub_stage.NAMES_LIKE_VAL:
        (stage_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (stage_dir / name).write_text("open")
    write_stub_stage(stage_dir, "compress", stub_stage.read_names_like_val)
    code, err = run_stage_process(stage_dir, "compress")
    assert code == 0, err
