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

from golf.artifacts import io
from golf.artifacts.source_deps import import_closure
from golf.compression import code_bundle
from golf.config.sections import EvaluateConfig
from golf.distributed.context import DistContext
from golf.errors import ArtifactError, GolfError, PredictorError
from golf.evaluation.sandbox import protocol
from golf.pipeline.runner import PROBE_SEED_ENV, log

_WORKER_PATH = "golf/evaluation/sandbox/worker.py"
_COMPILER_COMMANDS = [
    "g++",
    "gcc",
    "cc",
    "c++",
    "clang",
    "clang++",
    "ptxas",
    "ldconfig",
    "openssl",
]  # what torch.compile starts
INTERFACE_HINT = "docs/legality.md shows the few calls of a method"
_MAX_POLL_S = 86_400.0  # waited at a time: a poll takes no longer ones than some weeks


class SandboxTimeoutError(Exception):
    """A call was not answered by the room's deadline. The room is good for nothing more: its answer may still come."""


class Sandbox:
    """A clean process for one method. Use it as a context manager; ``sit`` gives a freshly opened method each time."""

    def __init__(self, cfg: EvaluateConfig, root=".", bundle_path=None):
        """evaluate: which method ("package.module:Class") opens which artifact, and how it runs. code: the bundle that
        holds the method, a file that compress wrote; None packs what the method imports below ``root``.

        Raises BadMethod when there is no such module, BadArtifact when ``code`` is damaged or doesn't hold it.
        """
        self.predictor, self._artifact = cfg.predictor, Path(cfg.artifact)
        self.bundle = (
            code_bundle.pack(counted_sources(self.predictor, root), root)
            if bundle_path is None
            else Path(bundle_path).read_bytes()
        )
        self.sources = code_bundle.unpack(self.bundle, bundle_path or "the method's code")
        if _source_path(self.predictor) not in self.sources:
            raise ArtifactError(
                bundle_path, f"holds no {_source_path(self.predictor)}, the file of evaluate.predictor", io.RERUN_HINT
            )
        execution = {key: getattr(cfg, key) for key in ("device", "attention", "compile", "dtype")}
        self._settings = {"method": self.predictor, "execution": execution, "score_tokens": cfg.eval_batch_tokens}
        self._n_sessions = 0
        self.deadline: float | None = None  # seconds since the epoch by which answers must be here; None: whenever

    def __enter__(self) -> "Sandbox":
        self._stack = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="golf-room-"))).resolve()
        if not self._artifact.is_file():
            raise ArtifactError(
                self._artifact, "not found", "evaluate.artifact must name the file that the method opens"
            )
        self._artifact_copy, self.folder = folder / self._artifact.name, folder
        self._populate()
        cache_dir = _compiler_cache_dir(self._settings["execution"])
        env = {key: value for key, value in os.environ.items() if key != PROBE_SEED_ENV} | {"TMPDIR": str(folder)}
        if cache_dir is not None:  # one thread: the compiler's helpers would be commands of the method's
            env |= {"TORCHINDUCTOR_CACHE_DIR": cache_dir, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self._conn, child_conn = Pipe()
        self._stack.callback(self._conn.close)
        settings = self._settings | {
            "folder": str(folder),
            "modules": [_module_name(file) for file in self.sources],
            "artifact": str(self._artifact_copy),
            "packages": [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))],
            "caches": [] if cache_dir is None else [cache_dir, str(Path.home() / ".triton")],
            "commands": [] if cache_dir is None else _COMPILER_COMMANDS,
            "door": child_conn.fileno(),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(folder / _WORKER_PATH), json.dumps(settings)],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=2,  # what the method prints is no answer
            pass_fds=[child_conn.fileno()],
            start_new_session=True,  # one signal ends it with all its children, and Ctrl-C is the judge's to answer
        )
        child_conn.close()
        self._stack.callback(self._kill)

    def _populate(self) -> None:
        """The room as it should be: what a method may have left in it or changed is gone."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        project_root = Path(__file__).parents[3]
        for file in {*self.sources, *import_closure(_WORKER_PATH, root=project_root)}:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            source = self.sources[file] if file in self.sources else (project_root / file).read_bytes()
            (self.folder / file).write_bytes(source)
        shutil.copyfile(self._artifact, self._artifact_copy)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @contextlib.contextmanager
    def session(self, *, hash_state: bool = False):
        """A Sitting; its report stands in ``report`` when the block ends."""
        if self._n_sessions:
            self._populate()
        self._n_sessions += 1
        self.send("open", {"name": f"session {self._n_sessions}"})
        session = SandboxSession(self, self.expect_reply("open")[0], hash_state)
        if self._n_sessions == 1 and session.ctx.is_main:
            log(f"{'evaluate':<9} {session.ctx.description}")
        yield session
        self.send("leave")
        session.access_report = self.expect_reply("leave", expected_kind="left")[0]
        self.expect_reply("leave", expected_kind="ended")

    def send(self, kind: str, payload: dict | None = None, *arrays: np.ndarray) -> None:
        try:
            protocol.send(self._conn, kind, payload, *arrays)
        except protocol.ConnectionClosedError:
            raise PredictorError(f"{self.predictor}: its process ended before it was asked to") from None

    def expect_reply(self, call: str, expected_kind: str = "done") -> tuple[dict, list[np.ndarray]]:
        """Raises GolfError as the method's own code raised it, BadMethod for whatever else it raised."""
        kind, payload, arrays = self._receive(call)
        if kind == expected_kind:
            return payload, arrays
        if kind == "ended":
            raise PredictorError(f"{self.predictor}: its process {_describe_exit(payload['code'])} in {call}")
        self._receive(call)  # that the sitting has ended; the room is as good as before
        message = self._externalize_paths(payload["message"])
        raise (
            GolfError(message)
            if kind == "refused"
            else PredictorError(f"{self.predictor}: {call} raised {message}; {INTERFACE_HINT}")
        )

    def extend_deadline(self, seconds: float) -> None:
        """Put a deadline off."""
        if self.deadline is not None:
            self.deadline += seconds

    def _receive(self, call: str) -> tuple[str, dict, list[np.ndarray]]:
        """What comes through the door next. Raises OutOfTime where nothing has begun to by the deadline."""
        while self.deadline is not None and not self._conn.poll(
            min(_MAX_POLL_S, max(0.0, self.deadline - time.time()))
        ):
            if time.time() >= self.deadline:
                raise SandboxTimeoutError(call)
        try:
            return protocol.receive(self._conn)
        except protocol.ConnectionClosedError:
            return "ended", {"code": self.process.wait()}, []
        except ValueError as error:
            raise PredictorError(
                f"{self.predictor}: {call} sent what the judge can't read ({error}); {INTERFACE_HINT}"
            ) from None

    def _externalize_paths(self, text: str) -> str:
        """Words from inside, with paths as they are known here."""
        return text.replace(str(self._artifact_copy), str(self._artifact)).replace(f"{self.folder}/", "")


