import dataclasses
import os
import platform

import torch

from golf.artifacts import json_records
from golf.distributed import context
from golf.pipeline import timing


def test_the_hardware_is_named_with_the_number_of_cores():
    cpu = f"{os.cpu_count()} × CPU core ({platform.machine()})"
    assert timing.describe_hardware(None) == timing.describe_hardware(context.single_process()) == cpu


def test_gpus_are_named_by_model_one_for_each_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    ctx = dataclasses.replace(context.single_process("cuda:0"), world_size=8)
    assert timing.describe_hardware(ctx) == "8 × NVIDIA H100 80GB HBM3"


def test_timing_json_holds_milliseconds_and_null_where_there_is_no_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    timing.write_timing_json("train", train_seconds=1.23456, limit_seconds=None)
    record = json_records.read_sealed(tmp_path / "artifacts" / "train" / "timing.json")
    assert record == {"train_seconds": 1.235, "limit_seconds": None}


def test_timing_json_names_the_hardware(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    timing.write_timing_json("calibrate", context.single_process(), train_seconds=2.0)
    record = json_records.read_sealed(tmp_path / "artifacts" / "calibrate" / "timing.json")
    assert record == {"train_seconds": 2.0, "hardware": timing.describe_hardware(None)}
