"""Host side of the sandbox: start an isolated process, talk to the predictor in it, accept only arrays back.

The sandbox is a new folder with the artifact, the counted code as its bundle holds it, and the files of this package
that the process runs. The process knows nothing else of the project. It is given tokens chunk by chunk, so the
predictor holds none that it was not given.
"""

import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from golf.artifacts import io
from golf.artifacts.source_deps import import_closure
from golf.compression import code_bundle
from golf.config.sections import EvaluateConfig
from golf.distributed.launcher import PROBE_SEED_ENV, log
from golf.errors import ArtifactError, GolfError, PredictorError
from golf.evaluation.sandbox import protocol
from golf.evaluation.sandbox.session import INTERFACE_HINT, SandboxSession
from golf.evaluation.timer import EvalTimer

__all__ = ["Sandbox", "SandboxTimeoutError", "list_counted_sources"]

_WORKER_PATH = "golf/evaluation/sandbox/worker.py"
_COMPILER_COMMANDS = ["g++", "gcc", "cc", "c++", "clang", "clang++", "ptxas", "ldconfig", "openssl"]  # of torch.compile
_EXIT_HINT = f"see its output above, {INTERFACE_HINT}"
_MAX_POLL_S = 86_400.0  # poll() overflows for waits of some weeks


class SandboxTimeoutError(Exception):
    """A call was not answered before the timer's limit. The sandbox cannot be reused: a late reply may still arrive."""


