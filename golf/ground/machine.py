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

from golf.ground.errors import Unavailable
from golf.ground.runtime import FLASH, Runtime

ARCHITECTURES = {"flash4": (9, 10, 11), "flash3": (9,), "flash2": (8, 9, 10, 11, 12)}  # CUDA majors they are built for
LIBRARIES = {  # names under which each was released, and the least version of its major one
    "flash4": (("flash-attn-4",), (4, 0)),
    "flash3": (("flash-attn-3", "flashattn-hopper"), (3, 0)),
    "flash2": (("flash-attn",), (2, 1)),  # before 2.1 the causal mask is aligned with the first key, not the last
}
PATIENCE = timedelta(minutes=10)  # that a rank waits for the others in a sum; one may be slower to compile
CURES = {
    "flash4": "pip install -e '.[gpu]'",
    "flash3": "build it from hopper/ of flash-attention's sources",
    "flash2": "pip install --no-build-isolation flash-attn, which needs nvcc",
}


def setup(execution, section: str, group: str = "") -> Runtime:
    """The runtime that a section of params asks for; joins the other ranks where the environment names them.

    group: names the meeting of the ranks, where one command's processes meet more than once.
    Raises Unavailable, naming the key, when a device, compiler or attention backend was named and is missing.
    """
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    device, why_device = choose_device(execution.device, section, local)
    dtype, why_dtype = choose_dtype(execution.dtype, device)
    compiles, why_compile = choose_compile(execution.compile, section, device, execution.attention)
    attention, why_attention = choose_attention(execution.attention, section, device, dtype, compiles)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = dtype == torch.bfloat16
    if ranks > 1 and not dist.is_initialized():
        store, _, _ = next(dist.rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"  # what is on the CPU waits for no GPU
        meeting = dist.PrefixStore(group, store)
        dist.init_process_group(backend, store=meeting, rank=rank, world_size=ranks, timeout=PATIENCE)
    note = (
        f"{device} ({why_device}), {str(dtype).removeprefix('torch.')} ({why_dtype}), "
        f"compile {'on' if compiles else 'off'} ({why_compile}), attention {attention} ({why_attention})"
    )
    return Runtime(rank, ranks, device, dtype, compiles, attention, f"{note}, {ranks} rank{'s' * (ranks > 1)}")


def choose_device(asked: str, section: str, local_rank: int) -> tuple[torch.device, str]:
    """local_rank: which of this machine's ranks; each has a GPU of its own."""
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu"), "asked for" if asked == "cpu" else "auto: no GPU"
    if not torch.cuda.is_available():
        raise Unavailable(
            f"{section}.device: cuda was asked for and torch sees no GPU; on the CPU: cp profiles/laptop.yaml "
            f"params.yaml, or device: auto, dtype: auto and ranks: 1 in every stage (a model of the record's size "
            f"takes days there)"
        )
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise Unavailable(
            f"{section}.ranks: {local_rank + 1} or more on a machine with {found} GPU{'s' * (found > 1)}, and each "
            f"needs its own; set {section}.ranks to {found} or fewer, or spread them over machines (docs/machines.md)"
        )
    return torch.device("cuda", local_rank), "asked for" if asked == "cuda" else "auto: a GPU is here"


def choose_dtype(asked: str, device: torch.device) -> tuple[torch.dtype, str]:
    if asked != "auto":
        return getattr(torch, asked), "asked for"
    if device.type == "cuda":
        return torch.bfloat16, "auto: GPU"
    fast = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    if fast:
        return torch.bfloat16, "auto: this CPU multiplies bf16 tiles"
    return torch.float32, "auto: bf16 is slow on this CPU"


def choose_compile(asked: str, section: str, device: torch.device, attention: str = "auto") -> tuple[bool, str]:
    """flash-attn 2's own calls can't be traced (flash-attention #1435); 3 and 4 are called by torch, and it can."""
    if asked == "off":
        return False, "asked for"
    if attention == "flash2":
        if asked == "on":
            raise Unavailable(
                f"{section}.compile: on, and {section}.attention: {attention} can't be compiled; set compile to off, "
                f"or attention to sdpa"
            )
        return False, f"auto: {attention} can't be compiled"
    lacking = compiler_missing(device)
    if lacking is None:
        return True, "asked for" if asked == "on" else "auto: a compiler is here"
    if asked == "on":
        raise Unavailable(f"{section}.compile: on needs {lacking}; install it, or set {section}.compile to auto or off")
    return False, f"auto: needs {lacking}"


def compiler_missing(device: torch.device) -> str | None:
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


def choose_attention(
    asked: str, section: str, device: torch.device, dtype: torch.dtype, compiles: bool = False
) -> tuple[str, str]:
    if asked != "auto":
        problem = backend_missing(asked, device, dtype)
        if problem:
            raise Unavailable(f"{section}.attention: {asked} {problem}, or set it to auto or sdpa")
        return asked, "asked for"
    if compiles:  # flash4 and flash3 compile too, but nobody has measured them against these here
        return "sdpa", "auto: torch's own kernels, compiled"
    for name in FLASH:
        if backend_missing(name, device, dtype) is None:
            return name, "auto: installed"
    return "sdpa", "auto: no flash-attn" if device.type == "cuda" else "auto: CPU"


def backend_missing(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why an attention backend can't be used here, and the cure; None when it can."""
    if name == "sdpa":
        return None
    if device.type != "cuda" or dtype != torch.bfloat16:
        runs = f"{device.type} in {str(dtype).removeprefix('torch.')}"
        return f"needs a GPU and bfloat16, and this stage runs on {runs}; set its device and dtype so"
    lacking = library_missing(name)
    if lacking:
        return f"{lacking}; {CURES[name]}"
    major = torch.cuda.get_device_capability(device)[0]
    if major not in ARCHITECTURES[name]:
        runs = ", ".join(map(str, ARCHITECTURES[name]))
        return f"runs on compute capability {runs}, and {device} has {major}; name another"
    return None


def library_missing(name: str) -> str | None:
    """What is wrong with the installed flash-attn packages for a backend; None when nothing.

    Versions are those of the installed packages, as their modules can't tell: flash-attn 2 carries a copy of parts of
    4, and 4 alone makes ``import flash_attn`` work.
    """
    names, least = LIBRARIES[name]
    needed = f"needs {names[0]} {'.'.join(map(str, least))} or a later {least[0]}.x"
    found = {package: version for names, _ in LIBRARIES.values() for package in names if (version := release(package))}
    have = next((found[package] for package in names if package in found), None)
    if have is None or not least <= numbers(have) < (least[0] + 1,):
        installed = ", ".join(f"{package} {version}" for package, version in found.items()) or "no flash-attn"
        return f"{needed}, and {installed} is installed"
    try:
        importlib.import_module(FLASH[name]).flash_attn_func  # noqa: B018
    except (ImportError, AttributeError, OSError) as error:
        return f"can't be imported from {names[0]} {have} ({error})"
    return None


def release(package: str) -> str | None:
    """The installed version of a package; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """(2, 8, 3) of "2.8.3.post1"."""
    return tuple(map(int, re.match(r"[\d.]*", version)[0].strip(".").split(".")))
