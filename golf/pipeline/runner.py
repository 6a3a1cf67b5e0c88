"""How a stage is entered and left: alone at its work, params checked first, ranks launched, val behind a door, errors
in one message, run.json at the end.
"""

import atexit
import contextlib
import errno
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path

from golf.distributed import nodes
from golf.distributed.launcher import (
    ERROR_DIR_ENV,
    PROBE_SEED_ENV,
    is_main_process,
    launch_ranks,
    log,
    report_fatal,
    validate_probe_seed,
)
from golf.errors import GolfError, PredictorError
from golf.pipeline import lock, signals

__all__ = ["PROBE_SEED_ENV", "run_stage", "log", "process_start_time", "write_timing_json"]
RECORDED_PACKAGES = (  # what pyproject.toml pins, and what may stand in for it; tests and lint aside
    "torch",
    "triton",
    "numpy",
    "sentencepiece",
    "brotli",
    "constriction",
    "safetensors",
    "ruamel.yaml",
    "dvc",
    "psutil",
    "zstandard",
    "scipy",
    "flash-attn-4",
    "flash-attn",
    "huggingface-hub",
)
_VAL_DIR = "artifacts/fetch/val"
_RUN_OUTPUTS = ("artifacts", "dvc.lock")  # what a run changes among the files that Git tracks


def run_stage(stage: str, main, *, model_in_subprocess: bool = False, stale_outputs: tuple[str, ...] = ()) -> None:
    """Run ``main`` as stage ``name`` and exit: 0, or 1 after one message, or 128 and the signal's number.

    main takes a Runtime where the stage's section says how to execute, else nothing. A section with ranks > 1 that was
    not started by torchrun starts its ranks itself. apart: the model runs in processes that main starts; it takes
    nothing and returns their Runtime. outs: what an earlier run wrote that could be taken for this one's if it fails;
    removed before anything else, as DVC removes them. A second process of a stage in one folder is refused.
    """
    signals.install_handlers()
    signals.exit_with_parent()
    try:
        with lock.file_lock(Path("runs") / stage / "lock", stage) if _owns_stage() else contextlib.nullcontext():
            if is_main_process():
                _remove_paths(
                    [*stale_outputs, *Path("artifacts", stage).rglob("*.partial")]
                )  # of a process that was killed
            _run(stage, main, model_in_subprocess)
    except lock.AlreadyRunningError as error:  # it has changed nothing
        _exit_with_error(stage, str(error), 1, show_hint=False)
    except PredictorError as error:  # in a rank, maybe because another's method is gone
        _exit_with_error(stage, str(error), 1, priority=1)
    except GolfError as error:
        _exit_with_error(stage, str(error), 1)
    except KeyboardInterrupt:
        _exit_with_error(stage, "interrupted", 130, priority=2)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            location = error.filename or "while writing"
            _exit_with_error(stage, f"no space left on the disk ({location}); free some, then run again", 1)
        if ERROR_DIR_ENV not in os.environ:
            raise
        signals.shield_exit()
        report_fatal(1, traceback.format_exc())
        sys.exit(1)


def _owns_stage() -> bool:
    """Whether this process answers for the whole stage: no launcher of ours is above it, and it is the first rank."""
    return ERROR_DIR_ENV not in os.environ and is_main_process()


def _run(stage: str, main, model_in_subprocess: bool) -> None:
    from golf.artifacts import lineage
    from golf.config import loader, sections
    from golf.distributed import consistency

    validate_probe_seed()
    section = getattr(loader.load_config(), stage)
    world_size = getattr(section, "ranks", 1)
    if world_size > 1 and "RANK" not in os.environ:
        from golf.distributed import device

        ctx = nodes.local_world_size(stage, world_size)
        device.resolve_device(section.device, stage, ctx - 1)  # refused once, and not by every rank
        sys.exit(launch_ranks(stage, world_size, process_start_time()))
    if not may_read_val(stage, section):
        block_reads_below(stage, _VAL_DIR)
    lineage.source_hashes(stage)  # now, as it was loaded, and not as somebody has edited it by the time of writing
    consistency.check_same_setup(stage)
    if isinstance(section, sections.ExecutionConfig) and not model_in_subprocess:
        _run_with_context(stage, main, section)
    else:
        _check_world_size(stage, int(os.environ.get("WORLD_SIZE", 1)), world_size)
        ctx = main()
        if ctx is None or ctx.is_main:
            write_run_json(stage, process_start_time(), ctx)


