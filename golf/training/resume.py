"""What an unfinished training run keeps beside the artifacts, so that the same command goes on where a crash left it.

``runs/train/<key>/``, all of it gone once the run's outputs are written:
    step_<n>/        a state: common.safetensors (weights, averages; rank 0), rank_<r>.safetensors (optimisers, dice),
                     complete.json, written last; the newest complete one counts
    snapshots/       of the averages, one file a step, each written once
    checkpoints/     for the artifacts
    seconds.json     seconds of the budget that are used, written every second
With several ranks the folder must be one that all of them see.
"""

import contextlib
import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from golf.artifacts import io
from golf.config.sections import TrainConfig
from golf.distributed.context import DistContext
from golf.errors import ArtifactError
from golf.pipeline import lock
from golf.pipeline.progress import Progress
from golf.training.ema import to_cpu_async

FILE_KIND = "training state"
HEARTBEAT_INTERVAL_S = 1.0  # between two writings of seconds.json
_PEER_TIMEOUT_S = 20.0  # how long rank 0 waits for the others' files before it gives a state up


def make_run_key(lineage: dict, dev_sha256: str) -> str:
    """The name of a run: two runs of one key make the same, so that one may go on with the other's state.

    lineage: of training, with the parameters of ``neutral``; dev is watched and changes the log alone.
    """
    return io.sha256_json([lineage["digest"], dev_sha256])[:16]


def strip_resume_settings(cfg: TrainConfig) -> TrainConfig:
    """The parameters less what says how states are kept, which changes nothing in what a run makes."""
    return dataclasses.replace(cfg, resume=True, resume_save_s=1.0)


@contextlib.contextmanager
def open_run(name: str, cfg: TrainConfig, ctx: DistContext) -> Iterator["ResumableRun"]:
    """The run of this key, locked for this process and its ranks; with ``train.resume`` off, without what it left.

    Raises Busy, naming the process, where another one is at it.
    """
    folder = lock.resume_dir("train") / name
    with contextlib.ExitStack() as stack:
        if ctx.is_main:
            stack.enter_context(lock.file_lock(folder.with_suffix(".lock"), "train"))
            _remove_leftovers(folder, cfg.resume)
        ctx.all_reduce_max(0.0)  # nobody looks before the folder is in order
        run = ResumableRun(folder, ctx, cfg.resume_save_s)
        stack.callback(run.close)
        yield run


def _remove_leftovers(folder: Path, resume: bool) -> None:
    """Remove what was left half-removed or half-written, and, unless it is to be resumed, the run."""
    io.remove_dirs(folder.with_suffix(".done"), *([] if resume else [folder]))
    io.remove_dirs(*(path.parent for path in folder.glob("step_*/*") if not (path.parent / "complete.json").is_file()))
    for path in folder.rglob("*.partial"):
        path.unlink()


@dataclasses.dataclass(frozen=True)
class _SavedState:
    """A state as it was read: what all ranks share, this rank's own, the snapshots, and what they say of themselves."""

    path: Path
    metadata: dict
    common_tensors: dict[str, torch.Tensor]
    rank_tensors: dict[str, torch.Tensor]
    snapshots: dict[int, dict[str, torch.Tensor]]


