"""golf/distributed/device.py"""

import dataclasses
import shutil
import types

import pytest
import torch

from golf.config import loader, sections
from golf.distributed import device as distributed_device
from golf.errors import UnavailableError
from golf.pipeline import runner
from tests.helpers import stage_errors, stage_processes
from tests.helpers.stage_processes import assert_single_error, run_stage_process
from tests.helpers.tiny_corpus import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def section() -> sections.EMAConfig:
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
    monkeypatch.setattr(distributed_device.shutil, "which", lambda name: None)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def flash(monkeypatch):
    """Say which flash-attn packages are installed, by version; their modules import and hold what they should."""

    def install(packages: dict[str, str], hollow: tuple[str, ...] = ()):
        modules = {
            distributed_device.FLASH_MODULES[name]
            for name, (names, _) in distributed_device.BACKEND_PACKAGES.items()
            if packages.keys() & set(names)
        }

        def find(name):
            if name not in modules | set(hollow):
                raise ImportError(f"No module named {name!r}")
            return types.SimpleNamespace(**({} if name in hollow else {"flash_attn_func": len}))

        def version(package):
            if package not in packages:
                raise distributed_device.metadata.PackageNotFoundError(package)
            return packages[package]

        monkeypatch.setattr(distributed_device.importlib, "import_module", find)
        monkeypatch.setattr(distributed_device.metadata, "version", version)

    return install


def test_auto_says_what_it_chose_and_why(section, no_gpu, no_compiler):
    here = distributed_device.init_context(section, "ema")
    assert (here.device, here.compile, here.attention, here.rank, here.world_size) == (CPU, False, "sdpa", 0, 1)
    assert here.description.startswith("cpu (auto: no GPU), ")
    assert "compile off (auto: needs a C++ compiler" in here.description
    assert "attention sdpa (auto: CPU)" in here.description
    assert here.description.endswith(", 1 rank")
    assert "\n" not in here.description


def test_what_was_asked_for_is_said_to_be_asked_for(section):
    asked = dataclasses.replace(section, device="cpu", attention="sdpa", compile="off", dtype="bfloat16")
    here = distributed_device.init_context(asked, "ema")
    assert (here.dtype, here.description.count("(asked for)")) == (torch.bfloat16, 4)


def test_bf16_is_chosen_on_a_cpu_that_multiplies_it_in_tiles(monkeypatch):
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda fast=fast: fast)
        assert distributed_device.resolve_dtype("auto", CPU)[0] == dtype
    assert distributed_device.resolve_dtype("auto", CUDA)[0] == torch.bfloat16


def test_a_gpu_asked_for_where_there_is_none_is_refused_by_its_key_with_the_way_to_a_cpu(section, no_gpu):
    with pytest.raises(
        UnavailableError, match=r"train\.device: cuda .* device: auto, dtype: auto and ranks: 1"
    ) as said:
        distributed_device.resolve_device("cuda", "train", 0)
    assert "cp profiles/laptop.yaml params.yaml" in str(said.value)


def test_more_ranks_than_gpus_are_refused_by_their_key(two_gpus):
    assert distributed_device.resolve_device("auto", "train", 1)[0] == torch.device("cuda", 1)
    with pytest.raises(
        UnavailableError, match=r"train\.ranks: 3 or more on a machine with 2 GPUs.*set train\.ranks to 2"
    ):
        distributed_device.resolve_device("auto", "train", 2)


def test_a_compiler_asked_for_where_there_is_none_is_refused_by_its_key(no_compiler):
    with pytest.raises(
        UnavailableError, match=r"evaluate\.compile: on needs a C\+\+ compiler .*evaluate\.compile to auto"
    ):
        distributed_device.resolve_compile("on", "evaluate", CPU)
    with pytest.raises(UnavailableError, match=r"needs a C compiler \(gcc or clang\)"):
        distributed_device.resolve_compile("on", "evaluate", CUDA)


def test_a_c_compiler_does_not_pass_for_the_c_plus_plus_one_that_inductor_calls(no_compiler, monkeypatch):
    monkeypatch.setattr(distributed_device.shutil, "which", lambda name: "/bin/gcc" if name in ("gcc", "cc") else None)
    assert distributed_device.resolve_compile("auto", "train", CPU)[0] is False


def test_the_compiler_that_cxx_names_is_the_one_that_counts(no_compiler, monkeypatch):
    monkeypatch.setattr(distributed_device.shutil, "which", lambda name: "/bin/x" if name == "x++" else None)
    monkeypatch.setattr(
        distributed_device, "sys", types.SimpleNamespace(platform="darwin")
    )  # where no headers are asked for
    assert distributed_device.resolve_compile("auto", "train", CPU)[0] is False
    monkeypatch.setenv("CXX", "x++")
    assert distributed_device.resolve_compile("auto", "train", CPU)[0] is True


