"""The judge's side of the door: start the clean process, sit with the method in it, and get nothing but numbers back.

The room is a new folder with the artifact, the code that is counted as its bundle holds it, and this package. The
process in it knows nothing else of the project. Tokens go in chunk by chunk, so the method holds none that it was not
given.
"""

import contextlib
import dataclasses
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import torch

from golf.codec import code_bundle
from golf.ground import store
from golf.ground.closure import closure
from golf.ground.errors import BadArtifact, BadMethod, GolfError
from golf.ground.runtime import Runtime
from golf.ground.sections import Evaluate
from golf.ground.stage import SECRET, say
from golf.room import wire

WORKER = "golf/room/worker.py"
COMPILERS = ["g++", "gcc", "cc", "c++", "clang", "clang++", "ptxas", "ldconfig", "openssl"]  # what torch.compile starts
CONTRACT = "docs/legality.md shows the few calls of a method"
DAY_S = 86_400.0  # waited at a time: a poll takes no longer ones than some weeks


class OutOfTime(Exception):
    """A call was not answered by the room's deadline. The room is good for nothing more: its answer may still come."""


class Room:
    """A clean process for one method. Use it as a context manager; ``sit`` gives a freshly opened method each time."""

    def __init__(self, evaluate: Evaluate, root=".", code=None):
        """evaluate: which method ("package.module:Class") opens which artifact, and how it runs. code: the bundle that
        holds the method, a file that compress wrote; None packs what the method imports below ``root``.

        Raises BadMethod when there is no such module, BadArtifact when ``code`` is damaged or doesn't hold it.
        """
        self.method, self.artifact = evaluate.method, Path(evaluate.artifact)
        self.bundle = code_bundle.pack(counted(self.method, root), root) if code is None else Path(code).read_bytes()
        self.sources = code_bundle.unpack(self.bundle, code or "the method's code")
        if file_of(self.method) not in self.sources:
            raise BadArtifact(code, f"holds no {file_of(self.method)}, the file of evaluate.method", store.RERUN)
        execution = {key: getattr(evaluate, key) for key in ("device", "attention", "compile", "dtype")}
        self.settings = {"method": self.method, "execution": execution, "score_tokens": evaluate.score_tokens}
        self.sittings = 0
        self.deadline: float | None = None  # seconds since the epoch by which answers must be here; None: whenever

    def __enter__(self) -> "Room":
        self.stack = contextlib.ExitStack()
        try:
            self.open()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stack.close()

    def open(self) -> None:
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="golf-room-"))).resolve()
        if not self.artifact.is_file():
            raise BadArtifact(self.artifact, "not found", "evaluate.artifact must name the file that the method opens")
        self.inside, self.folder = folder / self.artifact.name, folder
        self.furnish()
        cache = compiler_cache(self.settings["execution"])
        environment = {key: value for key, value in os.environ.items() if key != SECRET} | {"TMPDIR": str(folder)}
        if cache is not None:  # one thread: the compiler's helpers would be commands of the method's
            environment |= {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self.door, theirs = Pipe()
        self.stack.callback(self.door.close)
        settings = self.settings | {
            "folder": str(folder),
            "modules": [module_of(file) for file in self.sources],
            "artifact": str(self.inside),
            "packages": [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))],
            "caches": [] if cache is None else [cache, str(Path.home() / ".triton")],
            "commands": [] if cache is None else COMPILERS,
            "door": theirs.fileno(),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(folder / WORKER), json.dumps(settings)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2,  # what the method prints is no answer
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # one signal ends it with all its children, and Ctrl-C is the judge's to answer
        )
        theirs.close()
        self.stack.callback(self.end)

    def furnish(self) -> None:
        """The room as it should be: what a method may have left in it or changed is gone."""
        for thing in self.folder.iterdir():
            shutil.rmtree(thing) if thing.is_dir() and not thing.is_symlink() else thing.unlink()
        own = Path(__file__).parents[2]
        for file in {*self.sources, *closure(WORKER, root=own)}:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            source = self.sources[file] if file in self.sources else (own / file).read_bytes()
            (self.folder / file).write_bytes(source)
        shutil.copyfile(self.artifact, self.inside)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @contextlib.contextmanager
    def sit(self, *, watched: bool = False):
        """A Sitting; its report stands in ``report`` when the block ends."""
        if self.sittings:
            self.furnish()
        self.sittings += 1
        self.ask("sit", {"name": f"sitting {self.sittings}"})
        sitting = Sitting(self, self.answer("open")[0], watched)
        if self.sittings == 1 and sitting.here.first:
            say(f"{'evaluate':<9} {sitting.here.note}")
        yield sitting
        self.ask("leave")
        sitting.report = self.answer("leave", done="left")[0]
        self.answer("leave", done="ended")

    def ask(self, tag: str, about: dict | None = None, *arrays: np.ndarray) -> None:
        try:
            wire.send(self.door, tag, about, *arrays)
        except wire.Closed:
            raise BadMethod(f"{self.method}: its process ended before it was asked to") from None

    def answer(self, call: str, done: str = "done") -> tuple[dict, list[np.ndarray]]:
        """Raises GolfError as the method's own code raised it, BadMethod for whatever else it raised."""
        tag, about, arrays = self.hear(call)
        if tag == done:
            return about, arrays
        if tag == "ended":
            raise BadMethod(f"{self.method}: its process {ending(about['code'])} in {call}")
        self.hear(call)  # that the sitting has ended; the room is as good as before
        words = self.outside(about["message"])
        raise GolfError(words) if tag == "refused" else BadMethod(f"{self.method}: {call} raised {words}; {CONTRACT}")

    def extend(self, seconds: float) -> None:
        """Put a deadline off."""
        if self.deadline is not None:
            self.deadline += seconds

    def hear(self, call: str) -> tuple[str, dict, list[np.ndarray]]:
        """What comes through the door next. Raises OutOfTime where nothing has begun to by the deadline."""
        while self.deadline is not None and not self.door.poll(min(DAY_S, max(0.0, self.deadline - time.time()))):
            if time.time() >= self.deadline:
                raise OutOfTime(call)
        try:
            return wire.receive(self.door)
        except wire.Closed:
            return "ended", {"code": self.process.wait()}, []
        except ValueError as error:
            raise BadMethod(f"{self.method}: {call} sent what the judge can't read ({error}); {CONTRACT}") from None

    def outside(self, words: str) -> str:
        """Words from inside, with paths as they are known here."""
        return words.replace(str(self.inside), str(self.artifact)).replace(f"{self.folder}/", "")


