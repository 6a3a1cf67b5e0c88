"""What a section of params gets on this machine: device, precision, compiler, attention; refused by key where it is
asked for and missing. Nothing happens at import.
"""

import importlib
import os
import re
import shutil
import sys
import sysconfig
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import torch
import torch.distributed as dist

from golf.distributed.context import FLASH_MODULES, DistContext
from golf.errors import UnavailableError

_COMPUTE_MAJORS = {
    "flash4": (9, 10, 11),
    "flash3": (9,),
    "flash2": (8, 9, 10, 11, 12),
}  # CUDA majors they are built for
BACKEND_PACKAGES = {  # names under which each was released, and the least version of its major one
    "flash4": (("flash-attn-4",), (4, 0)),
    "flash3": (("flash-attn-3", "flashattn-hopper"), (3, 0)),
    "flash2": (("flash-attn",), (2, 1)),  # before 2.1 the causal mask is aligned with the first key, not the last
}
COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # that a rank waits for the others in a sum; one may be slower to compile
_INSTALL_HINTS = {
    "flash4": "pip install -e '.[gpu]'",
    "flash3": "build it from hopper/ of flash-attention's sources",
    "flash2": "pip install --no-build-isolation flash-attn, which needs nvcc",
}


def init_context(cfg, section: str, store_prefix: str = "") -> DistContext:
    """The runtime that a section of params asks for; joins the other ranks where the environment names them.

    group: names the meeting of the ranks, where one command's processes meet more than once.
    Raises Unavailable, naming the key, when a device, compiler or attention backend was named and is missing.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device, device_reason = resolve_device(cfg.device, section, local_rank)
    dtype, dtype_reason = resolve_dtype(cfg.dtype, device)
    use_compile, compile_reason = resolve_compile(cfg.compile, section, device, cfg.attention)
    attention, attention_reason = resolve_attention(cfg.attention, section, device, dtype, use_compile)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = dtype == torch.bfloat16
    if world_size > 1 and not dist.is_initialized():
        tcp_store, _, _ = next(dist.rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"  # what is on the CPU waits for no GPU
        prefix_store = dist.PrefixStore(store_prefix, tcp_store)
        dist.init_process_group(
            backend, store=prefix_store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT
        )
    description = (
        f"{device} ({device_reason}), {str(dtype).removeprefix('torch.')} ({dtype_reason}), "
        f"compile {'on' if use_compile else 'off'} ({compile_reason}), attention {attention} ({attention_reason})"
    )
    return DistContext(
        rank,
        world_size,
        device,
        dtype,
        use_compile,
        attention,
        f"{description}, {world_size} rank{'s' * (world_size > 1)}",
    )


def resolve_device(requested: str, section: str, local_rank: int) -> tuple[torch.device, str]:
    """local_rank: which of this machine's ranks; each has a GPU of its own."""
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu"), "asked for" if requested == "cpu" else "auto: no GPU"
    if not torch.cuda.is_available():
        raise UnavailableError(
            f"{section}.device: cuda was asked for and torch sees no GPU; on the CPU: cp profiles/laptop.yaml "
            f"params.yaml, or device: auto, dtype: auto and ranks: 1 in every stage (a model of the record's size "
            f"takes days there)"
        )
    n_gpus = torch.cuda.device_count()
    if local_rank >= n_gpus:
        raise UnavailableError(
            f"{section}.ranks: {local_rank + 1} or more on a machine with {n_gpus} GPU{'s' * (n_gpus > 1)}, and each "
            f"needs its own; set {section}.ranks to {n_gpus} or fewer, or spread them over machines (docs/machines.md)"
        )
    return torch.device("cuda", local_rank), "asked for" if requested == "cuda" else "auto: a GPU is here"


def resolve_dtype(requested: str, device: torch.device) -> tuple[torch.dtype, str]:
    if requested != "auto":
        return getattr(torch, requested), "asked for"
    if device.type == "cuda":
        return torch.bfloat16, "auto: GPU"
    has_amx_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    if has_amx_tiles:
        return torch.bfloat16, "auto: this CPU multiplies bf16 tiles"
    return torch.float32, "auto: bf16 is slow on this CPU"


