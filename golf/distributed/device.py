"""Resolve a stage's execution settings on this machine: device, precision, compiler and attention backend.

Each ``resolve_*`` function returns the choice and its reason. A named choice that the machine can't provide is refused
with the key of params.yaml that asked for it.
"""

import dataclasses
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist

from golf.distributed import machine_probe
from golf.distributed.context import DistContext
from golf.errors import UnavailableError

__all__ = [
    "COLLECTIVE_TIMEOUT",
    "AttentionResolver",
    "ExecutionSettings",
    "find_missing_compiler",
    "init_context",
    "resolve_compile",
    "resolve_device",
    "resolve_dtype",
    "with_dtype",
]

_MIN_BF16_SPEEDUP = 1.3  # of matrix products on a CPU, below which auto keeps fp32
COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # how long a rank waits for the others; one may compile more slowly
AttentionResolver = Callable[[str, str, torch.device, torch.dtype, bool], tuple[str, str]]
"""(requested, section, device, dtype, use_compile) -> (backend, reason): golf.model.attention_backends has it."""


class ExecutionSettings(Protocol):
    """The execution settings of a stage, as ``golf.config.execution.ExecutionConfig`` holds them."""

    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def compile(self) -> str: ...
    @property
    def attention(self) -> str: ...


def init_context(
    cfg: ExecutionSettings, section: str, resolve_attention: AttentionResolver, store_prefix: str = ""
) -> DistContext:
    """Resolve the settings of ``section`` and, when the environment names several ranks, join their process group.

    ``resolve_attention`` is passed in because the backends belong to the model, a layer above this one.
    ``store_prefix``, a new one each time, gives the group a store of its own, which nothing outlives; "": the
    launcher's. What ``auto`` measures on each rank, all ranks then share: bf16 and compilation where every rank chose
    them.
    Raises UnavailableError, naming the key, when a requested device, compiler or attention backend is missing.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device, device_reason = resolve_device(cfg.device, section, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dtype, dtype_reason = resolve_dtype(cfg.dtype, device)
    use_compile, compile_reason = resolve_compile(cfg.compile, section, device, cfg.attention)
    if world_size > 1:
        if not dist.is_initialized():
            _init_process_group(rank, world_size, device, store_prefix)
        all_bf16, all_compile = _all_ranks_agree(dtype == torch.bfloat16, use_compile)
        if dtype == torch.bfloat16 and not all_bf16:
            dtype, dtype_reason = torch.float32, "auto: another rank's CPU is slower in bf16"
        if use_compile and not all_compile:
            use_compile, compile_reason = False, "auto: another rank can't compile"
    attention, attention_reason = resolve_attention(cfg.attention, section, device, dtype, use_compile)
    description = (
        f"{device} ({device_reason}), {str(dtype).removeprefix('torch.')} ({dtype_reason}), "
        f"compile {'on' if use_compile else 'off'} ({compile_reason}), attention {attention} ({attention_reason}), "
        f"{world_size} rank{'s' * (world_size > 1)}"
    )
    ctx = DistContext(rank, world_size, device, dtype, use_compile, attention, description)
    return with_dtype(ctx, dtype)


def with_dtype(ctx: DistContext, dtype: torch.dtype, reason: str = "") -> DistContext:
    """Return the context in another precision, with the reason in its description; set what CUDA's products do."""
    if ctx.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = dtype == torch.bfloat16
    if dtype == ctx.dtype:
        return ctx
    description = f"{ctx.description}, changed to {str(dtype).removeprefix('torch.')} ({reason})"
    return dataclasses.replace(ctx, dtype=dtype, description=description)


def _init_process_group(rank: int, world_size: int, device: torch.device, store_prefix: str) -> None:
    store, _, _ = next(dist.rendezvous("env://"))
    if store_prefix:
        store = _open_own_store(dist.PrefixStore(store_prefix, store), rank, world_size)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"  # CPU tensors must not wait for the GPU
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT)


def _open_own_store(shared_store: dist.Store, rank: int, world_size: int) -> dist.Store:
    """Return a store that ends with rank 0's process. ``shared_store``, the launcher's, only tells where it is."""
    host = os.environ["MASTER_ADDR"]  # where rank 0 runs
    kwargs = {"timeout": COLLECTIVE_TIMEOUT, "wait_for_workers": False, "use_libuv": False}  # libuv needs io_uring
    if rank == 0:
        store = dist.TCPStore(host, 0, world_size, True, **kwargs)
        shared_store.set("port", str(store.port))
        return store
    shared_store.set_timeout(COLLECTIVE_TIMEOUT)
    return dist.TCPStore(host, int(shared_store.get("port")), world_size, False, **kwargs)


