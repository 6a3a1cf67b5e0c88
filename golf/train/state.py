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

from golf.ground import lock, store
from golf.ground.errors import BadArtifact
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.ground.sections import Train
from golf.train.ema import copied

KIND = "training state"
BEAT_S = 1.0  # between two writings of seconds.json
PEERS_S = 20.0  # how long rank 0 waits for the others' files before it gives a state up


def key(lineage: dict, dev_sha256: str) -> str:
    """The name of a run: two runs of one key make the same, so that one may go on with the other's state.

    lineage: of training, with the parameters of ``neutral``; dev is watched and changes the log alone.
    """
    return store.json_digest([lineage["digest"], dev_sha256])[:16]


def neutral(train: Train) -> Train:
    """The parameters less what says how states are kept, which changes nothing in what a run makes."""
    return dataclasses.replace(train, resume=True, state_every_s=1.0)


@contextlib.contextmanager
def opened(name: str, train: Train, here: Runtime) -> Iterator["Run"]:
    """The run of this key, locked for this process and its ranks; with ``train.resume`` off, without what it left.

    Raises Busy, naming the process, where another one is at it.
    """
    folder = lock.runs("train") / name
    with contextlib.ExitStack() as stack:
        if here.first:
            stack.enter_context(lock.held(folder.with_suffix(".lock"), "train"))
            tidy(folder, train.resume)
        here.agree(0.0)  # nobody looks before the folder is in order
        run = Run(folder, here, train.state_every_s)
        stack.callback(run.close)
        yield run


def tidy(folder: Path, resume: bool) -> None:
    """Remove what was left half-removed or half-written, and, unless it is to be resumed, the run."""
    store.clear(folder.with_suffix(".done"), *([] if resume else [folder]))
    store.clear(*(path.parent for path in folder.glob("step_*/*") if not (path.parent / "complete.json").is_file()))
    for path in folder.rglob("*.partial"):
        path.unlink()


@dataclasses.dataclass(frozen=True)
class Found:
    """A state as it was read: what all ranks share, this rank's own, the snapshots, and what they say of themselves."""

    path: Path
    about: dict
    common: dict[str, torch.Tensor]
    own: dict[str, torch.Tensor]
    snapshots: dict[int, dict[str, torch.Tensor]]


