"""Resume an interrupted training run: repeating the same command continues from the newest saved state, bit for bit.

The state of an unfinished run lies in ``runs/train/<key>/``, outside the artifacts, and is removed once the run's
outputs are written. ``golf.training.state_writer`` describes its files. With several ranks, all must see the folder.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from golf.artifacts import io, json_records
from golf.config.training import TrainConfig
from golf.data.loader import TokenLoader
from golf.distributed import device
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, UnavailableError
from golf.model.gpt import GPT
from golf.pipeline import lock
from golf.pipeline.progress import log_line
from golf.training.optimizer import MuonAdamW
from golf.training.result import TrainResult
from golf.training.state_writer import FILE_KIND, StateWriter, get_snapshot_path, state_dir, strip_prefix

__all__ = ["ResumableRun", "make_run_key", "open_run", "strip_resume_settings"]


def make_run_key(lineage: dict[str, Any], dev_sha256: str) -> str:
    """Return the name of a run. Two runs with the same key compute the same, so one may resume the other's state.

    ``lineage`` is that of training with the parameters of ``strip_resume_settings``. Dev changes only the log.
    """
    return io.sha256_json([lineage["digest"], dev_sha256])[:16]


def strip_resume_settings(cfg: TrainConfig) -> TrainConfig:
    """Return the parameters with fixed resume settings, because those don't change the result of a run."""
    return dataclasses.replace(cfg, resume=True, resume_save_s=1.0)


@contextlib.contextmanager
def open_run(key: str, cfg: TrainConfig, ctx: DistContext) -> Iterator["ResumableRun"]:
    """Open the run of this key, locked for this process and its ranks. ``train.resume: false`` discards its state.

    Raises AlreadyRunningError, naming the process, when another one works on it.
    """
    folder = lock.get_resume_dir("train") / key
    with contextlib.ExitStack() as stack:
        if ctx.is_main:
            stack.enter_context(lock.hold_file_lock(folder.with_suffix(".lock")))
            _remove_leftovers(folder, cfg.resume)
        ctx.all_reduce_max(0.0)  # no rank reads before rank 0 has removed the leftovers
        yield ResumableRun(folder, ctx, cfg.resume_save_s)


def _remove_leftovers(folder: Path, resume: bool) -> None:
    """Remove half-removed runs and half-written states, and the run itself unless it is to be resumed."""
    io.remove_dirs(folder.with_suffix(".discarded"), *([] if resume else [folder]))
    io.remove_dirs(*(path.parent for path in folder.glob("step_*/*") if not (path.parent / "complete.json").is_file()))
    for path in folder.rglob("*.partial"):
        path.unlink()


@dataclasses.dataclass(frozen=True)
class _SavedState:
    """A state as read from disk."""

    path: Path
    metadata: dict[str, Any]
    common_tensors: dict[str, torch.Tensor]
    rank_tensors: dict[str, torch.Tensor]  # this rank's own
    snapshots: dict[int, dict[str, torch.Tensor]]  # by step; on rank 0 only


