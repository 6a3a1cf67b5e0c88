"""Identify the libraries, CPU and threads that floating-point results depend on.

A decoder whose arithmetic differs in one bit may read other tokens. So an encoded text names these, and a decoder that
is not the same refuses it at once, where the checksums inside would refuse it later.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from golf.distributed.packages import get_installed_version

__all__ = ["compute_short_hash", "describe_cpu", "get_torch_version", "hash_cpu", "hash_libraries", "use_threads"]

_HASH_BYTES = 4
_LIBRARIES = ("numpy", "constriction", "sentencepiece", "brotli")
_VARIABLES = ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")  # choose other kernels
_ARITHMETIC_FLAGS = re.compile(r"sse|ssse|avx|fma|f16c|amx|asimd|sve|bf16|i8mm|neon")
_CPUINFO_KEYS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")


def compute_short_hash(text: str) -> bytes:
    """Return the first 4 bytes of the sha256: enough to tell settings apart, as a text's digest has the last word."""
    return hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]


def get_torch_version() -> tuple[int, int, int]:
    """Return major, minor and patch version, each below 256."""
    numbers = [min(int(number), 255) for number in re.findall(r"\d+", torch.__version__)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def hash_libraries() -> bytes:
    """Return the hash of torch's build and of the versions of the other libraries whose results matter."""
    versions = [f"{name} {get_installed_version(name)}" for name in _LIBRARIES]
    build = [line for line in str(torch.__config__.show()).splitlines() if "CPU capability" not in line]
    return compute_short_hash("\n".join([str(torch.__version__), *build, *versions]))


def hash_cpu() -> bytes:
    """Return the hash of the CPU's model, of the instructions on offer, and of the settings that choose kernels."""
    numpy_simd = str(np.show_config(mode="dicts").get("SIMD Extensions"))
    facts = [platform.machine(), str(torch.backends.cpu.get_cpu_capability()), numpy_simd, *_read_cpuinfo().values()]
    return compute_short_hash("\n".join([*facts, *(f"{name}={os.environ.get(name, '')}" for name in _VARIABLES)]))


def describe_cpu() -> str:
    """Describe this machine's CPU in a few words, for a message."""
    facts = _read_cpuinfo()
    model = " ".join(f"{key} {facts[key]}" for key in ("vendor_id", "cpu family", "model") if key in facts)
    return f"{platform.machine()} {model or platform.processor()} {torch.backends.cpu.get_cpu_capability()}"


@functools.cache
def _read_cpuinfo() -> dict[str, str]:
    """The keys that decide about arithmetic, of the first core; empty where there is no /proc/cpuinfo."""
    try:
        first_core = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first_core.splitlines())
    facts = {key.strip(): value.strip() for key, _, value in pairs if key.strip() in _CPUINFO_KEYS}
    for key in ("flags", "Features"):
        if key in facts:
            facts[key] = " ".join(sorted(flag for flag in facts[key].split() if _ARITHMETIC_FLAGS.match(flag)))
    return facts


@contextlib.contextmanager
def use_threads(n_threads: int) -> Iterator[None]:
    """Let torch use so many threads within the block."""
    previous = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