class ResumableRun:
    """A run's folder. step, seconds, position: where it has got to, the last as a Loader takes it; 0 in a new run."""

    def __init__(self, folder: Path, ctx: DistContext, save_every_s: float):
        self._folder, self._ctx, self._save_every_s = folder, ctx, save_every_s
        self.checkpoint_dir = folder / "checkpoints"
        self._writer_thread: threading.Thread | None = None
        self._heartbeat_thread: threading.Thread | None = None
        self._stop_event = threading.Event()
        self._writer_error: BaseException | None = None
        self._saved = self._load_latest()
        self.step = self._saved.metadata["step"] if self._saved else 0
        self.used_s = ctx.all_reduce_max(
            max(self._saved.metadata["seconds"], _read_used_s(folder)) if self._saved else 0.0
        )
        self.position = tuple(self._saved.metadata["position"]) if self._saved else (0, 0)
        self._last_save_s = self.used_s
        if ctx.is_main:
            self._prune()
        ctx.all_reduce_max(0.0)  # nobody writes before what is not of this state is gone

    def _load_latest(self) -> _SavedState | None:
        """The newest state that every rank can read; those passed over are told. Rank 0 proposes."""
        steps = sorted(int(path.parent.name[5:]) for path in self._folder.glob("step_*/complete.json"))
        while (step := self._ctx.all_reduce_max(steps.pop() if steps and self._ctx.is_main else -1)) >= 0:
            path, problem = self._state_dir(int(step)), None
            try:
                saved = _read_state(path, self._ctx)
            except ArtifactError as error:
                problem = error
            if not self._ctx.all_reduce_max(float(problem is not None)):
                return saved
            self._log(f"passing over a state: {problem or f'{path}: another rank can not read it'}")
        return None

    def _prune(self) -> None:
        """What the run wrote after the state that it goes on from, and states that could not be read, never were."""
        snapshots = {
            _snapshot_path(self._folder, step) for step in (self._saved.metadata["snapshots"] if self._saved else ())
        }
        io.remove_dirs(*(path for path in self._folder.glob("step_*") if not self._saved or path != self._saved.path))
        stale = [path for path in self._folder.glob("snapshots/step_*") if path not in snapshots]
        stale += [path for path in self.checkpoint_dir.glob("step_*") if int(path.stem[5:]) > self.step]
        for path in stale:
            path.unlink()

    def _state_dir(self, step: int) -> Path:
        return self._folder / f"step_{step:08d}"

    def attach(self, model, optimizer, result, batches) -> None:
        """Take charge of what a run consists of, and where there is a state put all of it back to that."""
        self._model, self._optimizer, self.result, self._batches = model, optimizer, result, batches
        if self._saved is None:
            return
        metadata, common_tensors, ema = self._saved.metadata, self._saved.common_tensors, result.ema
        model.load_state_dict(_strip_prefix("weights", common_tensors))
        optimizer.load_state_dict(_strip_prefix("optimiser", self._saved.rank_tensors))
        for decay, average_tensors in ema.averages.items():
            saved_average = _strip_prefix(f"average/{decay!r}", common_tensors)
            for name, average in zip(ema.weights, average_tensors, strict=True):
                average.copy_(saved_average[name])
        ema.steps = metadata["step"]
        if self._ctx.is_main:
            for step, snapshot in self._saved.snapshots.items():
                ema.snapshots[step] = {
                    basis_decay: _strip_prefix(repr(basis_decay), snapshot) for basis_decay in ema.basis_decays
                }
        result.log, result.dev_log, result.recurrent_from = metadata["log"], metadata["dev"], metadata["looped_from"]
        torch.set_rng_state(self._saved.rank_tensors["dice"])
        if "dice_gpu" in self._saved.rank_tensors:
            torch.cuda.set_rng_state(self._saved.rank_tensors["dice_gpu"], self._ctx.device)
        self._log(f"resuming from step {self.step} of {self._folder}, {self.used_s:.1f} seconds used")
        self._saved = None  # its memory

    def start_heartbeat(self, seconds: Callable[[], float]) -> None:
        """From now on write down every second how many of the budget are used."""
        if self._ctx.is_main:
            self._heartbeat_thread = threading.Thread(target=self._heartbeat, args=(seconds,), daemon=True)
            self._heartbeat_thread.start()

    def _heartbeat(self, seconds: Callable[[], float]) -> None:
        while not self._stop_event.wait(HEARTBEAT_INTERVAL_S):
            with contextlib.suppress(OSError):  # a full disk: the next beat, or the next state, tells more
                io.write_json(self._folder / "seconds.json", {"seconds": seconds()})

    def should_save(self, seconds: float) -> bool:
        """Whether it is time for a state. seconds: as the ranks agreed on them, so that they answer alike."""
        return seconds - self._last_save_s >= self._save_every_s

    def save_async(self, step: int, seconds: float, *, wait: bool = False) -> None:
        """Copy the state as it is now and write it in the background; skipped while a rank still writes the last one.

        wait: write it, whatever else is being written, before this returns. A full disk is told and costs the state,
        not the run. All ranks call this at the same step, with the seconds that they agreed on.
        """
        self._last_save_s = seconds
        is_writing = self._writer_thread is not None and self._writer_thread.is_alive()
        if not wait and self._ctx.all_reduce_max(float(is_writing)):
            return
        self._wait_for_writer()
        rank_tensors, common_tensors, snapshots, wait_for_copies = self.copy_state()
        metadata = {
            "step": step,
            "seconds": seconds,
            "position": list(self._batches.position),
            "log": list(self.result.log),
            "dev": list(self.result.dev_log),
            "looped_from": self.result.recurrent_from,
            "snapshots": sorted(snapshots),
            "ranks": self._ctx.world_size,
        }
        self._writer_thread = threading.Thread(
            target=self.write_state, args=(metadata, rank_tensors, common_tensors, snapshots, wait_for_copies)
        )
        self._writer_thread.start()
        if wait:
            self._wait_for_writer()

    def copy_state(self) -> tuple[dict, dict, dict, Callable[[], None]]:
        """This rank's own tensors and the common ones, on the CPU; the snapshots; and what waits for the copies.

        From a GPU they are queued behind the step, into pinned memory, so that the next step can be queued behind them.
        """
        rank_tensors = _add_prefix("optimiser", self._optimizer.state_dict()) | {"dice": torch.get_rng_state()}
        if self._ctx.device.type == "cuda":
            rank_tensors["dice_gpu"] = torch.cuda.get_rng_state(self._ctx.device)
        rank_tensors = {name: to_cpu_async(tensor) for name, tensor in rank_tensors.items()}
        common_tensors, snapshots, ema = {}, {}, self.result.ema
        if self._ctx.is_main:
            common_tensors = _add_prefix("weights", self._model.state_dict())
            for decay, average_tensors in ema.averages.items():
                common_tensors |= _add_prefix(
                    f"average/{decay!r}", dict(zip(ema.weights, average_tensors, strict=True))
                )
            common_tensors = {name: to_cpu_async(tensor) for name, tensor in common_tensors.items()}
            snapshots = dict(ema.snapshots)
        if self._ctx.device.type != "cuda":
            return rank_tensors, common_tensors, snapshots, lambda: None
        copies_done = torch.cuda.Event()
        copies_done.record()
        return rank_tensors, common_tensors, snapshots, copies_done.synchronize

    def write_state(
        self,
        metadata: dict,
        rank_tensors: dict,
        common_tensors: dict,
        snapshots: dict,
        wait_for_copies: Callable[[], None],
    ) -> None:
        """The writer's thread: this rank's file, and on rank 0 the rest and the mark that all of it is there."""
        try:
            wait_for_copies()
            folder = self._state_dir(metadata["step"])
            io.save_tensors(folder / f"rank_{self._ctx.rank}.safetensors", rank_tensors, kind=FILE_KIND, meta=metadata)
            if self._ctx.is_main:
                self._commit_state(folder, metadata, common_tensors, snapshots)
        except OSError as error:
            self._log(f"no state kept at step {metadata['step']}: {error.strerror} ({error.filename})")
        except BaseException as error:
            self._writer_error = error

    def _commit_state(self, folder: Path, metadata: dict, common_tensors: dict, snapshots: dict) -> None:
        for step, weights_by_decay in snapshots.items():
            if not (path := _snapshot_path(self._folder, step)).is_file():
                tensors = {
                    f"{basis_decay!r}/{name}": t
                    for basis_decay, weights in weights_by_decay.items()
                    for name, t in weights.items()
                }
                io.save_tensors(path, tensors, kind=FILE_KIND, meta={"step": step})
        io.save_tensors(folder / "common.safetensors", common_tensors, kind=FILE_KIND, meta=metadata)
        rank_files = [folder / f"rank_{rank}.safetensors" for rank in range(self._ctx.world_size)]
        deadline = time.monotonic() + _PEER_TIMEOUT_S
        while not all(path.is_file() for path in rank_files):
            if time.monotonic() > deadline:
                self._log(f"no state kept at step {metadata['step']}: another rank wrote none")
                return
            time.sleep(0.02)
        io.write_json(folder / "complete.json", {"step": metadata["step"], "ranks": self._ctx.world_size})
        io.remove_dirs(*(path for path in self._folder.glob("step_*") if path.name < folder.name))
        for path in (self._folder / "snapshots").glob("step_*"):
            if path not in {_snapshot_path(self._folder, step) for step in snapshots}:
                path.unlink()

    def _wait_for_writer(self) -> None:
        """Wait for the writer, and raise what it met, a full disk aside."""
        if self._writer_thread is not None:
            self._writer_thread.join()
        if self._writer_error is not None:
            error, self._writer_error = self._writer_error, None
            raise error

    def stop_heartbeat(self) -> None:
        """The clock has stopped: seconds.json stays as it is."""
        self._stop_event.set()
        if self._heartbeat_thread is not None:
            self._heartbeat_thread.join()

    def close(self) -> None:
        self.stop_heartbeat()
        self._wait_for_writer()

    def export_checkpoints(self, folder) -> None:
        """Copy the checkpoints to where they are awaited, which is there even without any."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in self.checkpoint_dir.glob("*"):
            with io.atomic_write(Path(folder) / path.name) as partial:
                shutil.copyfile(path, partial)

    def discard(self) -> None:
        """The outputs are written: the folder goes, by its name first, so that half of it is never taken for a run."""
        self.close()
        if self._ctx.is_main and self._folder.is_dir():
            done_dir = self._folder.rename(self._folder.with_suffix(".done"))
            io.remove_dirs(done_dir)

    def _log(self, message: str) -> None:
        Progress("train", None, "", quiet=not self._ctx.is_main).finish(message)


def _read_state(path: Path, ctx: DistContext) -> _SavedState:
    """The state in a folder, checked in full. Raises BadArtifact naming the file that is missing or damaged."""
    rank_tensors, rank_metadata = io.load_tensors(path / f"rank_{ctx.rank}.safetensors", kind=FILE_KIND)
    common_tensors, metadata = io.load_tensors(path / "common.safetensors", kind=FILE_KIND)
    if rank_metadata["step"] != metadata["step"] or rank_metadata["ranks"] != ctx.world_size:
        raise ArtifactError(
            path,
            f"its files are of steps {rank_metadata['step']} and {metadata['step']}, {rank_metadata['ranks']} ranks",
        )
    steps = metadata["snapshots"] if ctx.is_main else []
    snapshots = {step: io.load_tensors(_snapshot_path(path.parent, step), kind=FILE_KIND)[0] for step in steps}
    return _SavedState(path, metadata, common_tensors, rank_tensors, snapshots)


def _read_used_s(folder: Path) -> float:
    """What seconds.json says; 0.0 where a run ended before its first second."""
    path = folder / "seconds.json"
    if not path.is_file():
        return 0.0
    used_s = io.read_json(path).get("seconds")
    if not isinstance(used_s, int | float):
        raise ArtifactError(path, f"seconds must be a number, got {used_s!r}", f"remove {folder} to start fresh")
    return float(used_s)


def _snapshot_path(folder: Path, step: int) -> Path:
    return folder / "snapshots" / f"step_{step:08d}.safetensors"


def _add_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _strip_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of a prefix, without it."""
    return {n.removeprefix(f"{prefix}/"): tensor for n, tensor in tensors.items() if n.startswith(f"{prefix}/")}