def _remove_paths(paths) -> None:
    """Files and folders that may be there; a link is removed, what it leads to is not."""
    for path in map(Path, paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def may_read_val(stage: str, section) -> bool:
    """fetch makes it, evaluate is what it is for, and ttt may ask for it: lineage then carries val to the verdict."""
    return stage in ("fetch", "evaluate") or getattr(section, "stream", None) == "val"


def block_reads_below(stage: str, directory: str) -> None:
    """From here on this process can't open a file below ``folder``: GolfError, naming stage and file (C1-e).

    An audit hook on Python's own opens, and it can't be taken off again. It stops mistakes, such as a wrong default,
    by which val reached training in the contest (#2127); it is no sandbox against native code.
    """
    blocked_prefix = os.path.abspath(directory) + os.sep
    blocked_name = os.path.basename(directory)

    def audit_hook(event: str, event_args: tuple) -> None:
        if event != "open" or not isinstance(event_args[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(event_args[0])
        if blocked_name in path and os.path.abspath(path).startswith(blocked_prefix):
            raise GolfError(
                f"{stage} may not open {path}: {blocked_name} is for evaluate alone (C1); read train or dev"
            )

    sys.addaudithook(audit_hook)


def _run_with_context(stage: str, main, section) -> None:
    import torch.distributed as dist

    from golf.distributed import device

    started_at = process_start_time()
    ctx = device.init_context(section, stage)
    if ctx.world_size > 1:
        atexit.register(dist.destroy_process_group)  # after its last words: the other ranks fall over when it parts
    _check_world_size(stage, ctx.world_size, getattr(section, "ranks", 1))
    if ctx.is_main:
        log(f"{stage:<9} {ctx.description}")
    main(ctx)
    if ctx.is_main:
        write_run_json(stage, started_at, ctx)


def _check_world_size(stage: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise GolfError(f"{stage}.ranks: params say {expected}, torchrun started {actual}; make them equal")


def _exit_with_error(stage: str, message: str, exit_code: int, *, show_hint: bool = True, priority: int = 0) -> None:
    """One message on stderr, how to get the last good artifact back, and the exit code. order: for ``say_last``."""
    hint = (
        f"\nDVC clears a stage's outputs before it runs; the last good ones come back with: dvc checkout {stage} "
        f"(or, once the mistake is mended, with their figures from the cache: dvc repro)"
    )
    text = f"\n{stage}: {message}{hint if show_hint else ''}"
    if ERROR_DIR_ENV in os.environ:
        signals.shield_exit()
        report_fatal(priority, text)
    elif is_main_process() or exit_code == 1:
        log(text)
    sys.exit(exit_code)


def process_start_time() -> float:
    """Seconds since the epoch at which this command's first process started: imports and launch count."""
    import psutil

    return float(os.environ.get("GOLF_STARTED", psutil.Process().create_time()))


def write_run_json(stage: str, started_at: float, ctx) -> None:
    """artifacts/<name>/run.json: seconds, hardware, versions, commit. No stage depends on it."""
    from golf.artifacts import io

    record = {
        "stage": stage,
        "seconds": round(time.time() - started_at, 3),
        "host": {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "hardware": describe_hardware(ctx),
        "packages": {package: version for package in RECORDED_PACKAGES if (version := _installed_version(package))},
        "git": git_revision(),
    }
    if ctx is not None:
        import torch

        record["runtime"] = ctx.description
        if ctx.device.type == "cuda":
            record["host"]["peak_bytes"] = torch.cuda.max_memory_allocated(ctx.device)
            record["cuda"] = read_cuda_versions()
    io.write_json(Path("artifacts") / stage / "run.json", record)


def describe_hardware(ctx) -> str:
    """What the work ran on, as ``8 × NVIDIA H100 80GB HBM3`` or ``2 × CPU core (x86_64)``. here: a Runtime, or None."""
    if ctx is not None and ctx.device.type == "cuda":
        import torch

        return f"{ctx.world_size} × {torch.cuda.get_device_name(ctx.device)}"
    return f"{os.cpu_count()} × CPU core ({platform.machine()})"


def read_cuda_versions() -> dict[str, str | int | None]:
    """CUDA as torch was built for it, cuDNN, and the driver of this machine (None: not to be had)."""
    import torch

    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        lines = []
    return {
        "runtime": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": lines[0].strip() if lines else None,
    }


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> dict | None:
    """The commit and whether tracked files differ from it; None outside a git checkout.

    artifacts/ and dvc.lock don't count: a run changes them itself, and lineage pins what it read there.
    """
    command = ["git", "status", "--porcelain", "-uno", "--", ":/", *(f":(exclude){path}" for path in _RUN_OUTPUTS)]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status_output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return {"commit": head, "dirty": bool(status_output.strip())}


def write_timing_json(stage: str, ctx=None, **seconds: float | None) -> None:
    """artifacts/<name>/clock.json: seconds that count against a limit, read by evaluate alone, and what they were
    measured on. here: the Runtime that spent them; None where none were spent.
    """
    from golf.artifacts import io

    timings = {key: value if value is None else round(value, 3) for key, value in seconds.items()}
    hardware = {} if ctx is None else {"hardware": describe_hardware(ctx)}
    io.write_json(Path("artifacts") / stage / "clock.json", timings | hardware)
