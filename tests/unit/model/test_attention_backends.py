"""golf/model/attention_backends.py"""

import types
from importlib import metadata

import pytest
import torch

from golf.errors import UnavailableError
from golf.model import attention_backends
from golf.model.attention_backends import resolve_attention

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def flash(monkeypatch):
    """Say which flash-attn packages are installed, by version; their modules import and hold what they should."""

    def install(packages: dict[str, str], hollow: tuple[str, ...] = ()):
        modules = {
            attention_backends.MODULES[name]
            for name, (names, _) in attention_backends.PACKAGES.items()
            if packages.keys() & set(names)
        }

        def find(name):
            if name not in modules | set(hollow):
                raise ImportError(f"No module named {name!r}")
            return types.SimpleNamespace(**({} if name in hollow else {"flash_attn_func": len}))

        def version(package):
            if package not in packages:
                raise metadata.PackageNotFoundError(package)
            return packages[package]

        monkeypatch.setattr(attention_backends.importlib, "import_module", find)
        monkeypatch.setattr(metadata, "version", version)

    return install


@pytest.mark.parametrize("name", ["flash4", "flash3", "flash2"])
def test_a_named_attention_backend_that_is_missing_is_refused_by_its_key(name, flash):
    flash({})
    with pytest.raises(
        UnavailableError, match=rf"ttt\.attention: {name} needs flash-attn.*, but no flash-attn is installed"
    ):
        resolve_attention(name, "ttt", CUDA, torch.bfloat16, False)
    with pytest.raises(UnavailableError, match=rf"ttt\.attention: {name} needs a GPU and bfloat16.* cpu in bfloat16"):
        resolve_attention(name, "ttt", CPU, torch.bfloat16, False)


@pytest.mark.parametrize(
    ("name", "packages", "words"),
    [
        (
            "flash3",
            {"flash-attn": "2.8.3"},
            r"flash3 needs flash-attn-3 3\.0 or a later 3\.x, but flash-attn 2\.8\.3 is",
        ),
        ("flash4", {"flash-attn": "2.8.3"}, r"flash4 needs flash-attn-4 4\.0 .*flash-attn 2\.8\.3 is .*'\.\[gpu\]'"),
        ("flash4", {"flash-attn-4": "5.0.0"}, r"flash4 needs flash-attn-4 4\.0 .*but flash-attn-4 5\.0\.0 is"),
        ("flash2", {"flash-attn-4": "4.0.0b36"}, r"flash2 needs flash-attn 2\.1 .*but flash-attn-4 4\.0\.0b36 is"),
        ("flash2", {"flash-attn": "1.0.9"}, r"flash2 needs flash-attn 2\.1 or a later 2\.x, but flash-attn 1\.0\.9 is"),
        ("flash2", {"flash-attn": "2.0.8"}, r"flash2 needs flash-attn 2\.1 or a later 2\.x, but flash-attn 2\.0\.8 is"),
    ],
)
def test_a_wrong_or_old_flash_attn_version_is_named_with_the_one_needed_and_a_hint(flash, name, packages, words):
    flash(packages)
    with pytest.raises(UnavailableError, match=words) as error:
        resolve_attention(name, "train", CUDA, torch.bfloat16, False)
    assert str(error.value).endswith("or set it to auto or sdpa")
    assert resolve_attention("auto", "train", CUDA, torch.float32, False)[0] == "sdpa"


def test_flash_attn_4_without_its_module_is_reported_as_broken(flash):
    flash({"flash-attn-4": "4.0.0b36"}, hollow=("flash_attn.cute",))
    with pytest.raises(
        UnavailableError, match=r"flash4 can't be imported from flash-attn-4 4\.0\.0b36 \(.*flash_attn_func"
    ):
        resolve_attention("flash4", "train", CUDA, torch.bfloat16, False)


def test_auto_attention_takes_the_best_that_is_installed(flash, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    flash({"flash-attn": "2.8.3.post1", "flash-attn-3": "3.0.0b1"})
    assert resolve_attention("auto", "train", CUDA, torch.bfloat16, False) == ("flash3", "auto: installed")
    assert resolve_attention("flash2", "train", CUDA, torch.bfloat16, False) == ("flash2", "as requested")
    assert resolve_attention("auto", "train", CUDA, torch.float32, False)[0] == "sdpa"
    assert resolve_attention("auto", "train", CUDA, torch.bfloat16, True)[0] == "sdpa"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert resolve_attention("auto", "train", CUDA, torch.bfloat16, False)[0] == "flash2"
    with pytest.raises(
        UnavailableError, match=r"train\.attention: flash3 runs on compute capability 9, but cuda:0 has 8"
    ):
        resolve_attention("flash3", "train", CUDA, torch.bfloat16, False)
    flash({})
    assert resolve_attention("auto", "train", CUDA, torch.bfloat16, False) == (
        "sdpa",
        "auto: no flash-attn",
    )