class Sitting:
    """One opened method, called as ``golf.method.Method`` is; what it answers is checked for shape and kind.

    facts: what it says of itself. begun: hash of its state at the start of the pass. watched: its state is hashed
    before and after every score too. aside: what is asked now counts for nothing, and takes no time from the
    deadline. state: that hash before the last score. calls: scores that count. moved: how many of them changed the
    state. watch_s: seconds spent on hashing.
    """

    def __init__(self, room: Room, facts: dict, watched: bool):
        self.room, self.facts = room, facts
        self.report: dict = {}
        rank, ranks, device, dtype = facts["runtime"]
        kind = getattr(torch, dtype.removeprefix("torch."))
        self.here = Runtime(
            rank, ranks, torch.device(device), kind, facts["compile"], facts["attention"], facts["note"]
        )
        self.watched, self.aside, self.begun = watched, False, ""
        self.given, self.calls, self.moved, self.watch_s, self.state = 0, 0, 0, 0.0, ""

    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        """Start a pass."""
        about = {"stride": stride, "plan": plan and dataclasses.asdict(plan), "chunks": chunks}
        self.given, self.calls, self.moved, self.watch_s, self.state = 0, 0, 0, 0.0, ""
        self.room.ask("begin", about)
        self.begun = self.room.answer("begin")[0]["state"]

    @contextlib.contextmanager
    def apart(self):
        """Inside, what is asked is aside, and the room's deadline waits."""
        began, deadline = time.time(), self.room.deadline
        self.aside, self.room.deadline = True, None
        try:
            yield
        finally:
            self.aside, self.room.deadline = False, deadline
            self.room.extend(time.time() - began)

    def more(self, prefix: np.ndarray) -> np.ndarray:
        """The end of ``prefix`` that the method has not been given in this pass."""
        new = prefix[self.given :]
        self.given += len(new)
        return new

    def score(self, prefix: np.ndarray, chunk: np.ndarray, rows=None):
        """nll [n]; with ``rows`` also log-probabilities [r, V]. All prefixes of a pass are of one stream."""
        asked = () if rows is None else (np.array(rows, dtype=np.int64),)
        self.room.ask(
            "score", {"at": len(prefix), "watched": self.watched and not self.aside}, self.more(prefix), chunk, *asked
        )
        asked_at = time.perf_counter()
        told, found = self.room.answer("score")
        self.calls += not self.aside
        if self.watched and not self.aside:
            spent = min(told["watch_s"], time.perf_counter() - asked_at)
            self.state, self.watch_s = told["before"], self.watch_s + max(0.0, spent)
            self.room.extend(max(0.0, spent))
            self.moved += told["before"] != told["after"]
        self.expect("score", found[0], (len(chunk),))
        if rows is None:
            return found[0]
        self.expect("score's rows", found[1], (len(rows), None))
        return found[0], found[1]

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        self.room.ask("predict", {"at": len(prefix)}, self.more(prefix))
        row = self.room.answer("predict")[1][0]
        self.expect("predict", row, (None,))
        return row

    def update(self, sealed) -> None:
        about = {"index": sealed.index, "last": sealed.last, "seal": sealed.seal}
        self.room.ask("update", about, sealed.tokens[:0], sealed.tokens)
        self.room.answer("update")

    def expect(self, call: str, found: np.ndarray, shape: tuple) -> None:
        fits = found.ndim == len(shape) and all(
            got == want or (want is None and got > 0) for want, got in zip(shape, found.shape, strict=True)
        )
        if not fits:
            wanted = ["V" if size is None else size for size in shape]
            raise BadMethod(
                f"{self.room.method}: {call} must answer with floats of shape {wanted}, got {list(found.shape)}; "
                f"{CONTRACT}"
            )


