"""Attention backends: which flash-attn libraries are installed, and which of them a device can run."""

import importlib
import re

import torch

from golf.distributed.packages import get_installed_version
from golf.errors import UnavailableError

__all__ = ["MODULES", "PACKAGES", "explain_unavailable_backend", "resolve_attention"]

MODULES = {"flash4": "flash_attn.cute", "flash3": "flash_attn_interface", "flash2": "flash_attn"}  # best first
PACKAGES = {  # the names under which each was released, and its lowest usable version
    "flash4": (("flash-attn-4",), (4, 0)),
    "flash3": (("flash-attn-3", "flashattn-hopper"), (3, 0)),
    "flash2": (("flash-attn",), (2, 1)),  # before 2.1 the causal mask is aligned with the first key, not the last
}
_COMPUTE_MAJORS = {"flash4": (9, 10, 11), "flash3": (9,), "flash2": (8, 9, 10, 11, 12)}  # CUDA capabilities
_INSTALL_HINTS = {
    "flash4": "pip install -e '.[gpu]'",
    "flash3": "build it from hopper/ of flash-attention's sources",
    "flash2": "pip install --no-build-isolation flash-attn, which needs nvcc",
}


def resolve_attention(
    requested: str, section: str, device: torch.device, dtype: torch.dtype, use_compile: bool
) -> tuple[str, str]:
    """Return the attention backend for ``requested`` (a key of ``MODULES``, "sdpa" or "auto") and the reason.

    Raises UnavailableError, naming ``<section>.attention``, when a named backend can't run on ``device``.
    """
    if requested != "auto":
        problem = explain_unavailable_backend(requested, device, dtype)
        if problem:
            raise UnavailableError(f"{section}.attention: {requested} {problem}, or set it to auto or sdpa")
        return requested, "as requested"
    if use_compile:  # flash4 and flash3 compile too, but have not been measured against torch's kernels here
        return "sdpa", "auto: torch's own kernels, compiled"
    for name in MODULES:
        if explain_unavailable_backend(name, device, dtype) is None:
            return name, "auto: installed"
    return "sdpa", "auto: no flash-attn" if device.type == "cuda" else "auto: CPU"


def explain_unavailable_backend(backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why a backend can't run on this device, with the remedy; None when it can."""
    if backend == "sdpa":
        return None
    if device.type != "cuda" or dtype != torch.bfloat16:
        actual = f"{device.type} in {str(dtype).removeprefix('torch.')}"
        return f"needs a GPU and bfloat16, but this stage runs on {actual}; set its device and dtype accordingly"
    package_problem = _find_package_problem(backend)
    if package_problem:
        return f"{package_problem}; {_INSTALL_HINTS[backend]}"
    major = torch.cuda.get_device_capability(device)[0]
    if major not in _COMPUTE_MAJORS[backend]:
        supported = ", ".join(map(str, _COMPUTE_MAJORS[backend]))
        return f"runs on compute capability {supported}, but {device} has {major}; choose another backend"
    return None


def _find_package_problem(backend: str) -> str | None:
    """Return what is wrong with the installed flash-attn packages for a backend; None when nothing is.

    Versions are read from package metadata, because the modules can't tell: flash-attn 2 carries a copy of parts of 4,
    and flash-attn 4 alone makes ``import flash_attn`` work.
    """
    package_names, min_version = PACKAGES[backend]
    requirement = f"needs {package_names[0]} {'.'.join(map(str, min_version))} or a later {min_version[0]}.x"
    installed = {
        package: version
        for names, _ in PACKAGES.values()
        for package in names
        if (version := get_installed_version(package))
    }
    own_version = next((installed[package] for package in package_names if package in installed), None)
    if own_version is None or not min_version <= _parse_version(own_version) < (min_version[0] + 1,):
        listing = ", ".join(f"{package} {version}" for package, version in installed.items()) or "no flash-attn"
        return f"{requirement}, but {listing} is installed"
    try:
        importlib.import_module(MODULES[backend]).flash_attn_func  # noqa: B018
    except (ImportError, AttributeError, OSError) as error:
        return f"can't be imported from {package_names[0]} {own_version} ({error})"
    return None


def _parse_version(version: str) -> tuple[int, ...]:
    """Return (2, 8, 3) for "2.8.3.post1"."""
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))