class ResumableRun:
    """A run's folder and the newest state in it.

    Attributes: ``step`` and ``used_s``, the steps made and seconds used so far; ``position``, where a TokenLoader must
    start; all 0 in a new run. ``ctx`` is the context to train in: the one given, in the precision in which the run
    started. ``checkpoint_dir`` is where checkpoints are to be written.
    """

    def __init__(self, folder: Path, ctx: DistContext, save_every_s: float) -> None:
        self._folder, self._ctx, self._save_every_s = folder, ctx, save_every_s
        self.checkpoint_dir = folder / "checkpoints"
        self._saved = self._load_latest()
        self.ctx = self._ctx = self._keep_dtype(self._saved.metadata["dtype"]) if self._saved else ctx
        self.step: int = self._saved.metadata["step"] if self._saved else 0
        self.used_s = ctx.all_reduce_max(
            max(self._saved.metadata["seconds"], _read_used_s(folder)) if self._saved else 0.0
        )
        epoch, batch = self._saved.metadata["position"] if self._saved else (0, 0)
        self.position: tuple[int, int] = (epoch, batch)
        if ctx.is_main:
            self._prune()
        ctx.all_reduce_max(0.0)  # no rank writes before rank 0 has pruned

    def _load_latest(self) -> _SavedState | None:
        """Return the newest state that every rank can read, as rank 0 proposes them, and report those that fail."""
        steps = sorted(int(path.parent.name[5:]) for path in self._folder.glob("step_*/complete.json"))
        while (step := self._ctx.all_reduce_max(steps.pop() if steps and self._ctx.is_main else -1)) >= 0:
            path, saved, problem = state_dir(self._folder, int(step)), None, None
            try:
                saved = _read_state(path, self._ctx)
            except ArtifactError as error:
                problem = error
            if not self._ctx.all_reduce_max(float(problem is not None)):
                return saved
            self._log(f"skipping a saved state: {problem or f'{path}: another rank can not read it'}")
        return None

    def _keep_dtype(self, saved_name: str) -> DistContext:
        """Return the context in the precision of the saved state, whatever ``auto`` has chosen this time.

        Raises UnavailableError when the attention backend can't compute in it.
        """
        saved_dtype = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16)}[saved_name]
        if saved_dtype == self._ctx.dtype:
            return self._ctx
        started, chosen = (name.removeprefix("torch.") for name in (saved_name, str(self._ctx.dtype)))
        if self._ctx.attention != "sdpa" and saved_dtype != torch.bfloat16:
            raise UnavailableError(
                f"train.attention: {self._ctx.attention} needs bfloat16, but the interrupted run started in {started} "
                f"and can only continue in it; continue it where it started, or set train.resume to false"
            )
        self._log(f"continuing in {started}, in which this run started; train.dtype: auto chooses {chosen} here")
        return device.with_dtype(self._ctx, saved_dtype, "the interrupted run started so")

    def _prune(self) -> None:
        """Remove unreadable states and everything written after the state that the run resumes from."""
        snapshots = {
            get_snapshot_path(self._folder, step) for step in (self._saved.metadata["snapshots"] if self._saved else ())
        }
        io.remove_dirs(*(path for path in self._folder.glob("step_*") if not self._saved or path != self._saved.path))
        stale = [path for path in self._folder.glob("snapshots/step_*") if path not in snapshots]
        stale += [path for path in self.checkpoint_dir.glob("step_*") if int(path.stem[5:]) > self.step]
        for path in stale:
            path.unlink()

    def restore(self, model: GPT, optimizer: MuonAdamW, result: TrainResult, batches: TokenLoader) -> StateWriter:
        """Load the saved state, if any, into these objects, and return the writer that saves their state from now on.

        ``batches`` must have been created at ``position``. The saved state is freed, so this can be called once.
        """
        if self._saved is not None:
            _restore_state(self._saved, model, optimizer, result, self._ctx)
            self._log(f"resuming from step {self.step} of {self._folder}, {self.used_s:.1f} seconds used")
            self._saved = None
        return StateWriter(self._folder, self._ctx, self._save_every_s, self.used_s, model, optimizer, result, batches)

    def export_checkpoints(self, folder: str | Path) -> None:
        """Copy the checkpoints into ``folder``, which exists afterwards even if there are none."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in self.checkpoint_dir.glob("*"):
            with io.atomic_write(Path(folder) / path.name) as partial:
                shutil.copyfile(path, partial)

    def discard(self) -> None:
        """Remove the run's folder, once its outputs are written.

        The folder is renamed first, so that a half-removed one is never mistaken for a run.
        """
        if self._ctx.is_main and self._folder.is_dir():
            io.remove_dirs(self._folder.rename(self._folder.with_suffix(".discarded")))

    def _log(self, message: str) -> None:
        log_line("train", message, quiet=not self._ctx.is_main)


def _restore_state(saved: _SavedState, model: GPT, optimizer: MuonAdamW, result: TrainResult, ctx: DistContext) -> None:
    """Load weights, optimizer, averages, snapshots, logs and random state."""
    ema = result.ema
    model.load_state_dict(strip_prefix("weights", saved.common_tensors))
    optimizer.load_state_dict(strip_prefix("optimizer", saved.rank_tensors))
    for decay, average_tensors in ema.averages.items():
        saved_average = strip_prefix(f"ema/{decay!r}", saved.common_tensors)
        for name, average in zip(ema.weights, average_tensors, strict=True):
            average.copy_(saved_average[name])
    ema.steps = saved.metadata["step"]
    for step, tensors in saved.snapshots.items():
        ema.snapshots[step] = {
            basis_decay: strip_prefix(repr(basis_decay), tensors) for basis_decay in ema.basis_decays
        }
    result.log, result.dev_log = saved.metadata["log"], saved.metadata["dev_log"]
    result.recurrent_from = saved.metadata["recurrent_from"]
    result.context_tokens, result.context_switched_at = saved.metadata["context"]
    torch.set_rng_state(saved.rank_tensors["rng"])
    if "rng_gpu" in saved.rank_tensors:
        torch.cuda.set_rng_state(saved.rank_tensors["rng_gpu"], ctx.device)


def _read_state(path: Path, ctx: DistContext) -> _SavedState:
    """Read and verify the state in a folder. Raises ArtifactError naming the file that is missing or damaged."""
    rank_tensors, rank_metadata = io.load_tensors(path / f"rank_{ctx.rank}.safetensors", kind=FILE_KIND)
    common_tensors, metadata = io.load_tensors(path / "common.safetensors", kind=FILE_KIND)
    if rank_metadata["step"] != metadata["step"] or rank_metadata["world_size"] != ctx.world_size:
        raise ArtifactError(
            path,
            f"its files are of steps {rank_metadata['step']} and {metadata['step']} and of "
            f"{rank_metadata['world_size']} ranks, expected one step and {ctx.world_size} ranks",
            "remove it; training then starts from an older state, or afresh",
        )
    steps = metadata["snapshots"] if ctx.is_main else []
    snapshots = {step: io.load_tensors(get_snapshot_path(path.parent, step), kind=FILE_KIND)[0] for step in steps}
    return _SavedState(path, metadata, common_tensors, rank_tensors, snapshots)


def _read_used_s(folder: Path) -> float:
    """Return the seconds in seconds.json; 0.0 when the run ended before its first second.

    Raises ArtifactError with a hint when the file is damaged; no stage writes it again.
    """
    path = folder / "seconds.json"
    if not path.is_file():
        return 0.0
    try:
        used_s: float = json_records.read_sealed(path, seconds=json_records.Seconds)["seconds"]
    except ArtifactError as error:
        hint = f"rm {path} to continue with the seconds of the newest saved state, or rm -r {folder} to start afresh"
        raise ArtifactError(path, error.problem, hint) from None
    return used_s
