"""Save the state of a training run on the way, without stopping it.

``<run folder>``, see ``golf.training.resume``:
    step_<n>/        a state: common.safetensors (weights and averages, by rank 0), rank_<r>.safetensors (optimizer and
                     random state), and complete.json, written last
    snapshots/       the EMA snapshots, one file a step, each written once
    checkpoints/     written by the caller, for the artifacts
    seconds.json     the seconds used of the training budget, written every second
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from golf.artifacts import io, json_records
from golf.data.loader import TokenLoader
from golf.distributed.context import DistContext
from golf.model.gpt import GPT
from golf.pipeline import os_errors
from golf.pipeline.progress import log_line
from golf.training.ema import to_cpu_async
from golf.training.optimizer import MuonAdamW
from golf.training.result import TrainResult

__all__ = [
    "FILE_KIND",
    "HEARTBEAT_INTERVAL_S",
    "StateWriter",
    "get_snapshot_path",
    "state_dir",
    "strip_prefix",
]

FILE_KIND = "resume state"
HEARTBEAT_INTERVAL_S = 1.0  # between two writes of seconds.json
_PEER_TIMEOUT_S = 20.0  # how long rank 0 waits for the other ranks' files before it drops a state


class StateWriter:
    """Saves a run's state into its folder. All ranks call it at the same steps, with times that they agreed on.

    A context manager: leaving it ends the background threads, also after an error.
    """

    def __init__(
        self,
        folder: Path,
        ctx: DistContext,
        save_every_s: float,
        used_s: float,
        model: GPT,
        optimizer: MuonAdamW,
        result: TrainResult,
        batches: TokenLoader,
    ) -> None:
        """``used_s``: seconds that earlier processes of this run used.

        Model, optimizer, result and batches make up the state.
        """
        self._folder, self._ctx, self._save_every_s, self._last_save_s = folder, ctx, save_every_s, used_s
        self._model, self._optimizer, self._result, self._batches = model, optimizer, result, batches
        self._stopping = threading.Event()
        self._heartbeat_thread: threading.Thread | None = None
        self._writer_thread: threading.Thread | None = None
        self._writer_error: BaseException | None = None

    def __enter__(self) -> "StateWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop_heartbeat()
        self._wait_for_writer()

    def start(self, elapsed_s: Callable[[], float]) -> None:
        """Write ``elapsed_s()`` to seconds.json every second from now on, so that a crash does not lose time used."""
        if self._ctx.is_main:
            self._heartbeat_thread = threading.Thread(target=self._heartbeat, args=(elapsed_s,), daemon=True)
            self._heartbeat_thread.start()

    def should_save(self, elapsed_s: float) -> bool:
        """Return whether ``train.resume_save_s`` have passed since the last state."""
        return elapsed_s - self._last_save_s >= self._save_every_s

    def save(self, step: int, elapsed_s: float) -> None:
        """Copy the state and write it in the background. Does nothing while some rank still writes the last state.

        A full disk is reported and loses this state only; training goes on.
        """
        self._last_save_s = elapsed_s
        is_writing = self._writer_thread is not None and self._writer_thread.is_alive()
        if not self._ctx.all_reduce_max(float(is_writing)):
            self._start_writer(step, elapsed_s)

    def stop(self, step: int, elapsed_s: float) -> None:
        """Save the final state and return when it is on disk. seconds.json no longer changes."""
        self._stop_heartbeat()
        self._start_writer(step, elapsed_s)
        self._wait_for_writer()

    def _heartbeat(self, elapsed_s: Callable[[], float]) -> None:
        while not self._stopping.wait(HEARTBEAT_INTERVAL_S):
            with contextlib.suppress(OSError):  # a full disk: a later write or the next state records the time
                json_records.write_sealed(self._folder / "seconds.json", {"seconds": elapsed_s()})

    def _stop_heartbeat(self) -> None:
        self._stopping.set()
        if self._heartbeat_thread is not None:
            self._heartbeat_thread.join()

    def _start_writer(self, step: int, elapsed_s: float) -> None:
        self._wait_for_writer()
        rank_tensors, common_tensors, snapshots, wait_for_copies = self.copy_state()
        metadata = {
            "step": step,
            "seconds": elapsed_s,
            "position": list(self._batches.position),
            "log": list(self._result.log),
            "dev_log": list(self._result.dev_log),
            "recurrent_from": self._result.recurrent_from,
            "context": [self._result.context_tokens, self._result.context_switched_at],
            "snapshots": sorted(snapshots),
            "world_size": self._ctx.world_size,
            "dtype": str(self._ctx.dtype),
        }
        self._writer_thread = threading.Thread(
            target=self.write_state, args=(metadata, rank_tensors, common_tensors, snapshots, wait_for_copies)
        )
        self._writer_thread.start()

    def _wait_for_writer(self) -> None:
        """Join the writer thread and raise the error it met; a full disk is not one."""
        if self._writer_thread is not None:
            self._writer_thread.join()
        if self._writer_error is not None:
            error, self._writer_error = self._writer_error, None
            raise error

    def copy_state(
        self,
    ) -> tuple[
        dict[str, torch.Tensor],
        dict[str, torch.Tensor],
        dict[int, dict[float, dict[str, torch.Tensor]]],
        Callable[[], None],
    ]:
        """Return this rank's tensors and the common ones, on the CPU, the snapshots, and a function that
        waits for the copies.

        From a GPU the copies are queued behind the step, into pinned memory, and the next step behind them.
        """
        rank_tensors = _add_prefix("optimizer", self._optimizer.state_dict()) | {"rng": torch.get_rng_state()}
        if self._ctx.device.type == "cuda":
            rank_tensors["rng_gpu"] = torch.cuda.get_rng_state(self._ctx.device)
        rank_tensors = {name: to_cpu_async(tensor) for name, tensor in rank_tensors.items()}
        common_tensors, snapshots, ema = {}, {}, self._result.ema
        if self._ctx.is_main:
            common_tensors = _add_prefix("weights", self._model.state_dict())
            for decay, average in ema.averages.items():
                common_tensors |= _add_prefix(f"ema/{decay!r}", dict(zip(ema.weights, average, strict=True)))
            common_tensors = {name: to_cpu_async(tensor) for name, tensor in common_tensors.items()}
            snapshots = dict(ema.snapshots)
        if self._ctx.device.type != "cuda":
            return rank_tensors, common_tensors, snapshots, lambda: None
        copies_done = torch.cuda.Event()
        copies_done.record()
        return rank_tensors, common_tensors, snapshots, copies_done.synchronize

    def write_state(
        self,
        metadata: dict[str, Any],
        rank_tensors: dict[str, torch.Tensor],
        common_tensors: dict[str, torch.Tensor],
        snapshots: dict[int, dict[float, dict[str, torch.Tensor]]],
        wait_for_copies: Callable[[], None],
    ) -> None:
        """Write this rank's file, and on rank 0 the rest. Runs in the writer thread."""
        try:
            wait_for_copies()
            folder = state_dir(self._folder, metadata["step"])
            io.save_tensors(folder / f"rank_{self._ctx.rank}.safetensors", rank_tensors, kind=FILE_KIND, meta=metadata)
            if self._ctx.is_main:
                self._commit_state(folder, metadata, common_tensors, snapshots)
        except OSError as error:
            self._log(f"no state saved at step {metadata['step']}: {os_errors.describe_os_error(error)}")
        except BaseException as error:
            self._writer_error = error

    def _commit_state(
        self,
        folder: Path,
        metadata: dict[str, Any],
        common_tensors: dict[str, torch.Tensor],
        snapshots: dict[int, dict[float, dict[str, torch.Tensor]]],
    ) -> None:
        """Write the common tensors and new snapshots, mark the state complete, and remove what it replaces."""
        for step, weights_by_decay in snapshots.items():
            if not (path := get_snapshot_path(self._folder, step)).is_file():
                tensors = {
                    name: tensor
                    for basis_decay, weights in weights_by_decay.items()
                    for name, tensor in _add_prefix(repr(basis_decay), weights).items()
                }
                io.save_tensors(path, tensors, kind=FILE_KIND, meta={"step": step})
        io.save_tensors(folder / "common.safetensors", common_tensors, kind=FILE_KIND, meta=metadata)
        rank_files = [folder / f"rank_{rank}.safetensors" for rank in range(self._ctx.world_size)]
        deadline = time.monotonic() + _PEER_TIMEOUT_S
        while not all(path.is_file() for path in rank_files):
            if time.monotonic() > deadline:
                self._log(f"no state saved at step {metadata['step']}: another rank wrote none")
                return
            time.sleep(0.02)
        io.write_json(folder / "complete.json", {"step": metadata["step"], "world_size": self._ctx.world_size})
        io.remove_dirs(*(path for path in self._folder.glob("step_*") if path.name < folder.name))
        current = {get_snapshot_path(self._folder, step) for step in snapshots}
        for path in self._folder.glob("snapshots/step_*"):
            if path not in current:
                path.unlink()

    def _log(self, message: str) -> None:
        log_line("train", message, quiet=not self._ctx.is_main)


def state_dir(run_dir: Path, step: int) -> Path:
    """Return the folder of the state after ``step`` steps."""
    return run_dir / f"step_{step:08d}"


def get_snapshot_path(run_dir: Path, step: int) -> Path:
    """Return the file of the EMA snapshots taken after ``step`` steps."""
    return run_dir / "snapshots" / f"step_{step:08d}.safetensors"


def _add_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors under ``<prefix>/<name>``."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors named ``<prefix>/<name>``, by ``<name>``."""
    return {n.removeprefix(f"{prefix}/"): tensor for n, tensor in tensors.items() if n.startswith(f"{prefix}/")}
