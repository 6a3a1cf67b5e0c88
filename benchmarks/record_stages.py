"""All stages of one configuration, then scripts that measure what they made, each once and kept in a state folder.

The stages are ``techniques_runs``' own: one whose parameters, code and inputs are those of an earlier start is not run
again, and training goes on within a run. In the state folder, ``run/`` has params.yaml and links to the stages'
artifacts; scripts run there, with the code of this working tree, and are kept by the digests of their code, their
arguments and the stages that they need.
"""

import io as text_io
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from benchmarks.measured_process import read_usage, run_measured
from benchmarks.techniques_runs import StageError, StageResult, StageRunner, copy_source
from golf.artifacts import io, source_deps
from golf.config import loader
from golf.config.loader import Config
from golf.distributed.launcher import STARTED_AT_ENV
from golf.pipeline.stage_names import STAGES

__all__ = ["NOT_RUN", "NOT_RUN_ROW", "ROOT", "ProfileRun", "Script", "hash_files", "log"]

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = "NOT-RUN"
NOT_RUN_ROW = {"status": NOT_RUN, "seconds": None, "cpu_seconds": None, "peak_bytes": None, "starts": 0}
_USAGE_FILE, _LOG_FILE = "usage.jsonl", "log.txt"


@dataclass(frozen=True)
class Script:
    """A command that measures what stages made; it runs in the folder ``run/`` and writes ``output`` in its own.

    arguments: of Python. sources: the benchmark scripts that decide what it writes, by their paths. needs: stages.
    limit_s: None: no limit of its own.
    """

    name: str
    arguments: tuple[str, ...]
    output: str
    needs: tuple[str, ...] = STAGES
    sources: tuple[str, ...] = ()
    limit_s: float | None = None


class ProfileRun:
    """One configuration in a state folder.

    folder: ``run/``. cfg: the configuration. device: of training, the CPU where there is no GPU. rows: what ran, by
    stage and script, in order: the status and what ``read_usage`` says.
    """

    def __init__(
        self, state: Path, params_tree: dict[str, Any], *, corpus: Mapping[str, Any], links: Mapping[str, Path]
    ) -> None:
        """corpus, links: see ``StageRunner``. Raises ConfigError when the parameters are not valid."""
        self.folder, self._state, self._params = state / "run", state.resolve(), params_tree
        io.remove_dirs(self.folder)
        (self.folder / "artifacts").mkdir(parents=True)
        params_yaml = text_io.StringIO()
        YAML(typ="safe", pure=True).dump(params_tree, params_yaml)
        io.write_bytes(self.folder / "params.yaml", params_yaml.getvalue().encode())
        self.cfg: Config = loader.load_config(self.folder / "params.yaml")
        has_gpu = self.cfg.train.device != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if has_gpu else "cpu")
        self._runner = StageRunner(self._state, copy_source(self._state), corpus=corpus, links=links, echo=True)
        self._results: dict[str, StageResult] = {}
        self.rows: dict[str, dict[str, Any]] = {}

    def run_stages(self, deadline_s: float = math.inf) -> Iterator[str]:
        """Run the stages in order, and yield each name with its row in ``rows``: NOT-RUN after one that failed.

        deadline_s: of ``time.monotonic``, at which the stage that runs is ended.
        """
        for stage in STAGES:
            complete = all(row["status"] == "ok" for row in self.rows.values())
            self.rows[stage] = self._run_stage(stage, deadline_s) if complete else dict(NOT_RUN_ROW)
            yield stage

    def _run_stage(self, stage: str, deadline_s: float) -> dict[str, Any]:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return NOT_RUN_ROW | {"status": f"{NOT_RUN}, no time was left"}
        log(f"{stage}: in {self._state}/work")
        try:
            result = self._runner.run(stage, self._params, timeout_s=None if math.isinf(left_s) else left_s)
        except StageError as error:
            return NOT_RUN_ROW | {"status": f"failed: {error}"}
        except TimeoutError as error:
            return NOT_RUN_ROW | {"status": f"{NOT_RUN}, {error}"}
        self._results[stage] = result
        (self.folder / "artifacts" / stage).symlink_to(result.folder)
        log(f"{stage}: {'done' if result.is_new else 'kept from an earlier start'}")
        return NOT_RUN_ROW | {"status": "ok"} | result.usage

    def run_script(self, script: Script) -> Path | None:
        """Run a script, or take its output from an earlier start; None when it failed or what it needs is missing."""
        if missing := [stage for stage in script.needs if stage not in self._results]:
            self.rows[script.name] = NOT_RUN_ROW | {"status": f"{NOT_RUN}, needs {missing[0]}"}
            return None
        facts = {
            "arguments": script.arguments,
            "inputs": {stage: self._results[stage].digest for stage in script.needs},
            "sources": hash_files(ROOT, source_deps.find_import_closure(*script.sources, root=ROOT)),
        }
        name = f"{script.name}-{io.sha256_json(facts)[:16]}"
        done, work = self._state / "scripts" / name, self._state / "work" / name
        is_new = not done.is_dir()
        if is_new:
            work.mkdir(parents=True, exist_ok=True)
            self.rows[script.name] = self._run_in(work, script)
            if self.rows[script.name]["status"] != "ok":
                return None
            io.write_json(work / "done.json", facts)
            done.parent.mkdir(parents=True, exist_ok=True)
            work.rename(done)
        log(f"{script.name}: {'done' if is_new else 'kept from an earlier start'}")
        self.rows[script.name] = NOT_RUN_ROW | {"status": "ok"} | read_usage(done / _USAGE_FILE)
        return done / script.output

    def _run_in(self, work: Path, script: Script) -> dict[str, Any]:
        log(f"{script.name}: in {work}")
        arguments = [text.replace("{output}", str(work / script.output)) for text in script.arguments]
        env = {key: value for key, value in os.environ.items() if key != STARTED_AT_ENV} | {"PYTHONPATH": str(ROOT)}
        options = {"cwd": self.folder, "env": env, "timeout_s": script.limit_s, "log_path": work / _LOG_FILE}
        try:
            exit_code = run_measured([sys.executable, *arguments], work / _USAGE_FILE, **options, echo=True)
        except TimeoutError as error:
            return NOT_RUN_ROW | {"status": f"{NOT_RUN}, {error}"}
        if exit_code or not (work / script.output).is_file():
            lines = (work / _LOG_FILE).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return NOT_RUN_ROW | {"status": f"failed: {(lines or [f'exit code {exit_code}'])[-1]}"}
        return NOT_RUN_ROW | {"status": "ok"}


def hash_files(root: Path, paths: Sequence[str]) -> dict[str, str]:
    return {path: io.sha256_file(root / path) for path in paths}


def log(text: str) -> None:
    print(f"record    {text}", file=sys.stderr, flush=True)
