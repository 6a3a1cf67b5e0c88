"""golf/ground/runtime.py"""

import dataclasses
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from golf.ground import params, runtime
from golf.ground.errors import Unavailable

ROOT = Path(__file__).parents[1]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def section() -> params.Ema:
    """A section that leaves every choice open."""
    ema = params.read(ROOT / "profiles" / "laptop.yaml").ema
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
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)


def installed(monkeypatch, *names):
    """Of the flash-attn packages, these alone can be imported."""

    def find(name):
        if name not in [runtime.FLASH[n] for n in names]:
            raise ImportError(f"No module named {name!r}")
        return types.ModuleType(name)

    monkeypatch.setattr(runtime.importlib, "import_module", find)


def test_auto_says_what_it_chose_and_why(section, no_gpu, no_compiler):
    here = runtime.setup(section, "ema")
    assert (here.device, here.compile, here.attention, here.rank, here.ranks) == (CPU, False, "sdpa", 0, 1)
    assert here.note.startswith("cpu (auto: no GPU), ")
    assert "compile off (auto: needs a C++ compiler" in here.note
    assert "attention sdpa (auto: CPU)" in here.note
    assert here.note.endswith(", 1 rank")
    assert "\n" not in here.note


def test_what_was_asked_for_is_said_to_be_asked_for(section):
    asked = dataclasses.replace(section, device="cpu", attention="sdpa", compile="off", dtype="bfloat16")
    here = runtime.setup(asked, "ema")
    assert (here.dtype, here.note.count("(asked for)")) == (torch.bfloat16, 4)


def test_bf16_is_chosen_on_a_cpu_that_multiplies_it_in_tiles(monkeypatch):
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda fast=fast: fast)
        assert runtime.choose_dtype("auto", CPU)[0] == dtype
    assert runtime.choose_dtype("auto", CUDA)[0] == torch.bfloat16


def test_a_gpu_asked_for_where_there_is_none_is_refused_by_its_key(section, no_gpu):
    with pytest.raises(Unavailable, match=r"train\.device: cuda .* set train\.device: auto or cpu"):
        runtime.choose_device("cuda", "train", 0)


def test_more_ranks_than_gpus_are_refused_by_their_key(two_gpus):
    assert runtime.choose_device("auto", "train", 1)[0] == torch.device("cuda", 1)
    with pytest.raises(Unavailable, match=r"train\.ranks: more ranks than GPUs \(2 here\)"):
        runtime.choose_device("auto", "train", 2)


def test_a_compiler_asked_for_where_there_is_none_is_refused_by_its_key(no_compiler):
    with pytest.raises(Unavailable, match=r"evaluate\.compile: on needs a C\+\+ compiler .*evaluate\.compile to auto"):
        runtime.choose_compile("on", "evaluate", CPU)
    with pytest.raises(Unavailable, match=r"needs a C compiler \(gcc or clang\)"):
        runtime.choose_compile("on", "evaluate", CUDA)


def test_a_c_compiler_does_not_pass_for_the_c_plus_plus_one_that_inductor_calls(no_compiler, monkeypatch):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "/bin/gcc" if name in ("gcc", "cc") else None)
    assert runtime.choose_compile("auto", "train", CPU)[0] is False


def test_the_compiler_that_cxx_names_is_the_one_that_counts(no_compiler, monkeypatch):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "/bin/x" if name == "x++" else None)
    monkeypatch.setattr(runtime, "sys", types.SimpleNamespace(platform="darwin"))  # where no headers are asked for
    assert runtime.choose_compile("auto", "train", CPU)[0] is False
    monkeypatch.setenv("CXX", "x++")
    assert runtime.choose_compile("auto", "train", CPU)[0] is True


