"""golf/distributed/device.py"""

import dataclasses
import types

import pytest
import torch

from golf.config import loader
from golf.config.training import EMAConfig
from golf.distributed import context, device, machine_probe
from golf.errors import UnavailableError
from golf.model.attention_backends import resolve_attention
from golf.pipeline import runner
from tests.helpers import stage_errors, stage_processes
from tests.helpers.stage_processes import assert_single_error
from tests.helpers.tiny_corpus import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def section() -> EMAConfig:
    """A section that leaves every choice open."""
    ema = loader.load_config(ROOT / "profiles" / "laptop.yaml").ema
    return dataclasses.replace(ema, device="auto", attention="auto", compile="auto", dtype="auto")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)


def test_auto_says_what_it_chose_and_why(section, no_gpu, no_compiler):
    ctx = device.init_context(section, "ema", resolve_attention)
    assert (ctx.device, ctx.compile, ctx.attention, ctx.rank, ctx.world_size) == (CPU, False, "sdpa", 0, 1)
    assert ctx.description.startswith("cpu (auto: no GPU), ")
    assert "compile off (auto: it needs a C++ compiler" in ctx.description
    assert "attention sdpa (auto: CPU)" in ctx.description
    assert ctx.description.endswith(", 1 rank")
    assert "\n" not in ctx.description


def test_a_named_setting_is_described_as_requested(section):
    section = dataclasses.replace(section, device="cpu", attention="sdpa", compile="off", dtype="bfloat16")
    ctx = device.init_context(section, "ema", resolve_attention)
    assert (ctx.dtype, ctx.description.count("(as requested)")) == (torch.bfloat16, 4)


@pytest.fixture
def working_compiler(monkeypatch):
    monkeypatch.setattr(device, "find_missing_compiler", lambda device: None)
    monkeypatch.setattr(machine_probe, "find_compile_problem", lambda device: None)


@pytest.mark.parametrize(("speedup", "dtype"), [(4.2, torch.bfloat16), (1.3, torch.bfloat16), (1.29, torch.float32)])
def test_auto_is_bf16_on_a_cpu_that_multiplies_it_1_3_times_as_fast(monkeypatch, section, no_gpu, speedup, dtype):
    monkeypatch.setattr(machine_probe, "measure_bf16_speedup", lambda: speedup)
    ctx = device.init_context(dataclasses.replace(section, compile="off"), "ema", resolve_attention)
    assert ctx.dtype == dtype
    assert f"auto: bf16 products {speedup:.2g} times as fast as fp32 on this CPU" in ctx.description


def test_a_gpu_and_a_named_precision_are_not_measured(monkeypatch):
    monkeypatch.setattr(machine_probe, "measure_bf16_speedup", pytest.fail)
    assert device.resolve_dtype("auto", CUDA)[0] == torch.bfloat16
    assert device.resolve_dtype("float32", CPU) == (torch.float32, "as requested")


def test_a_context_in_another_precision_says_why():
    ctx = dataclasses.replace(context.single_process(), description="cpu")
    assert device.with_dtype(ctx, torch.float32) is ctx
    changed = device.with_dtype(ctx, torch.bfloat16, "a reason")
    assert (changed.dtype, changed.description) == (torch.bfloat16, "cpu, changed to bfloat16 (a reason)")


def test_a_gpu_asked_for_where_there_is_none_is_refused_by_its_key_with_the_way_to_a_cpu(section, no_gpu):
    with pytest.raises(
        UnavailableError, match=r"train\.device: cuda .* device: auto, ranks: 1 and dtype: auto"
    ) as error:
        device.resolve_device("cuda", "train", 0)
    assert "cp profiles/laptop.yaml params.yaml" in str(error.value)


def test_more_ranks_than_gpus_are_refused_by_their_key(two_gpus):
    assert device.resolve_device("auto", "train", 1)[0] == torch.device("cuda", 1)
    with pytest.raises(
        UnavailableError, match=r"train\.ranks: 3 or more on a machine with 2 GPUs.*set train\.ranks to 2"
    ):
        device.resolve_device("auto", "train", 2)


