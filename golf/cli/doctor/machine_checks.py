"""Checks of ``golf doctor`` that try the machine: cores, GPU, attention, compiler, precision, fence."""

import shutil
import sys
import time

from golf.cli.doctor.finding import NOTE, OK, PROBLEM, MachineFinding, list_execution_sections, split_message
from golf.config.loader import Config
from golf.errors import GolfError, UnavailableError
from golf.pipeline import cpu_load
from golf.pipeline.progress import format_count

__all__ = ["check_attention", "check_compiler", "check_cores", "check_dtype", "check_fence", "check_gpu"]

_CPU_INTERVAL_S = 0.5  # between two readings of the cores' times
_FENCE_HINT = (
    "the verdict's checks that need the fence stay NOT-RUN; use Linux 5.13 or newer with Landlock, and in a container "
    "--security-opt seccomp=unconfined"
)


def check_cores(cfg: Config | None) -> MachineFinding:
    """Check how many cores there are, and how many of them other processes use now."""
    n_cores = cpu_load.count_cores()
    cores = format_count(n_cores, "core")
    before = cpu_load.read_cpu_times()
    time.sleep(_CPU_INTERVAL_S)
    after = cpu_load.read_cpu_times()
    if before is None or after is None:
        return MachineFinding("cores", OK, f"{cores}; how busy they are is NOT-RUN, because this system does not tell")
    n_used = before.count_cores_used_by_others(after)
    state = f"{cores}, {n_used:.1f} used by other processes"
    if n_used < cpu_load.get_busy_threshold():
        return MachineFinding("cores", OK, state)
    return MachineFinding(
        "cores", NOTE, state, "end them before a run with a time limit: it makes fewer steps on a busy machine"
    )


def check_gpu(cfg: Config | None) -> MachineFinding:
    """Check the GPUs that torch sees; it is a problem where params.yaml asks for one that is missing."""
    import torch

    from golf.distributed import device, launcher

    for name, section in list_execution_sections(cfg).items():
        try:
            n_ranks = launcher.get_local_world_size(name, getattr(section, "ranks", 1))
            device.resolve_device(section.device, name, max(0, n_ranks - 1) if section.device == "cuda" else 0)
        except GolfError as error:
            return MachineFinding("gpu", PROBLEM, *split_message(error))
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{gpu.name} ({gpu.total_memory / 1e9:.0f} GB, {gpu.major}.{gpu.minor})" for gpu in gpus)
        return MachineFinding("gpu", OK, f"{names}; CUDA {torch.version.cuda}")
    if shutil.which("nvidia-smi"):
        hint = "install a torch build for the driver's CUDA version: https://pytorch.org/get-started/locally"
        return MachineFinding(
            "gpu", NOTE, f"none that torch {torch.__version__} sees, though nvidia-smi is installed", hint
        )
    return MachineFinding("gpu", OK, "none; every stage runs on the CPU")


def check_attention(cfg: Config | None) -> MachineFinding:
    """Check the device's attention backends; it is a problem where params.yaml names one that can't run."""
    from golf.distributed import device
    from golf.model import attention_backends

    for name, section in list_execution_sections(cfg).items():
        if section.attention not in ("auto", "sdpa"):
            where, _ = device.resolve_device("auto" if section.device == "cuda" else section.device, name, 0)
            dtype, _ = device.resolve_dtype(section.dtype, where)
            try:
                attention_backends.resolve_attention(section.attention, name, where, dtype, False)
            except UnavailableError as error:
                return MachineFinding("attention", PROBLEM, *split_message(error))
    where, _ = device.resolve_device("auto", "train", 0)
    dtype, _ = device.resolve_dtype("auto", where)
    if where.type == "cpu":
        return MachineFinding("attention", OK, "sdpa, torch's own kernels; flash-attn needs a GPU")
    reasons = {
        name: attention_backends.explain_unavailable_backend(name, where, dtype) for name in attention_backends.MODULES
    }
    usable = [name for name, reason in reasons.items() if reason is None]
    state = ", ".join(["sdpa", *usable, *(f"no {name} ({reason})" for name, reason in reasons.items() if reason)])
    return MachineFinding("attention", OK, state)


def check_compiler(cfg: Config | None) -> MachineFinding:
    """Compile a small function and its gradient, as ``compile: auto`` does before a stage."""
    from golf.distributed import device

    where, _ = device.resolve_device("auto", "train", 0)
    works, reason = device.resolve_compile("auto", "train", where)
    state = f"torch.compile on {where.type}: {reason.removeprefix('auto: ')}"
    if works:
        return MachineFinding("compiler", OK, state)
    compiled = [f"{name}.compile" for name, section in list_execution_sections(cfg).items() if section.compile == "on"]
    install = "xcode-select --install" if sys.platform == "darwin" else "apt install g++ python3-dev, or the like"
    if compiled:
        return MachineFinding("compiler", PROBLEM, state, f"{install}; or set {', '.join(compiled)} to auto")
    return MachineFinding("compiler", NOTE, state, f"{install}; training is slower without it")


def check_dtype(cfg: Config | None) -> MachineFinding:
    """Check which precision ``dtype: auto`` chooses here, measured on a CPU."""
    from golf.distributed import device

    where, _ = device.resolve_device("auto", "train", 0)
    dtype, reason = device.resolve_dtype("auto", where)
    return MachineFinding("dtype", OK, f"{str(dtype).removeprefix('torch.')} ({reason.removeprefix('auto: ')})")


def check_fence(cfg: Config | None) -> MachineFinding:
    """Raise the fence around a predictor's process, in a process of their own."""
    if sys.platform == "win32":
        return MachineFinding("fence", NOTE, "no Landlock and no seccomp on Windows", _FENCE_HINT)
    from golf.evaluation.fence import availability

    record = availability.find_restrictions()
    restrictions = ", ".join(record.restrictions) or "no restriction"
    if record.missing:
        return MachineFinding("fence", NOTE, f"{restrictions}; {', '.join(record.missing)}", _FENCE_HINT)
    return MachineFinding("fence", OK, restrictions)
