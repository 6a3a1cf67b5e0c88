"""Stages of the pipeline, each run once for its parameters, code and inputs, and kept by their digest.

dvc.yaml says which keys of params.yaml a stage reads and which other stages' artifacts. A stage runs as a module in a
folder of its own. A killed one leaves its folder, so that training continues where it was. The code is copied first, so
that no edit reaches a run.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from golf.artifacts import io, source_deps
from golf.distributed.launcher import STARTED_AT_ENV
from golf.errors import GolfError

__all__ = ["SCORE", "StageError", "StageResult", "StageRunner", "copy_source"]

_ROOT = Path(__file__).resolve().parents[1]
SCORE = "score"  # techniques_scoring.py, which stands for evaluate
_SCORING = "benchmarks/techniques_scoring.py"
_SCORE_KEYS = ("model", "ttt", "lora", "phased", "memory", "evaluate")
_DIGEST_CHARS = 16

_Params = Mapping[str, Mapping[str, Any]]  # the sections of params.yaml


class StageError(GolfError):
    """A stage failed; the message is its own last one."""


@dataclass(frozen=True)
class StageResult:
    """folder: the stage's artifacts. digest: of what they follow from. is_new: it ran now."""

    folder: Path
    digest: str
    is_new: bool


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

    def __init__(self, state: Path, source: Path, *, corpus: Mapping[str, Any], texts: Path | None) -> None:
        """corpus: what identifies the text that fetch reads, beside its parameters. texts: fetch.path, or None."""
        self._state, self._source, self._corpus, self._texts = state, source, dict(corpus), texts
        self._graph = YAML(typ="safe", pure=True).load((source / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self._sources: dict[str, dict[str, str]] = {}

    def run(self, stage: str, params: _Params, *, mode: str | None = None) -> StageResult:
        """The artifacts of a stage, and before it of those that it reads; from the folder of results where they are.

        stage: one of dvc.yaml, or SCORE in a scoring ``mode``. Raises StageError with the stage's message.
        """
        inputs = {name: self.run(name, params) for name in self._list_inputs(stage, params)}
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
            started_at = time.perf_counter()
            self._run_process(work, stage, mode)
            io.write_json(work / "done.json", facts | {"seconds": round(time.perf_counter() - started_at, 1)})
            done.parent.mkdir(parents=True, exist_ok=True)
            io.remove_dirs(work / "runs")
            work.rename(done)
        return StageResult(done / "artifacts" / stage, digest, is_new)

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
                source_deps.import_closure(_SCORING, root=self._source, excluded=source_deps.NON_SEMANTIC)
                if stage == SCORE
                else source_deps.stage_sources(stage, self._source)
            )
            self._sources[stage] = {file: io.sha256_file(self._source / file) for file in files}
        return self._sources[stage]

    def _prepare(self, work: Path, stage: str, params: _Params, inputs: Mapping[str, StageResult]) -> None:
        """Make the folder, or complete that of a killed stage."""
        (work / "artifacts").mkdir(parents=True, exist_ok=True)
        links = {work / "artifacts" / name: result.folder for name, result in inputs.items()}
        links |= {work / name: self._source / name for name in ("golf", "stages")}  # compress packs what lies there
        if self._texts is not None:
            links[work / "texts"] = self._texts
        for link, target in links.items():
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve())
        with open(work / "params.yaml", "w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(dict(params), file)

    def _run_process(self, work: Path, stage: str, mode: str | None) -> None:
        command = [sys.executable, "-m", f"stages.{stage}"]
        if stage == SCORE:
            command = [sys.executable, str(self._source / _SCORING), str(mode)]
        env = {key: value for key, value in os.environ.items() if key != STARTED_AT_ENV}
        log_path = work / "log.txt"
        with open(log_path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, cwd=work, env=env | {"PYTHONPATH": str(self._source)}, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                exit_code = process.wait()
            except BaseException:  # this process is ending: the stage saves what it can
                process.terminate()
                process.wait()
                raise
        if exit_code:
            lines = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            own = [line for line in lines if line.startswith(f"{stage}: ")]
            raise StageError((own or lines or [f"{stage} ended with exit code {exit_code}"])[-1])


def _get(params: _Params, dotted: str) -> Any:
    section, _, key = dotted.partition(".")
    return params[section][key] if key else params[section]
