"""golf/cli/preflight/step_work.py and hardware.py: parameters, activations and memory against those of real models"""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from golf.cli.preflight import step_work
from golf.cli.preflight.hardware import HARDWARE, Hardware, measure_cpu
from golf.config import loader
from golf.model.gpt import GPT
from tests.helpers.programs import measure_step_memory
from tests.helpers.tiny_corpus import ROOT

CPU = Hardware("cpu", 1, False, 1e11, 1e10, None, 0.5, 12.0, 0.0, "made up")


@pytest.fixture(scope="module")
def record():
    return loader.load_config(ROOT / "profiles/record.yaml")


def test_parameters_are_those_of_the_model_and_of_the_record(record, tiny_model_config):
    shapes = step_work.count_parameters(tiny_model_config)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in GPT(tiny_model_config).named_parameters()}
    sizes = [torch.Size(shape).numel() for shape in step_work.count_parameters(record.model).values()]
    assert sum(sizes) == 35_944_536


@pytest.mark.parametrize("recurrent", [False, True])
def test_kept_bytes_are_those_that_autograd_really_keeps(tiny_model_config, recurrent):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    tokens = torch.zeros(1, tiny_model_config.context_length, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(tokens, recurrent=recurrent)
    real = sum(size for size, _ in kept.values()) / tiny_model_config.context_length
    assert step_work.measure_kept_bytes(tiny_model_config, torch.float32, recurrent=recurrent) == pytest.approx(real)


def test_bf16_keeps_less_than_fp32_and_recurrence_more(tiny_model_config):
    plain = step_work.measure_kept_bytes(tiny_model_config, torch.float32, recurrent=False)
    assert step_work.measure_kept_bytes(tiny_model_config, torch.bfloat16, recurrent=False) < plain
    assert step_work.measure_kept_bytes(tiny_model_config, torch.float32, recurrent=True) > plain


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_step_is_within_25_percent_of_the_measured_peak():
    """In a process of its own, whose resident memory before the model is subtracted."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, measure_step_memory.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured = float(done.stdout)
    cfg = measure_step_memory.TRAIN_CONFIG
    work = step_work.plan_step(measure_step_memory.MODEL_CONFIG, cfg, CPU, torch.float32, recurrent=False)
    parts = step_work.predict_memory(measure_step_memory.MODEL_CONFIG, cfg, CPU, work)
    assert sum(parts.values()) == pytest.approx(measured, rel=0.25)


def test_the_published_step_and_memory_of_pr_1493_are_reproduced_within_20_percent(record):
    """102 and 151 ms a step and 39,045 MiB on 8×H100, holding a rank's 98,304 tokens at once."""
    cfg, hardware = dataclasses.replace(record.train, micro_batch_tokens=98_304), HARDWARE["h100x8"]
    works = [
        step_work.plan_step(record.model, cfg, hardware, torch.bfloat16, recurrent=recurrent)
        for recurrent in (False, True)
    ]
    assert step_work.predict_step_s(works[0], hardware) == pytest.approx(0.102, rel=0.2)
    assert step_work.predict_step_s(works[1], hardware) == pytest.approx(0.151, rel=0.2)
    memory = step_work.predict_memory(record.model, cfg, hardware, works[1])
    assert sum(memory.values()) == pytest.approx(39_045 * 2**20, rel=0.2)


def test_half_the_tokens_at_a_time_hold_half_the_activations_and_take_as_long(record):
    hardware = HARDWARE["h100x8"]
    whole, half = (
        step_work.plan_step(
            record.model, dataclasses.replace(record.train, micro_batch_tokens=tokens), hardware, torch.bfloat16,
            recurrent=False,
        )
        for tokens in (98_304, 49_152)
    )  # fmt: skip
    assert half.kept_bytes == pytest.approx(whole.kept_bytes / 2)
    assert step_work.predict_step_s(half, hardware) == step_work.predict_step_s(whole, hardware)


def test_the_rates_of_this_cpu_are_measured():
    hardware = measure_cpu(torch.float32)
    assert hardware.peak_flops > 1e8
    assert hardware.bytes_per_s > 1e7
    assert "measured now" in hardware.source


def test_every_gpu_names_the_published_figures_of_its_calibration():
    for hardware in HARDWARE.values():
        assert "#1394" in hardware.source
        assert "#1493" in hardware.source
