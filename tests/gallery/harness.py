"""Run a gallery case: a finished run, the compliant predictor's artifact in it, and evaluate."""

import contextlib
import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gallery import bigram_predictor
from gallery.case import ARTIFACT_PATH, TRAIN_DIR

from golf.artifacts import io, json_records, lineage
from golf.compliance.check_result import CheckResult
from golf.data import split_reader
from golf.data.sources.package_docs import PACKAGES
from tests.helpers import tiny_project

_RESULT_FIELDS = ("check", "status", "measured", "limit", "note")


@dataclass(frozen=True)
class CaseOutcome:
    """headline: the verdict's summary, "" where there is none. results: by check id. metrics: metrics.json."""

    headline: str
    results: dict[str, CheckResult]
    metrics: dict

    def with_status(self, status: str) -> list[CheckResult]:
        return [result for result in self.results.values() if result.status == status]


def create_gallery_project(finished_run: Path, folder: Path) -> Path:
    """A copy of the finished run with the gallery's code and the compliant predictor's artifact."""
    tiny_project.copy_project(finished_run, folder)
    shutil.copytree(Path(__file__).parent, folder / "gallery", ignore=shutil.ignore_patterns("__pycache__"))
    tiny_project.set_params(folder, {"compress.limit_bytes": 1_000_000})
    with contextlib.chdir(folder):  # lineage names paths from there
        fit_bigrams(TRAIN_DIR)
    return folder


def fit_bigrams(split_dir: str) -> None:
    """Fit the compliant predictor to a split of the current folder, and write it with its lineage."""
    token_split = split_reader.open_split(split_dir)
    counts = np.full((token_split.vocab_size, token_split.vocab_size), 0.1)
    tokens = token_split.read_tokens()
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    table = torch.from_numpy(bigram_predictor.log_softmax(np.log(counts)).astype(np.float32))
    lineage_record = lineage.make_lineage("train", {"train": split_dir}, seed=1)
    io.save_tensors(
        ARTIFACT_PATH, {"table": table}, kind=bigram_predictor.ARTIFACT_KIND, meta={"lineage": lineage_record}
    )


def run_case(name: str, project_dir: Path) -> CaseOutcome:
    """Run the case ``gallery.<name>`` in ``project_dir``, a copy of the gallery project and the current folder."""
    module = importlib.import_module(f"gallery.{name}")
    tiny_project.set_params(project_dir, module.CASE.settings)
    if predictor := getattr(module, "CasePredictor", None):
        tiny_project.set_params(
            project_dir,
            {"evaluate.predictor": f"{predictor.__module__}:{predictor.__name__}", "evaluate.artifact": ARTIFACT_PATH},
        )
    if hasattr(module, "HAS_DOCS_CORPUS"):
        _name_docs_as_corpus(project_dir)
    if hasattr(module, "prepare_project"):
        module.prepare_project(project_dir)
    if hasattr(module, "check_submission"):
        return CaseOutcome("", {result.check: result for result in module.check_submission(project_dir)}, {})
    return run_evaluation()


def _name_docs_as_corpus(project_dir: Path) -> None:
    """Let the manifest say that the corpus is the docstrings of installed packages."""
    manifest_path = project_dir / "artifacts/fetch/manifest.json"
    manifest = io.read_json(manifest_path)
    source = {"kind": "docs", "packages": {name: {} for name in PACKAGES}}
    json_records.write_sealed(manifest_path, manifest | {"source": source})


def run_evaluation() -> CaseOutcome:
    """Run evaluate in this process, and read what it wrote into the current folder."""
    tiny_project.run_stage_in_process("evaluate")
    verdict = io.read_json("artifacts/evaluate/verdict.json")
    results = [CheckResult(*(row[key] for key in _RESULT_FIELDS)) for row in verdict["checks"]]
    return CaseOutcome(
        verdict["verdict"], {row.check: row for row in results}, io.read_json("artifacts/evaluate/metrics.json")
    )