def test_a_compiler_asked_for_where_there_is_none_is_refused_by_its_key(no_compiler):
    with pytest.raises(
        UnavailableError, match=r"evaluate\.compile: on, but it needs a C\+\+ compiler .*evaluate\.compile to auto"
    ):
        device.resolve_compile("on", "evaluate", CPU)
    with pytest.raises(UnavailableError, match=r"needs a C compiler \(gcc or clang\)"):
        device.resolve_compile("on", "evaluate", CUDA)


def test_a_c_compiler_does_not_pass_for_the_c_plus_plus_one_that_inductor_calls(no_compiler, monkeypatch):
    monkeypatch.setattr(device.shutil, "which", lambda name: "/bin/gcc" if name in ("gcc", "cc") else None)
    assert device.resolve_compile("auto", "train", CPU)[0] is False


def test_the_compiler_that_cxx_names_is_the_one_that_counts(no_compiler, monkeypatch):
    monkeypatch.setattr(machine_probe, "find_compile_problem", lambda device: None)
    monkeypatch.setattr(device.shutil, "which", lambda name: "/bin/x" if name == "x++" else None)
    monkeypatch.setattr(device, "sys", types.SimpleNamespace(platform="darwin"))  # where no headers are as requested
    assert device.resolve_compile("auto", "train", CPU)[0] is False
    monkeypatch.setenv("CXX", "x++")
    assert device.resolve_compile("auto", "train", CPU)[0] is True


def test_without_pythons_headers_auto_does_not_compile(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_probe, "find_compile_problem", lambda device: None)
    monkeypatch.setattr(device.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(device, "sys", types.SimpleNamespace(platform="linux"))
    monkeypatch.setattr(device.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in device.resolve_compile("auto", "train", CPU)[1]
    (tmp_path / "Python.h").touch()
    assert device.resolve_compile("auto", "train", CPU) == (True, "auto: the compiler works")


def test_a_compiler_that_fails_turns_auto_off_with_its_reason_and_on_is_refused_by_its_key(monkeypatch):
    monkeypatch.setattr(device, "find_missing_compiler", lambda device: None)
    monkeypatch.setattr(machine_probe, "find_compile_problem", lambda device: "x.cpp:1: error: no")
    assert device.resolve_compile("auto", "train", CPU) == (False, "auto: the compiler fails: x.cpp:1: error: no")
    with pytest.raises(
        UnavailableError, match=r"^ema\.compile: on, but the compiler fails: x\.cpp:1: error: no; .*set ema\.compile to"
    ):
        device.resolve_compile("on", "ema", CPU)


def test_flash_attention_2_contradicts_compile_on_and_turns_auto_off():
    with pytest.raises(UnavailableError, match=r"train\.compile: on, but train\.attention: flash2 can't be compiled"):
        device.resolve_compile("on", "train", CUDA, "flash2")
    assert device.resolve_compile("auto", "train", CUDA, "flash2") == (
        False,
        "auto: flash2 can't be compiled",
    )


@pytest.mark.parametrize("name", ["flash4", "flash3"])
def test_flash_attention_4_and_3_are_compiled_as_torch_calls_them(name, working_compiler):
    assert device.resolve_compile("on", "train", CUDA, name) == (True, "as requested")


def test_fewer_gpus_than_ranks_are_refused_once_before_a_rank_starts(stage_dir, two_gpus, monkeypatch, capfd):
    stage_processes.write_params(
        stage_dir, {"calibrate.ranks": 4, "calibrate.device": "cuda", "calibrate.micro_batch_tokens": 4096}
    )
    monkeypatch.chdir(stage_dir)
    monkeypatch.setattr(runner, "launch_ranks", lambda *_: pytest.fail("a rank was started"))
    with stage_errors.restore_signal_handlers(), pytest.raises(SystemExit) as ended:
        runner.run_stage("calibrate", pytest.fail)
    err = capfd.readouterr().err
    assert ended.value.code == 1
    assert_single_error(err, "calibrate")
    assert "calibrate.ranks: 4 or more on a machine with 2 GPUs" in err
