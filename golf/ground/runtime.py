"""Which rank am I, on which device, in which precision; sums over ranks; seeds. Nothing happens at import."""

import contextlib
import importlib
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from golf.ground.errors import Unavailable

FLASH = {"flash4": "flash_attn.cute", "flash3": "flash_attn_interface", "flash2": "flash_attn"}  # best first
ARCHITECTURES = {"flash4": (9, 10, 11), "flash3": (9,), "flash2": (8, 9, 10, 11, 12)}  # CUDA majors they are built for


@dataclass(frozen=True)
class Runtime:
    """One process's view of the machine. ``note`` says what ``auto`` chose and why."""

    rank: int
    ranks: int
    device: torch.device
    dtype: torch.dtype
    compile: bool
    attention: str
    note: str = ""

    @property
    def first(self) -> bool:
        return self.rank == 0

    def autocast(self):
        """Matrix products in ``dtype``; weights stay fp32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def compiled(self, function):
        """``function`` as one full graph of static shapes, or itself where compile is off."""
        return torch.compile(function, fullgraph=True, dynamic=False) if self.compile else function

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """In place: the sum over ranks."""
        if self.ranks > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_flat(self, tensors: list[torch.Tensor]) -> None:
        """In place: each tensor's sum over ranks, by one reduction of one flat buffer."""
        if self.ranks == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, number: float) -> float:
        """The largest of the ranks' numbers, the same on every rank."""
        if self.ranks == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return shared.item()

    def finish(self) -> None:
        """Wait for the work that this process has queued on its device, so that a clock sees it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def alone(device: str = "cpu", dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> Runtime:
    """One eager process; what tests and small tools use."""
    return Runtime(0, 1, torch.device(device), dtype, False, attention)


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
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.PrefixStore(group, store), rank=rank, world_size=ranks)
    note = (
        f"{device} ({why_device}), {str(dtype).removeprefix('torch.')} ({why_dtype}), "
        f"compile {'on' if compiles else 'off'} ({why_compile}), attention {attention} ({why_attention})"
    )
    return Runtime(rank, ranks, device, dtype, compiles, attention, f"{note}, {ranks} rank{'s' * (ranks > 1)}")


def choose_device(asked: str, section: str, local_rank: int) -> tuple[torch.device, str]:
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu"), "asked for" if asked == "cpu" else "auto: no GPU"
    if not torch.cuda.is_available():
        raise Unavailable(
            f"{section}.device: cuda was asked for and torch sees no GPU; set {section}.device: auto or cpu"
        )
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise Unavailable(
            f"{section}.ranks: more ranks than GPUs ({found} here); set {section}.ranks to {found} or fewer"
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
    """flash-attn's calls can't be traced (flash-attention #2154, #1435), so a backend of it runs without compile."""
    if asked == "off":
        return False, "asked for"
    if attention in FLASH:
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
            raise Unavailable(f"{section}.attention: {asked} {problem}; set it to auto or sdpa")
        return asked, "asked for"
    if compiles:
        return "sdpa", "auto: flash-attn can't be compiled"
    for name in FLASH:
        if backend_missing(name, device, dtype) is None:
            return name, "auto: installed"
    return "sdpa", "auto: no flash-attn" if device.type == "cuda" else "auto: CPU"


def backend_missing(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why an attention backend can't be used here; None when it can."""
    if name == "sdpa":
        return None
    if device.type != "cuda" or dtype != torch.bfloat16:
        return f"needs a GPU and bfloat16, and this stage runs on {device.type} in {str(dtype).removeprefix('torch.')}"
    try:
        importlib.import_module(FLASH[name])
    except ImportError as error:
        return f"can't be imported ({error})"
    major = torch.cuda.get_device_capability(device)[0]
    if major not in ARCHITECTURES[name]:
        return f"runs on compute capability {', '.join(map(str, ARCHITECTURES[name]))}, and {device} has {major}"
    return None