class Sandbox:
    """An isolated process for one predictor. Use it as a context manager; ``session`` opens the predictor anew."""

    def __init__(
        self,
        cfg: EvaluateConfig,
        root: str | Path = ".",
        bundle_path: str | Path | None = None,
        timer: EvalTimer | None = None,
    ) -> None:
        """cfg: which predictor ("package.module:Class") opens which artifact, and how it runs. bundle_path: the packed
        code that compress wrote; None packs what the predictor imports below ``root``. timer: its limit bounds
        the wait for a reply; None: no limit.

        Raises PredictorError when there is no such module, ArtifactError when the bundle is damaged or lacks it.
        """
        self.predictor, self._artifact = cfg.predictor, Path(cfg.artifact)
        self.timer = timer or EvalTimer()
        self.bundle = (
            code_bundle.pack(list_counted_sources(self.predictor, root), root)
            if bundle_path is None
            else Path(bundle_path).read_bytes()
        )
        self.sources = code_bundle.unpack(self.bundle, bundle_path or "the predictor's code")
        if _source_path(self.predictor) not in self.sources:
            raise ArtifactError(
                bundle_path or "the predictor's code",
                f"lacks {_source_path(self.predictor)}, the file of evaluate.predictor",
                io.RERUN_HINT,
            )
        execution = {key: getattr(cfg, key) for key in ("device", "attention", "compile", "dtype")}
        self._settings: dict[str, Any] = {
            "predictor": self.predictor,
            "execution": execution,
            "eval_batch_tokens": cfg.eval_batch_tokens,
        }
        self._n_sessions = 0

    def __enter__(self) -> "Sandbox":
        self._stack = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="golf-sandbox-"))).resolve()
        if not self._artifact.is_file():
            raise ArtifactError(
                self._artifact, "not found", "evaluate.artifact must name the file that the predictor opens"
            )
        self._artifact_copy = self.folder / self._artifact.name
        self._populate()
        cache_dir = _compiler_cache_dir(self._settings["execution"])
        env = {key: value for key, value in os.environ.items() if key != PROBE_SEED_ENV} | {"TMPDIR": str(self.folder)}
        if cache_dir is not None:  # one thread, as worker processes of the compiler would count as commands
            env |= {"TORCHINDUCTOR_CACHE_DIR": cache_dir, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self._conn, child_conn = Pipe()
        self._stack.callback(self._conn.close)
        settings = self._settings | {
            "folder": str(self.folder),
            "modules": [_module_name(file) for file in self.sources],
            "artifact": str(self._artifact_copy),
            "package_dirs": [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))],
            "writable_dirs": [] if cache_dir is None else [cache_dir, str(Path.home() / ".triton")],
            "allowed_commands": [] if cache_dir is None else _COMPILER_COMMANDS,
            "conn_fd": child_conn.fileno(),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(self.folder / _WORKER_PATH), json.dumps(settings)],
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=2,  # stderr: what the predictor prints must not mix with the stage's output
            pass_fds=[child_conn.fileno()],
            start_new_session=True,  # one signal ends it with its children, and Ctrl-C reaches the host alone
        )
        child_conn.close()
        self._stack.callback(self._kill)

    def _populate(self) -> None:
        """Make the folder anew: whatever the predictor left or changed in it is gone."""
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
    def session(self, *, hash_state: bool = False) -> Iterator[SandboxSession]:
        """A session with a newly opened predictor; ``access_report`` is filled in when the block ends.

        hash_state: hash the predictor's state before and after every score that counts.
        """
        if self._n_sessions:
            self._populate()
        self._n_sessions += 1
        self.send("open", {"name": f"session {self._n_sessions}"})
        session = SandboxSession(self, self.expect_reply("open")[0], hash_state)
        if self._n_sessions == 1 and session.ctx.is_main:
            log(f"{'evaluate':<9} {session.ctx.description}")
        yield session
        self.send("close")
        session.access_report = self.expect_reply("close", expected_kind="report")[0]
        self.expect_reply("close", expected_kind="exited")

    def send(self, kind: str, payload: dict[str, Any] | None = None, *arrays: np.ndarray) -> None:
        """Send a call. Raises PredictorError when the process is gone."""
        try:
            protocol.send(self._conn, kind, payload, *arrays)
        except protocol.ConnectionClosedError:
            raise PredictorError(
                f"{self.predictor}: its process exited unexpectedly before {kind}; {_EXIT_HINT}"
            ) from None

    def expect_reply(self, call: str, expected_kind: str = "reply") -> tuple[dict[str, Any], list[np.ndarray]]:
        """The answer to a call: its payload and arrays.

        Raises GolfError as golf's own code raised it in the sandbox, PredictorError for any other failure of the
        predictor, SandboxTimeoutError at the timer's limit.
        """
        kind, payload, arrays = self._receive(call)
        if kind == expected_kind:
            return payload, arrays
        if kind == "exited":
            raise PredictorError(
                f"{self.predictor}: its process {_describe_exit(call, payload['exit_code'])}; {_EXIT_HINT}"
            )
        self._receive(call)  # the session's "exited"; after it the sandbox can open another session
        message = self._externalize_paths(payload["message"])
        if kind == "golf_error":
            raise GolfError(message)
        failure = message if kind == "violation" else f"{call} raised {message}"
        raise PredictorError(f"{self.predictor}: {failure}; {INTERFACE_HINT}")

    def _receive(self, call: str) -> tuple[str, dict[str, Any], list[np.ndarray]]:
        """The next message. Raises SandboxTimeoutError when none has begun to arrive by the timer's limit."""
        while (remaining_s := self.timer.remaining_s()) is not None:
            if self._conn.poll(min(_MAX_POLL_S, max(0.0, remaining_s))):
                break
            if remaining_s <= _MAX_POLL_S:
                raise SandboxTimeoutError(call)
        try:
            return protocol.receive(self._conn)
        except protocol.ConnectionClosedError:
            return "exited", {"exit_code": self.process.wait()}, []
        except ValueError as error:
            raise PredictorError(
                f"{self.predictor}: the reply to {call} cannot be read ({error}); {INTERFACE_HINT}"
            ) from None

    def _externalize_paths(self, text: str) -> str:
        """A message from inside the sandbox with paths as the user knows them."""
        return text.replace(str(self._artifact_copy), str(self._artifact)).replace(f"{self.folder}/", "")


def _describe_exit(call: str, exit_code: int) -> str:
    """How a process ended during a call; a negative exit code is a signal's number."""
    if exit_code >= 0:
        return f"exited with code {exit_code} during {call}"
    hint = "; if memory ran out, lower evaluate.eval_batch_tokens" if exit_code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-exit_code).name} during {call}{hint}"


def list_counted_sources(predictor: str, root: str | Path = ".") -> list[str]:
    """The files below ``root`` that "package.module:Class" imports, directly or not: the code that counts.

    Raises PredictorError for a name of another form or a module that is not there.
    """
    module, _, class_name = predictor.partition(":")
    file = _source_path(predictor)
    is_valid_name = all(part.isidentifier() for part in (*module.split("."), class_name))
    if not is_valid_name or not (Path(root) / file).is_file():
        raise PredictorError(
            f"evaluate.predictor: {predictor}: no class of that name in {file} below this folder; "
            f"give package.module:Class, such as golf.inference.predictor:GolfPredictor"
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


def _compiler_cache_dir(execution: dict[str, Any]) -> str | None:
    """The compiler's cache, outside the sandbox so that a graph is compiled once; None without a compiler."""
    if execution["compile"] == "off":
        return None
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR") or f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
