"""``golf bundle``: verify what an evaluation left, then write the submission folder."""

import dataclasses
from pathlib import Path

from golf.artifacts import lineage
from golf.cli import verification
from golf.compliance import verdict
from golf.config import loader
from golf.submission.bundle import folder
from golf.submission.bundle.folder import Author

__all__ = ["bundle_runs", "bundle_settings"]


def bundle_runs(out: Path, other_runs: list[Path], author: tuple[str, str, str]) -> str:
    """Write the folder of the run in the current folder and of ``other_runs``; return what was written.

    author: their name, GitHub id, and the submission's name.
    Raises ArtifactError when an evaluation does not agree with its ledgers and log, and what ``folder.write_folder``
    raises.
    """
    workspaces = [Path("."), *other_runs]
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
