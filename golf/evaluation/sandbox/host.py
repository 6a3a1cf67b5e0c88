"""Host side of the sandbox: start an isolated process, talk to the predictor in it, accept only arrays back.

The sandbox is a new folder with the artifact, the counted code as its archive holds it, and the files of this package
that answer calls. What runs before the fence stands is the evaluator's own code and lies in another folder, which the
predictor cannot open. The process knows nothing else of the project. It is given tokens chunk by chunk, so the
predictor holds none that it was not given.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import Pipe, reduction
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from golf.artifacts.source_deps import find_import_closure
from golf.compression import code_archive
from golf.config.sections import EvaluateConfig
from golf.distributed import device
from golf.distributed.context import DistContext
from golf.distributed.launcher import log
from golf.errors import ArtifactError, PredictorError
from golf.evaluation.fence import environment, file_rights
from golf.evaluation.fence.corpus_sources import CorpusSources, read_corpus_sources
from golf.evaluation.fence.packages import InstalledPackages, list_imports
from golf.evaluation.fence.restrictions import FenceRecord
from golf.evaluation.sandbox import protocol
from golf.evaluation.sandbox.channel import SessionChannel, is_readable
from golf.evaluation.sandbox.counted_sources import list_counted_sources, make_module_name
from golf.evaluation.sandbox.folder_removal import clear_folder, remove_folder
from golf.evaluation.sandbox.output import SessionOutput
from golf.evaluation.sandbox.session import SandboxSession
from golf.evaluation.timer import EvalTimer
from golf.pipeline.predictor_file import make_source_path

__all__ = ["Sandbox"]

_WORKER_PATH, _SERVER_PATH = (f"golf/evaluation/sandbox/{name}.py" for name in ("worker", "predictor_server"))
_PROJECT_ROOT = Path(__file__).parents[3]
_COMPILER_PACKAGES = frozenset({"networkx"})  # that torch.compile imports when it splits a graph with a gradient
_COMPILER_COMMANDS = ["g++", "gcc", "cc", "c++", "clang", "clang++", "ptxas", "ldconfig", "openssl"]  # of torch.compile
_CALL_LIMIT_S = 6 * 3600.0  # for one answer where evaluate.limit_s sets no limit: none is waited for without end
_GRACE_S = 20.0  # for a process that has said its last word to end
_RANK_VARIABLES = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
_REPORT_FIELDS = {"files": list, "sockets": list, "commands": list, "opened": int}
_INFO_FIELDS = {"documents": str, "disputed": list, "has_predict": bool}


class Sandbox:
    """An isolated process for one predictor. Use it as a context manager; ``session`` opens the predictor anew."""

    def __init__(
        self,
        cfg: EvaluateConfig,
        root: str | Path = ".",
        *,
        code_path: str | Path | None = None,
        timer: EvalTimer | None = None,
        manifest_path: str | Path | None = None,
    ) -> None:
        """cfg: which predictor ("package.module:Class") opens which artifact, and how it runs. code_path: the packed
        code that compress wrote; None packs what the predictor imports below ``root``. timer: its limit bounds
        the wait for a reply; None: no limit. manifest_path: of fetch, which names the corpus's own files; None: none.

        Raises PredictorError when there is no such module, ArtifactError when the archive is damaged or lacks it.
        """
        self.predictor, self._artifact = cfg.predictor, Path(cfg.artifact)
        self.timer = timer or EvalTimer()
        self.code_archive = (
            code_archive.pack(list_counted_sources(self.predictor, root), root)
            if code_path is None
            else Path(code_path).read_bytes()
        )
        self.sources = code_archive.unpack(self.code_archive, code_path or "the predictor's code")
        if make_source_path(self.predictor) not in self.sources:
            raise ArtifactError(
                code_path or "the predictor's code",
                f"lacks {make_source_path(self.predictor)}, the file of evaluate.predictor",
            )
        self._call_limit_s = self.timer.limit_s or _CALL_LIMIT_S  # also after the timer's limit is lifted
        self._corpus = CorpusSources() if manifest_path is None else read_corpus_sources(manifest_path)
        execution = {key: getattr(cfg, key) for key in ("device", "attention", "compile", "dtype")}
        self._settings: dict[str, Any] = {
            "predictor": self.predictor,
            "execution": execution,
            "eval_batch_tokens": cfg.eval_batch_tokens,
        }
        self._n_sessions = 0
        self._exit_code: int | None = None  # of the session's process

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

    @property
    def code_sha256(self) -> str:
        """Of the packed code that runs."""
        return hashlib.sha256(self.code_archive).hexdigest()

    def _start(self) -> None:
        self.folder, evaluator_dir = (self._make_folder(f"golf-{name}-") for name in ("sandbox", "evaluator"))
        if not self._artifact.is_file():
            raise ArtifactError(
                self._artifact, "not found", "evaluate.artifact must name the file that the predictor opens"
            )
        self._artifact_copy = self.folder / self._artifact.name
        self._populate()
        for file in find_import_closure(_WORKER_PATH, root=_PROJECT_ROOT):
            _write_file(evaluator_dir / file, _read_own_source(file))
        self._control, child_control = Pipe()
        self._stack.callback(self._control.close)
        settings = self._settings | self._make_fence_settings(evaluator_dir) | {
            "folder": str(self.folder),
            "evaluator_dir": str(evaluator_dir),
            "modules": [make_module_name(file) for file in self.sources],
            "artifact": str(self._artifact_copy),
            "conn_fd": child_control.fileno(),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(evaluator_dir / _WORKER_PATH), json.dumps(settings)],
            cwd=self.folder,
            env=environment.make_environment(str(self.folder)),
            stdin=subprocess.DEVNULL,
            stdout=2,  # stderr: what is printed must not mix with the stage's output; a session has its own pipe
            pass_fds=[child_control.fileno()],
            start_new_session=True,  # one signal ends it with its children, and Ctrl-C reaches the host alone
        )
        child_control.close()
        self._stack.callback(self._kill)

    def _make_folder(self, prefix: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
        self._stack.callback(remove_folder, folder)
        return folder

    def _make_fence_settings(self, evaluator_dir: Path) -> dict[str, Any]:
        """What the process may open and run, and which packages an import must not find."""
        compiles = self._settings["execution"]["compile"] != "off"
        uses_cuda = self._expected_context.device.type == "cuda"
        package_dirs = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        installed = InstalledPackages(package_dirs)
        imports = {"torch", "numpy"} | list_imports(self.sources)
        packages = installed.choose(imports, self._corpus, compiles=compiles)
        denied = [*self._corpus.files, os.getcwd()]
        rights = file_rights.list_file_rights(str(self.folder), packages, package_dirs, denied, uses_cuda=uses_cuda)
        if compiles:
            rights |= file_rights.list_compilers(_COMPILER_COMMANDS)
        preparing = file_rights.list_preparing_rights(
            str(evaluator_dir), has_ranks=self._expected_context.world_size > 1, uses_cuda=uses_cuda
        )
        return {
            "package_dirs": package_dirs,
            "corpus_packages": [str(path) for path in packages if path.name in self._corpus.packages],
            "stripped_packages": sorted(self._corpus.held_out_packages & _COMPILER_PACKAGES) if compiles else [],
            "held_out_packages": sorted(self._corpus.held_out_packages),
            "hidden_packages": installed.list_others(packages),
            "file_rights": dataclasses.asdict(rights),
            "preparing_rights": dataclasses.asdict(preparing),
            "allowed_commands": _COMPILER_COMMANDS if compiles else [],
        }

    def _populate(self) -> None:
        """Make the folder anew: whatever the predictor left or changed in it is gone, the compiler's cache too."""
        clear_folder(self.folder)
        for file in {*self.sources, *find_import_closure(_SERVER_PATH, root=_PROJECT_ROOT)}:
            source = self.sources[file] if file in self.sources else _read_own_source(file)
            _write_file(self.folder / file, source)
        shutil.copyfile(self._artifact, self._artifact_copy)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @contextlib.contextmanager
    def session(self) -> Iterator[SandboxSession]:
        """Open a session with a new predictor; ``access_report`` is filled in when the block ends."""
        if self._n_sessions:
            self._populate()
        self._n_sessions += 1
        conn, child_conn = Pipe()
        self._output, self._exit_code = SessionOutput(), None
        channel = SessionChannel(self, conn, self._call_limit_s, self._describe_end, self._externalize_paths)
        try:
            with child_conn, self._output.write_end() as output_fd:
                protocol.send(self._control, "open", {"name": f"session {self._n_sessions}"})
                for fd in (child_conn.fileno(), output_fd):
                    reduction.send_handle(self._control, fd, self.process.pid)
            ctx, record = self._check_context(channel)
            info, _ = channel.expect_reply("open", fields=_INFO_FIELDS)
            session = SandboxSession(channel, ctx, info)
            if self._n_sessions == 1 and ctx.is_main:
                log(f"{'evaluate':<9} {ctx.description}")
            yield session
            channel.send("close")
            report, _ = channel.expect_reply("close", fields=_REPORT_FIELDS, kind="report")
            self._await_exit()
            session.access_report = report | {"fence": record}
        except protocol.ConnectionClosedError:
            raise channel.explain_end("open") from None
        finally:
            conn.close()
            self._end_session()
            self._output.wait()

    @property
    def _expected_context(self) -> DistContext:
        """What params and the launcher's environment say of this rank. What ``auto`` chose is filled in later."""
        execution = self._settings["execution"]
        rank, world_size, local_rank = (int(os.environ.get(key, default)) for key, default in _RANK_VARIABLES)
        resolved_device, _ = device.resolve_device(execution["device"], "evaluate", local_rank)
        dtype = getattr(torch, execution["dtype"])
        return DistContext(rank, world_size, resolved_device, dtype, False, execution["attention"])

    def _check_context(self, channel: SessionChannel) -> tuple[DistContext, FenceRecord]:
        """The context of a session, and its fence. The evaluator's own code sent both before the predictor's ran.

        Raises PredictorError if the process runs as another rank, on another device or in another precision.
        """
        fields = {"ranks": list, "device": str, "dtype": str, "compile": bool, "attention": str, "description": str}
        payload, _ = channel.expect_reply("open", fields=fields | {"fence": dict}, kind="fenced")
        expected = self._expected_context
        decided = {
            "ranks": [str(expected.rank), str(expected.world_size)],
            "device": str(expected.device),
            "dtype": str(expected.dtype).removeprefix("torch."),
        }
        for key, value in decided.items():
            if payload[key] != value:
                raise PredictorError(f"{self.predictor}: its process has {key} {payload[key]!r}, not {value!r}")
        record = FenceRecord.from_payload(payload["fence"])
        if self._corpus.problem:
            record = dataclasses.replace(record, missing=(*record.missing, self._corpus.problem))
        chosen = {key: payload[key] for key in ("compile", "attention", "description")}
        return dataclasses.replace(expected, **chosen), record

    def _describe_end(self, call: str) -> str:
        exit_code = self._await_exit()
        end = f"closed its connection during {call}" if exit_code is None else _describe_exit(call, exit_code)
        return end + self._externalize_paths(self._output.describe_tail())

    def _externalize_paths(self, text: str) -> str:
        """A message from inside the sandbox with paths as the user knows them."""
        return text.replace(str(self._artifact_copy), str(self._artifact)).replace(f"{self.folder}/", "")

    def _end_session(self) -> None:
        """Kill the session's process unless it has ended."""
        if self._exit_code is None:
            with contextlib.suppress(protocol.ConnectionClosedError):
                protocol.send(self._control, "end")
            self._await_exit()

    def _await_exit(self) -> int | None:
        """The exit code of the session's process, as its parent reports it; None if it did not end by itself.

        A process that goes on is killed with its parent, and the sandbox can open no other session.
        """
        if self._exit_code is None:
            try:
                if is_readable(self._control.fileno(), _GRACE_S):
                    self._exit_code = protocol.receive(self._control)[1]["exit_code"]
                else:
                    self._kill()
            except protocol.ConnectionClosedError:
                self._exit_code = self.process.wait()
        return self._exit_code


def _read_own_source(file: str) -> bytes:
    """A file of golf itself, by its path in the project."""
    return (_PROJECT_ROOT / file).read_bytes()


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _describe_exit(call: str, exit_code: int) -> str:
    """How a process ended during a call; a negative exit code is a signal's number."""
    if exit_code >= 0:
        return f"exited with code {exit_code} during {call}"
    hint = "; if memory ran out, lower evaluate.eval_batch_tokens" if exit_code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-exit_code).name} during {call}{hint}"