def resolve_compile(requested: str, section: str, device: torch.device, attention: str = "auto") -> tuple[bool, str]:
    """flash-attn 2's own calls can't be traced (flash-attention #1435); 3 and 4 are called by torch, and it can."""
    if requested == "off":
        return False, "asked for"
    if attention == "flash2":
        if requested == "on":
            raise UnavailableError(
                f"{section}.compile: on, and {section}.attention: {attention} can't be compiled; set compile to off, "
                f"or attention to sdpa"
            )
        return False, f"auto: {attention} can't be compiled"
    missing = missing_compiler(device)
    if missing is None:
        return True, "asked for" if requested == "on" else "auto: a compiler is here"
    if requested == "on":
        raise UnavailableError(
            f"{section}.compile: on needs {missing}; install it, or set {section}.compile to auto or off"
        )
    return False, f"auto: needs {missing}"


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile lacks here; None when nothing.

    On a CPU Inductor calls $CXX, else g++ (macOS: clang++); for a GPU Triton calls $CC, else gcc or clang. What either
    compiles includes Python.h.
    """
    if device.type == "cpu":
        language, names = "C++", [os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")]
    else:
        language, names = "C", [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    if not any(shutil.which(name) for name in names):
        return f"a {language} compiler ({' or '.join(names)}) on PATH"
    headers = Path(sysconfig.get_path("include"))
    if sys.platform == "darwin" or (headers / "Python.h").is_file():  # Apple's frameworks keep them elsewhere
        return None
    return f"Python's headers (Python.h in {headers})"


def resolve_attention(
    requested: str, section: str, device: torch.device, dtype: torch.dtype, use_compile: bool = False
) -> tuple[str, str]:
    if requested != "auto":
        problem = backend_unavailable_reason(requested, device, dtype)
        if problem:
            raise UnavailableError(f"{section}.attention: {requested} {problem}, or set it to auto or sdpa")
        return requested, "asked for"
    if use_compile:  # flash4 and flash3 compile too, but nobody has measured them against these here
        return "sdpa", "auto: torch's own kernels, compiled"
    for name in FLASH_MODULES:
        if backend_unavailable_reason(name, device, dtype) is None:
            return name, "auto: installed"
    return "sdpa", "auto: no flash-attn" if device.type == "cuda" else "auto: CPU"


def backend_unavailable_reason(backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why an attention backend can't be used here, and the cure; None when it can."""
    if backend == "sdpa":
        return None
    if device.type != "cuda" or dtype != torch.bfloat16:
        supported = f"{device.type} in {str(dtype).removeprefix('torch.')}"
        return f"needs a GPU and bfloat16, and this stage runs on {supported}; set its device and dtype so"
    package_problem = _package_problem(backend)
    if package_problem:
        return f"{package_problem}; {_INSTALL_HINTS[backend]}"
    major = torch.cuda.get_device_capability(device)[0]
    if major not in _COMPUTE_MAJORS[backend]:
        supported = ", ".join(map(str, _COMPUTE_MAJORS[backend]))
        return f"runs on compute capability {supported}, and {device} has {major}; name another"
    return None


def _package_problem(backend: str) -> str | None:
    """What is wrong with the installed flash-attn packages for a backend; None when nothing.

    Versions are those of the installed packages, as their modules can't tell: flash-attn 2 carries a copy of parts of
    4, and 4 alone makes ``import flash_attn`` work.
    """
    package_names, min_version = BACKEND_PACKAGES[backend]
    requirement = f"needs {package_names[0]} {'.'.join(map(str, min_version))} or a later {min_version[0]}.x"
    installed_versions = {
        package: version
        for names, _ in BACKEND_PACKAGES.values()
        for package in names
        if (version := _installed_version(package))
    }
    own_version = next(
        (installed_versions[package] for package in package_names if package in installed_versions), None
    )
    if own_version is None or not min_version <= _parse_version(own_version) < (min_version[0] + 1,):
        installed_text = (
            ", ".join(f"{package} {version}" for package, version in installed_versions.items()) or "no flash-attn"
        )
        return f"{requirement}, and {installed_text} is installed"
    try:
        importlib.import_module(FLASH_MODULES[backend]).flash_attn_func  # noqa: B018
    except (ImportError, AttributeError, OSError) as error:
        return f"can't be imported from {package_names[0]} {own_version} ({error})"
    return None


def _installed_version(package: str) -> str | None:
    """The installed version of a package; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _parse_version(version: str) -> tuple[int, ...]:
    """(2, 8, 3) of "2.8.3.post1"."""
    return tuple(map(int, re.match(r"[\d.]*", version)[0].strip(".").split(".")))