class SandboxSession:
    """One opened method, called as ``golf.inference.predictor.GolfPredictor`` is; what it answers is checked for shape and kind.

    facts: what it says of itself. begun: hash of its state at the start of the pass. watched: its state is hashed
    before and after every score too. aside: what is asked now counts for nothing, and takes no time from the
    deadline. state: that hash before the last score. calls: scores that count. moved: how many of them changed the
    state. watch_s: seconds spent on hashing.
    """

    def __init__(self, sandbox: Sandbox, info: dict, hash_state: bool):
        self.sandbox, self.info = sandbox, info
        self.access_report: dict = {}
        rank, world_size, device, dtype = info["runtime"]
        torch_dtype = getattr(torch, dtype.removeprefix("torch."))
        self.ctx = DistContext(
            rank, world_size, torch.device(device), torch_dtype, info["compile"], info["attention"], info["note"]
        )
        self.hash_state, self.is_uncounted, self.initial_state_hash = hash_state, False, ""
        self._n_sent_tokens, self.n_score_calls, self.n_state_changes, self.hashing_s, self.state_hash = (
            0,
            0,
            0,
            0.0,
            "",
        )

    def reset(self, *, stride: int, ttt_cfg=None, n_chunks: int = 1) -> None:
        """Start a pass."""
        payload = {"stride": stride, "ttt_cfg": ttt_cfg and dataclasses.asdict(ttt_cfg), "n_chunks": n_chunks}
        self._n_sent_tokens, self.n_score_calls, self.n_state_changes, self.hashing_s, self.state_hash = (
            0,
            0,
            0,
            0.0,
            "",
        )
        self.sandbox.send("reset", payload)
        self.initial_state_hash = self.sandbox.expect_reply("reset")[0]["state"]

    @contextlib.contextmanager
    def uncounted(self):
        """Inside, what is asked is aside, and the room's deadline waits."""
        start, deadline = time.time(), self.sandbox.deadline
        self.is_uncounted, self.sandbox.deadline = True, None
        try:
            yield
        finally:
            self.is_uncounted, self.sandbox.deadline = False, deadline
            self.sandbox.extend_deadline(time.time() - start)

    def _new_tokens(self, prefix: np.ndarray) -> np.ndarray:
        """The end of ``prefix`` that the method has not been given in this pass."""
        tokens = prefix[self._n_sent_tokens :]
        self._n_sent_tokens += len(tokens)
        return tokens

    def score(self, prefix: np.ndarray, chunk: np.ndarray, positions=None):
        """nll [n]; with ``rows`` also log-probabilities [r, V]. All prefixes of a pass are of one stream."""
        extra_arrays = () if positions is None else (np.array(positions, dtype=np.int64),)
        self.sandbox.send(
            "score",
            {"at": len(prefix), "watched": self.hash_state and not self.is_uncounted},
            self._new_tokens(prefix),
            chunk,
            *extra_arrays,
        )
        sent_at = time.perf_counter()
        reply, arrays = self.sandbox.expect_reply("score")
        self.n_score_calls += not self.is_uncounted
        if self.hash_state and not self.is_uncounted:
            hashing_s = min(reply["watch_s"], time.perf_counter() - sent_at)
            self.state_hash, self.hashing_s = reply["before"], self.hashing_s + max(0.0, hashing_s)
            self.sandbox.extend_deadline(max(0.0, hashing_s))
            self.n_state_changes += reply["before"] != reply["after"]
        self._check_array("score", arrays[0], (len(chunk),))
        if positions is None:
            return arrays[0]
        self._check_array("score's rows", arrays[1], (len(positions), None))
        return arrays[0], arrays[1]

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        self.sandbox.send("predict", {"at": len(prefix)}, self._new_tokens(prefix))
        log_probs = self.sandbox.expect_reply("predict")[1][0]
        self._check_array("predict", log_probs, (None,))
        return log_probs

    def update(self, scored_chunk) -> None:
        payload = {"index": scored_chunk.index, "last": scored_chunk.is_last, "seal": scored_chunk.chain_hash}
        self.sandbox.send("update", payload, scored_chunk.tokens[:0], scored_chunk.tokens)
        self.sandbox.expect_reply("update")

    def _check_array(self, call: str, array: np.ndarray, shape: tuple) -> None:
        is_match = array.ndim == len(shape) and all(
            got == want or (want is None and got > 0) for want, got in zip(shape, array.shape, strict=True)
        )
        if not is_match:
            expected_shape = ["V" if size is None else size for size in shape]
            raise PredictorError(
                f"{self.sandbox.predictor}: {call} must answer with floats of shape {expected_shape}, got {list(array.shape)}; "
                f"{INTERFACE_HINT}"
            )