def _all_ranks_agree(*choices: bool) -> list[bool]:
    """Return, for each choice, whether every rank made it."""
    counts = torch.tensor(choices, dtype=torch.int32)
    dist.all_reduce(counts, op=dist.ReduceOp.MIN)
    return [bool(count) for count in counts.tolist()]


def resolve_device(requested: str, section: str, local_rank: int) -> tuple[torch.device, str]:
    """Return the device for "cpu", "cuda" or "auto". ``local_rank`` counts this machine's ranks, one GPU each.

    Raises UnavailableError when there is no GPU, or none left for this rank.
    """
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu"), "as requested" if requested == "cpu" else "auto: no GPU"
    if not torch.cuda.is_available():
        raise UnavailableError(
            f"{section}.device: cuda was requested, but torch sees no GPU; to run on the CPU: cp profiles/laptop.yaml "
            f"params.yaml, or set device: auto, ranks: 1 and dtype: auto (evaluate: float32) in every stage (a model "
            f"of the record's size takes days there)"
        )
    n_gpus = torch.cuda.device_count()
    if local_rank >= n_gpus:
        raise UnavailableError(
            f"{section}.ranks: {local_rank + 1} or more on a machine with {n_gpus} GPU{'s' * (n_gpus > 1)}, and each "
            f"rank needs its own; set {section}.ranks to {n_gpus} or fewer, or use several machines "
            f"(docs/distributed.md)"
        )
    return torch.device("cuda", local_rank), "as requested" if requested == "cuda" else "auto: GPU found"


def resolve_dtype(requested: str, device: torch.device) -> tuple[torch.dtype, str]:
    """Return the precision for "float32", "bfloat16" or "auto".

    auto is bf16 on a GPU, and on a CPU whose bf16 products are measured to be ``_MIN_BF16_SPEEDUP`` times as fast.
    """
    if requested != "auto":
        return getattr(torch, requested), "as requested"
    if device.type == "cuda":
        return torch.bfloat16, "auto: GPU"
    speedup = machine_probe.measure_bf16_speedup()
    reason = f"auto: bf16 products {speedup:.2g} times as fast as fp32 on this CPU"
    if speedup < _MIN_BF16_SPEEDUP:
        return torch.float32, f"{reason}, below {_MIN_BF16_SPEEDUP}"
    return torch.bfloat16, reason


def resolve_compile(requested: str, section: str, device: torch.device, attention: str = "auto") -> tuple[bool, str]:
    """Return whether to compile, for "on", "off" or "auto". on and auto try the compiler once.

    flash-attn 2's own functions can't be traced (flash-attention #1435). torch calls flash-attn 3 and 4 itself, and
    traces them. Raises UnavailableError when "on" can't be provided.
    """
    if requested == "off":
        return False, "as requested"
    if attention == "flash2":
        if requested == "on":
            raise UnavailableError(
                f"{section}.compile: on, but {section}.attention: {attention} can't be compiled; set compile to off, "
                f"or attention to sdpa"
            )
        return False, f"auto: {attention} can't be compiled"
    if missing := find_missing_compiler(device):
        problem, remedy = f"it needs {missing}", "install it"
    elif failure := machine_probe.find_compile_problem(device):
        problem, remedy = f"the compiler fails: {failure}", "repair it"
    else:
        return True, "as requested" if requested == "on" else "auto: the compiler works"
    if requested == "on":
        raise UnavailableError(
            f"{section}.compile: on, but {problem}; {remedy}, or set {section}.compile to auto or off"
        )
    return False, f"auto: {problem}"


def find_missing_compiler(device: torch.device) -> str | None:
    """Return what torch.compile lacks on this machine; None when nothing is missing.

    On a CPU Inductor calls $CXX, else g++ (macOS: clang++). On a GPU Triton calls $CC, else gcc or clang. The code that
    both compile includes Python.h.
    """
    if device.type == "cpu":
        language, names = "C++", [os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")]
    else:
        language, names = "C", [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    if not any(shutil.which(name) for name in names):
        return f"a {language} compiler ({' or '.join(names)}) on PATH"
    headers = Path(sysconfig.get_path("include"))
    if sys.platform == "darwin" or (headers / "Python.h").is_file():  # macOS keeps them in a framework
        return None
    return f"Python's headers (Python.h in {headers})"