def test_without_pythons_headers_auto_does_not_compile(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(runtime, "sys", types.SimpleNamespace(platform="linux"))
    monkeypatch.setattr(runtime.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in runtime.choose_compile("auto", "train", CPU)[1]
    (tmp_path / "Python.h").touch()
    assert runtime.choose_compile("auto", "train", CPU) == (True, "auto: a compiler is here")


@pytest.mark.parametrize("name", ["flash4", "flash3", "flash2"])
def test_a_named_attention_backend_that_is_missing_is_refused_by_its_key(name, monkeypatch):
    installed(monkeypatch)
    with pytest.raises(Unavailable, match=rf"ttt\.attention: {name} can't be imported.*set it to auto or sdpa"):
        runtime.choose_attention(name, "ttt", CUDA, torch.bfloat16)
    with pytest.raises(Unavailable, match=rf"ttt\.attention: {name} needs a GPU and bfloat16.* cpu in bfloat16"):
        runtime.choose_attention(name, "ttt", CPU, torch.bfloat16)


def test_auto_attention_takes_the_best_that_is_installed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    installed(monkeypatch, "flash2", "flash3")
    assert runtime.choose_attention("auto", "train", CUDA, torch.bfloat16) == ("flash3", "auto: installed")
    assert runtime.choose_attention("flash2", "train", CUDA, torch.bfloat16) == ("flash2", "asked for")
    assert runtime.choose_attention("auto", "train", CUDA, torch.float32)[0] == "sdpa"
    assert runtime.choose_attention("auto", "train", CUDA, torch.bfloat16, compiles=True)[0] == "sdpa"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert runtime.choose_attention("auto", "train", CUDA, torch.bfloat16)[0] == "flash2"
    installed(monkeypatch)
    assert runtime.choose_attention("auto", "train", CUDA, torch.bfloat16) == ("sdpa", "auto: no flash-attn")


def test_one_process_alone_sums_to_itself():
    here = runtime.alone()
    tensor = torch.tensor([1.0, 2.0])
    assert here.first
    assert here.sum(tensor) is tensor
    here.sum_flat([tensor])
    here.agree(0.0)
    assert tensor.tolist() == [1.0, 2.0]
    assert here.agree(2.5) == 2.5


def test_autocast_leaves_weights_in_fp32():
    weight = torch.ones(2, 2)
    with dataclasses.replace(runtime.alone(), dtype=torch.bfloat16).autocast():
        assert (weight @ weight).dtype == torch.bfloat16
    with runtime.alone().autocast():
        assert (weight @ weight).dtype == torch.float32
    assert weight.dtype == torch.float32


def test_without_compile_a_function_stays_itself():
    assert runtime.alone().compiled(len) is len


RANK = """
import dataclasses, sys
import torch, torch.distributed as dist
from golf.ground import params, runtime
ema = params.read(sys.argv[1]).ema
meeting, rank = sys.argv[2:]  # at a file: no port that another test could take
dist.init_process_group("gloo", f"file://{meeting}", rank=int(rank), world_size=2)
here = runtime.setup(dataclasses.replace(ema, device="cpu", compile="off", dtype="float32", attention="sdpa"), "ema")
me = here.rank + 1
parts = [torch.full((2, 3), float(me)), torch.empty(0), torch.arange(4.0).reshape(2, 2).t() * me]
here.sum_flat(parts)
here.agree(0.0)
print(here.ranks, parts[0].tolist(), parts[1].shape[0], parts[2].tolist(), here.agree(me / 2),
      here.sum(torch.tensor([me])).item(), here.note.endswith("2 ranks"), flush=True)
dist.destroy_process_group()
"""


def test_two_ranks_hold_the_same_sums_afterwards(tmp_path):
    environment = os.environ | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = ROOT / "profiles" / "laptop.yaml"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(script), str(tmp_path / "meet"), str(rank)],
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert said[0] == said[1], "to the digit, and nothing on stderr"
    assert said[0][0] == "2 [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]] 0 [[0.0, 6.0], [3.0, 9.0]] 1.0 3 True\n"


def test_flash_attention_named_with_compile_on_is_a_contradiction_and_with_auto_turns_compile_off():
    with pytest.raises(Unavailable, match=r"train\.compile: on, and train\.attention: flash4 can't be compiled"):
        runtime.choose_compile("on", "train", CUDA, "flash4")
    assert runtime.choose_compile("auto", "train", CUDA, "flash4") == (False, "auto: flash4 can't be compiled")
