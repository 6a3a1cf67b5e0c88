"""``golf bundle``: verify what evaluations left, then write the submission folder."""

import dataclasses
import tempfile
from pathlib import Path

from golf.artifacts import lineage
from golf.cli import verification
from golf.cli.campaign import state
from golf.cli.campaign.experiments import ExperimentFiles, Experiments
from golf.compliance import verdict
from golf.config import loader
from golf.errors import ArtifactError, InputError
from golf.submission.bundle import folder
from golf.submission.bundle.folder import Author

__all__ = ["bundle_campaign", "bundle_runs", "bundle_settings"]

_LOG = "evaluate/evaluation_log.jsonl"
_RUN_FILES = (  # what a bundle reads of a run, below artifacts/; verdict.json names more files of evaluate
    *(f"compress/{name}" for name in ("sizes.json", "bundle.pyz")),
    *(f"train/{name}" for name in ("timing.json", "metrics.json", "log.csv", "dev.csv")),
    *(f"fetch/{split}/index.json" for split in ("train", "val")),
    "fetch/manifest.json",
    "calibrate/timing.json",
    *(f"evaluate/{name}" for name in ("metrics.json", "verdict.json")),
    _LOG,
)


def bundle_runs(out: Path, other_runs: list[Path], author: tuple[str, str, str]) -> str:
    """Write the folder of the run in the current folder and of ``other_runs``; return what was written.

    author: their name, GitHub id, and the submission's name.
    Raises ArtifactError when an evaluation does not agree with its ledgers and log, and what ``folder.write_folder``
    raises.
    """
    return _bundle_workspaces(out, [Path("."), *other_runs], author)


def bundle_campaign(out: Path, name: str, author: tuple[str, str, str], experiments: Experiments) -> str:
    """Write the folder of all seeds of a campaign, given by name or folder; return what was written.

    experiments: those of the project in the current folder, whose files are copied into a folder for the time being.
    Raises InputError for a campaign that does not exist or lacks a score, and what ``bundle_runs`` raises.
    """
    campaign = state.load_by_name(name, "--campaign")
    if campaign.missing_seeds:
        missing, seeds = (", ".join(map(str, group)) for group in (campaign.missing_seeds, campaign.seeds))
        raise InputError(
            f"--campaign {campaign.name}: seed {missing} has no score; finish it with: golf campaign --name "
            f"{campaign.name} --seeds {seeds.replace(',', '')}"
        )
    runs = [next(run for run in campaign.runs if run["seed"] == seed) for seed in campaign.seeds]
    with tempfile.TemporaryDirectory(prefix="golf-bundle-") as scratch:
        workspaces = [Path(scratch) / f"seed_{run['seed']}" for run in runs]
        for run, workspace in zip(runs, workspaces, strict=True):
            _copy_run(experiments.open(run["revision"]), run["experiment"], workspace / "artifacts")
        return _bundle_workspaces(out, workspaces, author)


def _copy_run(files: ExperimentFiles, name: str, artifacts: Path) -> None:
    """Copy what a bundle reads of an experiment's run. Raises ArtifactError for a file that it lacks."""
    _copy_files(files, name, artifacts, _RUN_FILES)
    record = verdict.read_verdict(artifacts / "evaluate/verdict.json")
    digests = record["files"] if isinstance(record.get("files"), dict) else {}  # verification names what is wrong
    _copy_files(files, name, artifacts, tuple(f"evaluate/{path}" for path in digests))


def _copy_files(files: ExperimentFiles, name: str, artifacts: Path, paths: tuple[str, ...]) -> None:
    for path in paths:
        target = artifacts / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.copy(f"artifacts/{path}", target)
        except FileNotFoundError:
            is_log = path == _LOG
            hint = f"experiments hold what Git tracks: git add artifacts/{_LOG}, commit, run again" if is_log else None
            raise ArtifactError(f"artifacts/{path} of experiment {name}", "not found", hint) from None


def _bundle_workspaces(out: Path, workspaces: list[Path], author: tuple[str, str, str]) -> str:
    for workspace in workspaces:
        root = workspace if (workspace / "artifacts").is_dir() else workspace.parent
        if (verdict_path := root / verdict.VERDICT_PATH).is_file():
            verification.verify_evaluation(verdict_path)
    return folder.describe_folder(out, folder.write_folder(out, workspaces, Author(*author)))


def bundle_settings(out: Path, params_path: Path, author: tuple[str, str, str]) -> str:
    """Write a folder for the settings of a params file, without any figure; return what was written.

    Raises ConfigError for settings that are invalid or that a bundle can't follow.
    """
    cfg = loader.load_config(params_path)
    n_bytes = folder.write_unmeasured_folder(out, dataclasses.asdict(cfg), lineage.REPO_ROOT, Author(*author))
    return f"{out}: README.md, submission.json and train_gpt.py of {n_bytes:,} bytes; score and model: NOT-RUN"
