"""Run a pipeline stage: take its lock, validate params.yaml, launch ranks, block reads of val, turn errors into one
message, write run.json.
"""

import atexit
import contextlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from golf.distributed.launcher import (
    ERROR_DIR_ENV,
    get_local_world_size,
    is_main_process,
    launch_ranks,
    log,
    report_fatal,
    validate_probe_seed,
)
from golf.errors import GolfError, PredictorError
from golf.pipeline import (
    cpu_load,
    lock,
    os_errors,
    read_guard,
    run_record,
    signals,
    text_streams,
    timing,
)

if TYPE_CHECKING:
    from golf.config.execution import ExecutionConfig
    from golf.distributed.context import DistContext
    from golf.distributed.device import AttentionResolver

__all__ = ["StageMain", "run_stage"]

StageMain = Callable[..., Any]  # main(ctx) or main(); returns None or the DistContext it ran in; see run_stage
_VAL_DIR = "artifacts/fetch/val"


def run_stage(
    stage: str,
    main: StageMain,
    *,
    resolve_attention: "AttentionResolver | None" = None,
    model_in_subprocess: bool = False,
    stale_outputs: tuple[str, ...] = (),
) -> None:
    """Run ``main`` as a stage; exit with 1 after one error message, with 128 + the signal's number after a signal.

    ``main`` takes a DistContext if the stage's section of params.yaml is an ExecutionConfig, else no argument. If the
    section has ranks > 1 and torchrun has not started them, they are started here. A second process of the same stage
    in the same folder is refused.

    resolve_attention: ``attention_backends.resolve_attention``, for a stage whose ``main`` takes a DistContext.
    model_in_subprocess: ``main`` runs the model in processes of its own; it takes no argument and returns their
    DistContext.
    stale_outputs: paths whose old content could be mistaken for this run's if it fails; they are removed first, as DVC
    removes a stage's outputs, but not for settings that the stage would refuse.
    """
    text_streams.accept_all_text()
    signals.install_handlers()
    signals.exit_with_parent()
    try:
        with lock.hold_file_lock(Path("runs") / stage / "lock") if _owns_stage() else contextlib.nullcontext():
            section = _load_section(stage)
            if is_main_process():
                partial_files = Path("artifacts", stage).rglob("*.partial")  # left by a killed process
                _remove_paths([*stale_outputs, *partial_files])
            _run(stage, section, main, resolve_attention, model_in_subprocess)
    except lock.AlreadyRunningError as error:  # this process has changed nothing, so there is nothing to restore
        _exit_with_error(stage, str(error), 1, show_hint=False)
    except PredictorError as error:  # in a rank, possibly a consequence of another rank's predictor having ended
        _exit_with_error(stage, str(error), 1, priority=1)
    except GolfError as error:
        _exit_with_error(stage, str(error), 1)
    except KeyboardInterrupt:
        _exit_with_error(stage, "interrupted", 130, priority=2)
    except Exception as error:
        if isinstance(error, OSError):
            _exit_with_error(stage, f"{os_errors.describe_os_error(error)}, then run again", 1)
        if any(cls.__name__ == "BackendCompilerFailed" for cls in type(error).__mro__):
            _exit_with_error(stage, _describe_compile_error(stage, error), 1)
        if isinstance(error, UnicodeEncodeError):
            _exit_with_error(stage, text_streams.describe_encode_error(error), 1)
        if ERROR_DIR_ENV not in os.environ:
            raise
        signals.shield_exit()
        report_fatal(1, traceback.format_exc())
        sys.exit(1)


def _describe_compile_error(stage: str, error: Exception) -> str:
    """The error of a compiler that compiled the test function: too little memory, a full disk, an unsupported graph."""
    from golf.distributed import machine_probe

    reason = machine_probe.summarize_compile_error(error)
    return f"{stage}.compile: the compiler works, but not on the model: {reason}; set {stage}.compile to off"


def _owns_stage() -> bool:
    """Whether this process stands for the whole stage: the first rank, and not started by a launcher of ours."""
    return ERROR_DIR_ENV not in os.environ and is_main_process()


def _load_section(stage: str) -> Any:
    """The stage's section of params.yaml. Raises GolfError for settings that the stage would refuse."""
    from golf.config import loader, renamed_keys
    from golf.pipeline import predictor_file

    renamed_keys.refuse_renamed_env_vars()
    validate_probe_seed()
    cfg = loader.load_config()
    if stage == "evaluate":
        predictor_file.require_predictor(cfg.evaluate.predictor)
    return getattr(cfg, stage)


def _run(
    stage: str, section: Any, main: StageMain, resolve_attention: "AttentionResolver | None", model_in_subprocess: bool
) -> None:
    from golf.artifacts import lineage
    from golf.config import execution
    from golf.distributed import consistency

    world_size = getattr(section, "ranks", 1)
    if world_size > 1 and "RANK" not in os.environ:
        from golf.distributed import device

        local_ranks = get_local_world_size(stage, world_size)
        device.resolve_device(section.device, stage, local_ranks - 1)  # one error here instead of one for each rank
        sys.exit(launch_ranks(stage, world_size, timing.get_process_start_time()))
    if not read_guard.may_read_val(stage, section):
        read_guard.block_reads_below(stage, _VAL_DIR)
    lineage.hash_sources(stage)  # hash the code as it was loaded; it may be edited while the stage runs
    consistency.check_same_setup(stage)
    with cpu_load.CpuLoadMonitor(stage, quiet=not is_main_process()) as load:
        if isinstance(section, execution.ExecutionConfig) and not model_in_subprocess:
            assert resolve_attention is not None, "a stage that runs a model passes resolve_attention"
            ctx = _run_with_context(stage, main, section, resolve_attention)
        else:
            _check_world_size(stage, int(os.environ.get("WORLD_SIZE", 1)), world_size)
            ctx = main()
        if ctx is None or ctx.is_main:
            run_record.write_run_json(stage, ctx, load.summary())


def _remove_paths(paths: Iterable[Path | str]) -> None:
    """Remove files and folders where they exist. A symbolic link is removed; its target stays."""
    for path in map(Path, paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _run_with_context(
    stage: str, main: StageMain, section: "ExecutionConfig", resolve_attention: "AttentionResolver"
) -> "DistContext":
    import torch.distributed as dist

    from golf.distributed import device

    ctx = device.init_context(section, stage, resolve_attention)
    if ctx.world_size > 1:
        atexit.register(dist.destroy_process_group)  # last, because it makes the other ranks fail
    _check_world_size(stage, ctx.world_size, getattr(section, "ranks", 1))
    if ctx.is_main:
        log(f"{stage:<9} {ctx.description}")
    return main(ctx) or ctx


def _check_world_size(stage: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise GolfError(
            f"{stage}.ranks: params.yaml says {expected}, but torchrun started {actual}; use the same number for both"
        )


def _exit_with_error(
    stage: str, message: str, exit_code: int, *, show_hint: bool = True, priority: int = 0
) -> NoReturn:
    """Print one message, and how to get the last good artifacts back; then exit. priority: see report_fatal."""
    hint = (
        f"\nA stage's last outputs are removed before it runs. Restore those that DVC's cache has with: dvc checkout "
        f"{stage}, and the committed figures with: git checkout artifacts/{stage}; once the error is fixed, dvc repro "
        f"makes them or takes them from the cache"
    )
    text = f"\n{stage}: {message}{hint if show_hint else ''}"
    if ERROR_DIR_ENV in os.environ:
        signals.shield_exit()
        report_fatal(priority, text)
    elif is_main_process() or exit_code == 1:
        log(text)
    sys.exit(exit_code)
