"""One experiment at a time by DVC, and the files of those that have ended.

``dvc exp run --temp`` runs in the foreground in a copy of the project. Its queue (``dvc queue start``) runs the same
copy by a worker in the background, which also takes experiments that somebody else has queued, keeps on after this
command is interrupted, and reports a failure only as a word in a table. Here the exit code, the output and the
interrupt are those of the child process, and there is one worker by construction.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from golf.errors import ArtifactError, UnavailableError
from golf.pipeline import lock, signals

__all__ = ["DvcExperiments", "ExperimentFiles", "Experiments"]

_STOP_GRACE_S = 60.0  # for training to save its state and for DVC to remove its copy of the project
_FETCH_HINT = "get it with: dvc exp pull REMOTE NAME, or run the seed here: dvc exp remove NAME"


class ExperimentFiles(Protocol):
    """The files of an experiment that has ended, by their path in the project."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError, or ArtifactError if DVC's cache lacks it."""

    def copy(self, path: str, destination: Path) -> None:
        """Write a file's content to ``destination``. Raises as ``read`` does."""


class Experiments(Protocol):
    """What a campaign asks of DVC and Git."""

    def find_untracked(self, *paths: str) -> list[str]:
        """Return the files below the paths that neither Git nor DVC knows, which an experiment would lack."""

    def find(self, name: str) -> list[str]:
        """Return the revisions of the experiments of this name."""

    def run(self, name: str, overrides: Mapping[str, str], log: Path, on_start: Callable[[int], None]) -> int:
        """Run an experiment to its end and return the exit code. on_start: gets the process id."""

    def open(self, revision: str) -> ExperimentFiles:
        """Return the files of an experiment."""


class DvcExperiments:
    """Experiments of the project in the current folder."""

    def __init__(self) -> None:
        """Raises UnavailableError outside of a Git repository with a commit that DVC manages."""
        if not Path(".dvc").is_dir():
            raise UnavailableError(".dvc: not found; run this command in the project's folder, which holds dvc.yaml")
        try:
            _run_git("rev-parse", "--verify", "--quiet", "HEAD")
        except (FileNotFoundError, subprocess.CalledProcessError):
            raise UnavailableError(
                "DVC keeps experiments in Git, and this folder is no Git repository with a commit; run: git init && "
                "git add --all && git commit --message start"
            ) from None

    def find_untracked(self, *paths: str) -> list[str]:
        return _run_git("ls-files", "--others", "--exclude-standard", "--", *paths).splitlines()

    def find(self, name: str) -> list[str]:
        refs = _run_git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
        entries = (line.split(maxsplit=1) for line in refs)
        return [revision for revision, ref in entries if ref.count("/") == 4 and ref.endswith(f"/{name}")]

    def run(self, name: str, overrides: Mapping[str, str], log: Path, on_start: Callable[[int], None]) -> int:
        signals.install_handlers()
        settings = [word for key, text in overrides.items() for word in ("--set-param", f"{key}={text}")]
        command = [sys.executable, "-P", "-m", "dvc", "exp", "run", "--temp", "--name", name, *settings]
        with open(log, "ab") as log_file:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_make_env(), start_new_session=True
            )
            reader = threading.Thread(target=_copy_output, args=(process.stdout, log_file), daemon=True)
            reader.start()
            try:
                on_start(process.pid)
                exit_code = process.wait()
            except BaseException:
                _stop(process)
                raise
            finally:
                reader.join()
        return exit_code

    def open(self, revision: str) -> ExperimentFiles:
        return _RevisionFiles(revision)


class _RevisionFiles:
    """The files that Git and DVC have of a revision."""

    def __init__(self, revision: str) -> None:
        from dvc.api import DVCFileSystem

        self._fs: Any = DVCFileSystem(".", rev=revision)
        self._revision = revision

    def read(self, path: str) -> bytes:
        return self._guard(path, lambda: self._fs.read_bytes(path))

    def copy(self, path: str, destination: Path) -> None:
        self._guard(path, lambda: self._fs.get_file(path, str(destination)))

    def _guard(self, path: str, action: Callable[[], Any]) -> Any:
        from dvc.exceptions import DvcException

        if not self._fs.isfile(path):
            raise FileNotFoundError(path)
        try:
            return action()
        except (DvcException, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ArtifactError(f"{path} of experiment {self._revision[:12]}", reason, _FETCH_HINT) from None


def _make_env() -> dict[str, str]:
    """The experiment's environment: a later copy resumes interrupted training, and this Python runs the stages."""
    bin_dir, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    path = path if bin_dir in path.split(os.pathsep) else f"{bin_dir}{os.pathsep}{path}"
    runs_dir = str(lock.get_resume_dir("train").parent.resolve())
    return os.environ | {"PATH": path, lock.RESUME_DIR_ENV: runs_dir, "PYTHONUNBUFFERED": "1"}


def _copy_output(source: IO[bytes], log_file: IO[bytes]) -> None:
    """Pass the child's output on to the log and to stderr; stdout is for the table."""
    while data := os.read(source.fileno(), 1 << 16):
        log_file.write(data)
        log_file.flush()
        sys.stderr.write(data.decode(errors="replace"))
        sys.stderr.flush()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the experiment as Ctrl-C does, which lets training save its state; after the grace, or at once when this
    command is interrupted again, kill it.
    """
    try:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(_STOP_GRACE_S)
    except ProcessLookupError:
        process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _run_git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, check=True, encoding="utf-8").stdout
