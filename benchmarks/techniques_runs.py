"""Stages of the pipeline, each run once for its parameters, code and inputs, and kept by their digest.

dvc.yaml says which keys of params.yaml a stage reads and which other stages' artifacts. A stage runs as a module in a
folder of its own. A killed one leaves its folder, so that training continues where it was. The code is copied first, so
that no edit reaches a run. What each stage took is measured (``measured_process``) and kept beside its artifacts.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.measured_process import read_usage, run_measured
from golf.artifacts import io, source_deps
from golf.distributed.launcher import STARTED_AT_ENV
from golf.errors import GolfError

__all__ = ["SCORE", "StageError", "StageResult", "StageRunner", "copy_source"]

_ROOT = Path(__file__).resolve().parents[1]
SCORE = "score"  # techniques_scoring.py, which stands for evaluate
_SCORING = "benchmarks/techniques_scoring.py"
_SCORE_KEYS = ("model", "ttt", "lora", "phased", "memory", "evaluate")
_DIGEST_CHARS = 16
_USAGE_FILE = "usage.jsonl"

_Params = Mapping[str, Mapping[str, Any]]  # the sections of params.yaml


class StageError(GolfError):
    """A stage failed; the message is its own last one."""


@dataclass(frozen=True)
class StageResult:
    """folder: the stage's artifacts. digest: of what they follow from. is_new: it ran now.

    usage: what it took, in all starts that it needed (``read_usage``); empty where nothing measured it.
    """

    folder: Path
    digest: str
    is_new: bool
    usage: Mapping[str, Any]


def copy_source(state: Path) -> Path:
    """Copy what the stages run below ``state``, in a folder named by its digest, and return that."""
    files = [*sorted((_ROOT / "golf").rglob("*.py*")), *sorted((_ROOT / "stages").glob("*.py"))]
    files = [file for file in files if file.suffix in (".py", ".pyi")] + [_ROOT / "dvc.yaml", _ROOT / _SCORING]
    digests = {file.relative_to(_ROOT).as_posix(): io.sha256_file(file) for file in files}
    folder = state / "source" / io.sha256_json(digests)[:_DIGEST_CHARS]
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        io.remove_dirs(partial)
        for name in digests:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_ROOT / name, partial / name)
        partial.rename(folder)
    return folder


class StageRunner:
    """Runs stages for any params.yaml, on one text."""

    def __init__(
        self,
        state: Path,
        source: Path,
        *,
        corpus: Mapping[str, Any],
        links: Mapping[str, Path],
        echo: bool = False,
    ) -> None:
        """corpus: what identifies the files that fetch reads, beside its parameters.

        links: these files or folders, by the paths that the parameters of fetch have for them. echo: stderr gets what
        the stages print.
        """
        self._state, self._source, self._corpus, self._links = state, source, dict(corpus), dict(links)
        self._echo = echo
        self._graph = YAML(typ="safe", pure=True).load((source / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self._sources: dict[str, dict[str, str]] = {}

    def run(
        self, stage: str, params: _Params, *, mode: str | None = None, timeout_s: float | None = None
    ) -> StageResult:
        """The artifacts of a stage, and before it of those that it reads; from the folder of results where they are.

        stage: one of dvc.yaml, or SCORE in a scoring ``mode``. timeout_s: of each that runs. Raises StageError with the
        stage's message, and TimeoutError.
        """
        inputs = {name: self.run(name, params, timeout_s=timeout_s) for name in self._list_inputs(stage, params)}
        facts = {
            "stage": stage,
            "mode": mode,
            "params": {key: _get(params, key) for key in self._list_keys(stage)},
            "sources": self._hash_sources(stage),
            "inputs": {name: result.digest for name, result in inputs.items()},
            "corpus": self._corpus if stage == "fetch" else None,
        }
        digest = io.sha256_json(facts)
        name = f"{stage}-{digest[:_DIGEST_CHARS]}"
        done, work = self._state / "stages" / name, self._state / "work" / name
        if is_new := not done.is_dir():
            self._prepare(work, stage, params, inputs)
            self._run_process(work, stage, mode, timeout_s)
            io.write_json(work / "done.json", facts)
            done.parent.mkdir(parents=True, exist_ok=True)
            io.remove_dirs(work / "runs")
            work.rename(done)
        usage = read_usage(done / _USAGE_FILE) if (done / _USAGE_FILE).is_file() else {}
        return StageResult(done / "artifacts" / stage, digest, is_new, usage)

    def _list_inputs(self, stage: str, params: _Params) -> list[str]:
        if stage == SCORE:
            return ["fetch", "compress"]
        deps = (
            re.sub(r"\$\{([\w.]+)\}", lambda match: str(_get(params, match[1])), dep)
            for dep in self._graph[stage]["deps"]
        )
        return sorted({Path(dep).parts[1] for dep in deps if dep.startswith("artifacts/")})

    def _list_keys(self, stage: str) -> tuple[str, ...]:
        return _SCORE_KEYS if stage == SCORE else tuple(self._graph[stage]["params"])

    def _hash_sources(self, stage: str) -> dict[str, str]:
        """Of the files that can change what the stage writes."""
        if stage not in self._sources:
            files = (
                source_deps.find_import_closure(_SCORING, root=self._source, excluded=source_deps.NON_SEMANTIC)
                if stage == SCORE
                else source_deps.list_stage_sources(stage, self._source)
            )
            self._sources[stage] = {file: io.sha256_file(self._source / file) for file in files}
        return self._sources[stage]

    def _prepare(self, work: Path, stage: str, params: _Params, inputs: Mapping[str, StageResult]) -> None:
        """Make the folder, or complete that of a killed stage."""
        (work / "artifacts").mkdir(parents=True, exist_ok=True)
        links = {work / "artifacts" / name: result.folder for name, result in inputs.items()}
        links |= {work / name: self._source / name for name in ("golf", "stages")}  # compress packs what lies there
        links |= {work / name: target for name, target in self._links.items()}
        for link, target in links.items():
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve())
        with open(work / "params.yaml", "w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(dict(params), file)

    def _run_process(self, work: Path, stage: str, mode: str | None, timeout_s: float | None) -> None:
        command = [sys.executable, "-m", f"stages.{stage}"]
        if stage == SCORE:
            command = [sys.executable, str(self._source / _SCORING), str(mode)]
        env = {key: value for key, value in os.environ.items() if key != STARTED_AT_ENV}
        env |= {"PYTHONPATH": str(self._source)}
        log_path = work / "log.txt"
        options = {"cwd": work, "env": env, "log_path": log_path, "timeout_s": timeout_s, "echo": self._echo}
        exit_code = run_measured(command, work / _USAGE_FILE, **options)
        if exit_code:
            lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            own = [line for line in lines if line.startswith(f"{stage}: ")]
            raise StageError((own or lines or [f"{stage} ended with exit code {exit_code}"])[-1])


def _get(params: _Params, dotted: str) -> Any:
    section, _, key = dotted.partition(".")
    return params[section][key] if key else params[section]