def test_without_pythons_headers_auto_does_not_compile(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed_device.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(distributed_device, "sys", types.SimpleNamespace(platform="linux"))
    monkeypatch.setattr(distributed_device.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in distributed_device.resolve_compile("auto", "train", CPU)[1]
    (tmp_path / "Python.h").touch()
    assert distributed_device.resolve_compile("auto", "train", CPU) == (True, "auto: a compiler is here")


@pytest.mark.parametrize("name", ["flash4", "flash3", "flash2"])
def test_a_named_attention_backend_that_is_missing_is_refused_by_its_key(name, flash):
    flash({})
    with pytest.raises(
        UnavailableError, match=rf"ttt\.attention: {name} needs flash-attn.*, and no flash-attn is installed"
    ):
        distributed_device.resolve_attention(name, "ttt", CUDA, torch.bfloat16)
    with pytest.raises(UnavailableError, match=rf"ttt\.attention: {name} needs a GPU and bfloat16.* cpu in bfloat16"):
        distributed_device.resolve_attention(name, "ttt", CPU, torch.bfloat16)


@pytest.mark.parametrize(
    ("name", "packages", "words"),
    [
        (
            "flash3",
            {"flash-attn": "2.8.3"},
            r"flash3 needs flash-attn-3 3\.0 or a later 3\.x, and flash-attn 2\.8\.3 is",
        ),
        ("flash4", {"flash-attn": "2.8.3"}, r"flash4 needs flash-attn-4 4\.0 .*flash-attn 2\.8\.3 is .*'\.\[gpu\]'"),
        ("flash4", {"flash-attn-4": "5.0.0"}, r"flash4 needs flash-attn-4 4\.0 .*and flash-attn-4 5\.0\.0 is"),
        ("flash2", {"flash-attn-4": "4.0.0b36"}, r"flash2 needs flash-attn 2\.1 .*and flash-attn-4 4\.0\.0b36 is"),
        ("flash2", {"flash-attn": "1.0.9"}, r"flash2 needs flash-attn 2\.1 or a later 2\.x, and flash-attn 1\.0\.9 is"),
        ("flash2", {"flash-attn": "2.0.8"}, r"flash2 needs flash-attn 2\.1 or a later 2\.x, and flash-attn 2\.0\.8 is"),
    ],
)
def test_flash_attn_of_another_major_version_or_too_old_is_named_with_what_is_needed_and_the_cure(
    flash, name, packages, words
):
    flash(packages)
    with pytest.raises(UnavailableError, match=words) as said:
        distributed_device.resolve_attention(name, "train", CUDA, torch.bfloat16)
    assert str(said.value).endswith("or set it to auto or sdpa")
    assert distributed_device.resolve_attention("auto", "train", CUDA, torch.float32)[0] == "sdpa"


def test_flash_attn_4_without_its_module_is_said_to_be_broken(flash):
    flash({"flash-attn-4": "4.0.0b36"}, hollow=("flash_attn.cute",))
    with pytest.raises(
        UnavailableError, match=r"flash4 can't be imported from flash-attn-4 4\.0\.0b36 \(.*flash_attn_func"
    ):
        distributed_device.resolve_attention("flash4", "train", CUDA, torch.bfloat16)


def test_auto_attention_takes_the_best_that_is_installed(flash, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    flash({"flash-attn": "2.8.3.post1", "flash-attn-3": "3.0.0b1"})
    assert distributed_device.resolve_attention("auto", "train", CUDA, torch.bfloat16) == ("flash3", "auto: installed")
    assert distributed_device.resolve_attention("flash2", "train", CUDA, torch.bfloat16) == ("flash2", "asked for")
    assert distributed_device.resolve_attention("auto", "train", CUDA, torch.float32)[0] == "sdpa"
    assert distributed_device.resolve_attention("auto", "train", CUDA, torch.bfloat16, use_compile=True)[0] == "sdpa"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert distributed_device.resolve_attention("auto", "train", CUDA, torch.bfloat16)[0] == "flash2"
    with pytest.raises(
        UnavailableError, match=r"train\.attention: flash3 runs on compute capability 9, and cuda:0 has 8"
    ):
        distributed_device.resolve_attention("flash3", "train", CUDA, torch.bfloat16)
    flash({})
    assert distributed_device.resolve_attention("auto", "train", CUDA, torch.bfloat16) == (
        "sdpa",
        "auto: no flash-attn",
    )


def test_flash_attention_2_named_with_compile_on_is_a_contradiction_and_with_auto_turns_compile_off():
    with pytest.raises(UnavailableError, match=r"train\.compile: on, and train\.attention: flash2 can't be compiled"):
        distributed_device.resolve_compile("on", "train", CUDA, "flash2")
    assert distributed_device.resolve_compile("auto", "train", CUDA, "flash2") == (
        False,
        "auto: flash2 can't be compiled",
    )


@pytest.mark.parametrize("name", ["flash4", "flash3"])
def test_flash_attention_4_and_3_are_compiled_as_torch_calls_them(name, monkeypatch):
    monkeypatch.setattr(distributed_device, "missing_compiler", lambda device: None)
    assert distributed_device.resolve_compile("on", "train", CUDA, name) == (True, "asked for")


def test_the_record_profile_without_a_gpu_is_refused_once_before_a_rank_starts(tmp_path, no_gpu):
    shutil.copy(ROOT / "profiles/record.yaml", tmp_path / "params.yaml")
    code, err = run_stage_process(tmp_path, "train", CUDA_VISIBLE_DEVICES="")
    assert code == 1
    assert_single_error(err, "train")
    assert err.count("train.device: cuda was asked for and torch sees no GPU") == 1
    assert "ranks stopped" not in err


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