def _describe_exit(code: int) -> str:
    """How a process ended, by its exit status, which is a signal's number where it is negative."""
    if code >= 0:
        return f"ended by itself (exit {code})"
    hint = "; if memory ran out, a lower evaluate.eval_batch_tokens needs less" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


def counted_sources(predictor: str, root=".") -> list[str]:
    """The files below ``root`` that "package.module:Class" reaches by importing: the code that counts and goes in.

    Raises BadMethod for a name of another form or a module that isn't there.
    """
    module, _, class_name = predictor.partition(":")
    file = _source_path(predictor)
    is_valid_name = all(part.isidentifier() for part in (*module.split("."), class_name))
    if not is_valid_name or not (Path(root) / file).is_file():
        raise PredictorError(
            f"evaluate.predictor: {predictor}: there is no {file} with such a class here; give package.module:Class of a "
            f"file below this folder, as golf.inference.predictor:GolfPredictor"
        )
    package_inits = [parent / "__init__.py" for parent in Path(file).parents if parent != Path(".")]
    return import_closure(
        file, *(path.as_posix() for path in package_inits if (Path(root) / path).is_file()), root=root
    )


def _source_path(predictor: str) -> str:
    """golf.inference.scorer:Scorer -> golf/inference/scorer.py."""
    return f"{predictor.partition(':')[0].replace('.', '/')}.py"


def _module_name(file: str) -> str:
    """golf/inference/scorer.py -> golf.inference.scorer."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _compiler_cache_dir(execution: dict) -> str | None:
    """Where the compiler keeps its work, outside the room so that a graph is compiled once; None without a compiler."""
    if execution["compile"] == "off":
        return None
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR") or f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