def ending(code: int) -> str:
    """How a process ended, by its exit status, which is a signal's number where it is negative."""
    if code >= 0:
        return f"ended by itself (exit {code})"
    cure = "; if memory ran out, a lower evaluate.score_tokens needs less" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{cure}"


def counted(method: str, root=".") -> list[str]:
    """The files below ``root`` that "package.module:Class" reaches by importing: the code that counts and goes in.

    Raises BadMethod for a name of another form or a module that isn't there.
    """
    module, _, cls = method.partition(":")
    file = file_of(method)
    named = all(part.isidentifier() for part in (*module.split("."), cls))
    if not named or not (Path(root) / file).is_file():
        raise BadMethod(
            f"evaluate.method: {method}: there is no {file} with such a class here; give package.module:Class of a "
            f"file below this folder, as golf.method:Method"
        )
    packages = [parent / "__init__.py" for parent in Path(file).parents if parent != Path(".")]
    return closure(file, *(path.as_posix() for path in packages if (Path(root) / path).is_file()), root=root)


def file_of(method: str) -> str:
    """golf.score.scorer:Scorer -> golf/score/scorer.py."""
    return f"{method.partition(':')[0].replace('.', '/')}.py"


def module_of(file: str) -> str:
    """golf/score/scorer.py -> golf.score.scorer."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def compiler_cache(execution: dict) -> str | None:
    """Where the compiler keeps its work, outside the room so that a graph is compiled once; None without a compiler."""
    if execution["compile"] == "off":
        return None
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR") or f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