class Run:
    """A run's folder. step, seconds, position: where it has got to, the last as a Loader takes it; 0 in a new run."""

    def __init__(self, folder: Path, here: Runtime, every_s: float):
        self.folder, self.here, self.every_s = folder, here, every_s
        self.checkpoints = folder / "checkpoints"
        self.writer: threading.Thread | None = None
        self.heart: threading.Thread | None = None
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self.found = self.newest()
        self.step = self.found.about["step"] if self.found else 0
        self.seconds = here.agree(max(self.found.about["seconds"], told_seconds(folder)) if self.found else 0.0)
        self.position = tuple(self.found.about["position"]) if self.found else (0, 0)
        self.kept_s = self.seconds
        if here.first:
            self.prune()
        here.agree(0.0)  # nobody writes before what is not of this state is gone

    def newest(self) -> Found | None:
        """The newest state that every rank can read; those passed over are told. Rank 0 proposes."""
        steps = sorted(int(path.parent.name[5:]) for path in self.folder.glob("step_*/complete.json"))
        while (step := self.here.agree(steps.pop() if steps and self.here.first else -1)) >= 0:
            path, problem = self.state(int(step)), None
            try:
                found = read(path, self.here)
            except BadArtifact as error:
                problem = error
            if not self.here.agree(float(problem is not None)):
                return found
            self.tell(f"passing over a state: {problem or f'{path}: another rank can not read it'}")
        return None

    def prune(self) -> None:
        """What the run wrote after the state that it goes on from, and states that could not be read, never were."""
        snapshots = {snapshot_path(self.folder, step) for step in (self.found.about["snapshots"] if self.found else ())}
        store.clear(*(path for path in self.folder.glob("step_*") if not self.found or path != self.found.path))
        late = [path for path in self.folder.glob("snapshots/step_*") if path not in snapshots]
        late += [path for path in self.checkpoints.glob("step_*") if int(path.stem[5:]) > self.step]
        for path in late:
            path.unlink()

    def state(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"

    def take(self, model, optimisers, outcome, batches) -> None:
        """Take charge of what a run consists of, and where there is a state put all of it back to that."""
        self.model, self.optimisers, self.outcome, self.batches = model, optimisers, outcome, batches
        if self.found is None:
            return
        about, common, averages = self.found.about, self.found.common, outcome.averages
        model.load_state_dict(under("weights", common))
        optimisers.load_state_dict(under("optimiser", self.found.own))
        for decay, running in averages.running.items():
            saved = under(f"average/{decay!r}", common)
            for name, average in zip(averages.weights, running, strict=True):
                average.copy_(saved[name])
        averages.steps = about["step"]
        if self.here.first:
            for step, held in self.found.snapshots.items():
                averages.snapshots[step] = {trace: under(repr(trace), held) for trace in averages.traces}
        outcome.log, outcome.dev, outcome.looped_from = about["log"], about["dev"], about["looped_from"]
        torch.set_rng_state(self.found.own["dice"])
        if "dice_gpu" in self.found.own:
            torch.cuda.set_rng_state(self.found.own["dice_gpu"], self.here.device)
        self.tell(f"resuming from step {self.step} of {self.folder}, {self.seconds:.1f} seconds used")
        self.found = None  # its memory

    def start(self, seconds: Callable[[], float]) -> None:
        """From now on write down every second how many of the budget are used."""
        if self.here.first:
            self.heart = threading.Thread(target=self.beat, args=(seconds,), daemon=True)
            self.heart.start()

    def beat(self, seconds: Callable[[], float]) -> None:
        while not self.stop.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a full disk: the next beat, or the next state, tells more
                store.write_json(self.folder / "seconds.json", {"seconds": seconds()})

    def due(self, seconds: float) -> bool:
        """Whether it is time for a state. seconds: as the ranks agreed on them, so that they answer alike."""
        return seconds - self.kept_s >= self.every_s

    def keep(self, step: int, seconds: float, *, wait: bool = False) -> None:
        """Copy the state as it is now and write it in the background; skipped while a rank still writes the last one.

        wait: write it, whatever else is being written, before this returns. A full disk is told and costs the state,
        not the run. All ranks call this at the same step, with the seconds that they agreed on.
        """
        self.kept_s = seconds
        busy = self.writer is not None and self.writer.is_alive()
        if not wait and self.here.agree(float(busy)):
            return
        self.join()
        own, common, snapshots, copied = self.copies()
        about = {
            "step": step,
            "seconds": seconds,
            "position": list(self.batches.position),
            "log": list(self.outcome.log),
            "dev": list(self.outcome.dev),
            "looped_from": self.outcome.looped_from,
            "snapshots": sorted(snapshots),
            "ranks": self.here.ranks,
        }
        self.writer = threading.Thread(target=self.write, args=(about, own, common, snapshots, copied))
        self.writer.start()
        if wait:
            self.join()

    def copies(self) -> tuple[dict, dict, dict, Callable[[], None]]:
        """This rank's own tensors and the common ones, on the CPU; the snapshots; and what waits for the copies.

        From a GPU they are queued behind the step, into pinned memory, so that the next step can be queued behind them.
        """
        own = named("optimiser", self.optimisers.state_dict()) | {"dice": torch.get_rng_state()}
        if self.here.device.type == "cuda":
            own["dice_gpu"] = torch.cuda.get_rng_state(self.here.device)
        own = {name: copied(tensor) for name, tensor in own.items()}
        common, snapshots, averages = {}, {}, self.outcome.averages
        if self.here.first:
            common = named("weights", self.model.state_dict())
            for decay, running in averages.running.items():
                common |= named(f"average/{decay!r}", dict(zip(averages.weights, running, strict=True)))
            common = {name: copied(tensor) for name, tensor in common.items()}
            snapshots = dict(averages.snapshots)
        if self.here.device.type != "cuda":
            return own, common, snapshots, lambda: None
        queued = torch.cuda.Event()
        queued.record()
        return own, common, snapshots, queued.synchronize

    def write(self, about: dict, own: dict, common: dict, snapshots: dict, copied: Callable[[], None]) -> None:
        """The writer's thread: this rank's file, and on rank 0 the rest and the mark that all of it is there."""
        try:
            copied()
            folder = self.state(about["step"])
            store.save_tensors(folder / f"rank_{self.here.rank}.safetensors", own, kind=KIND, meta=about)
            if self.here.first:
                self.complete(folder, about, common, snapshots)
        except OSError as error:
            self.tell(f"no state kept at step {about['step']}: {error.strerror} ({error.filename})")
        except BaseException as error:
            self.failure = error

    def complete(self, folder: Path, about: dict, common: dict, snapshots: dict) -> None:
        for step, traces in snapshots.items():
            if not (path := snapshot_path(self.folder, step)).is_file():
                tensors = {f"{trace!r}/{name}": t for trace, held in traces.items() for name, t in held.items()}
                store.save_tensors(path, tensors, kind=KIND, meta={"step": step})
        store.save_tensors(folder / "common.safetensors", common, kind=KIND, meta=about)
        others = [folder / f"rank_{rank}.safetensors" for rank in range(self.here.ranks)]
        end = time.monotonic() + PEERS_S
        while not all(path.is_file() for path in others):
            if time.monotonic() > end:
                self.tell(f"no state kept at step {about['step']}: another rank wrote none")
                return
            time.sleep(0.02)
        store.write_json(folder / "complete.json", {"step": about["step"], "ranks": self.here.ranks})
        store.clear(*(path for path in self.folder.glob("step_*") if path.name < folder.name))
        for path in (self.folder / "snapshots").glob("step_*"):
            if path not in {snapshot_path(self.folder, step) for step in snapshots}:
                path.unlink()

    def join(self) -> None:
        """Wait for the writer, and raise what it met, a full disk aside."""
        if self.writer is not None:
            self.writer.join()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def rest(self) -> None:
        """The clock has stopped: seconds.json stays as it is."""
        self.stop.set()
        if self.heart is not None:
            self.heart.join()

    def close(self) -> None:
        self.rest()
        self.join()

    def deliver(self, folder) -> None:
        """Copy the checkpoints to where they are awaited, which is there even without any."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in self.checkpoints.glob("*"):
            with store.writing(Path(folder) / path.name) as partial:
                shutil.copyfile(path, partial)

    def finish(self) -> None:
        """The outputs are written: the folder goes, by its name first, so that half of it is never taken for a run."""
        self.close()
        if self.here.first and self.folder.is_dir():
            done = self.folder.rename(self.folder.with_suffix(".done"))
            store.clear(done)

    def tell(self, line: str) -> None:
        Progress("train", None, "", quiet=not self.here.first).done(line)


def read(path: Path, here: Runtime) -> Found:
    """The state in a folder, checked in full. Raises BadArtifact naming the file that is missing or damaged."""
    own, about = store.load_tensors(path / f"rank_{here.rank}.safetensors", kind=KIND)
    common, other = store.load_tensors(path / "common.safetensors", kind=KIND)
    if about["step"] != other["step"] or about["ranks"] != here.ranks:
        raise BadArtifact(path, f"its files are of steps {about['step']} and {other['step']}, {about['ranks']} ranks")
    steps = other["snapshots"] if here.first else []
    snapshots = {step: store.load_tensors(snapshot_path(path.parent, step), kind=KIND)[0] for step in steps}
    return Found(path, other, common, own, snapshots)


def told_seconds(folder: Path) -> float:
    """What seconds.json says; 0.0 where a run ended before its first second."""
    path = folder / "seconds.json"
    if not path.is_file():
        return 0.0
    seconds = store.read_json(path).get("seconds")
    if not isinstance(seconds, int | float):
        raise BadArtifact(path, f"seconds must be a number, got {seconds!r}", f"remove {folder} to start fresh")
    return float(seconds)


def snapshot_path(folder: Path, step: int) -> Path:
    return folder / "snapshots" / f"step_{step:08d}.safetensors"


def named(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of a prefix, without it."""
    return {n.removeprefix(f"{prefix}/"): tensor for n, tensor in tensors.items() if n.startswith(f"{prefix}/")}
