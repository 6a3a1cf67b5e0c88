"""Seeds that were trained on different data: one log names 39 shards, the others 80 (#1851, #1868)."""

from pathlib import Path

from gallery.case import Violation

from golf.compliance.check_result import CheckResult
from tests.helpers import submission_folders

CASE = Violation(25, "seeds trained on different data", "#1851 #1868", ("one run",))


def check_submission(project_dir: Path) -> list[CheckResult]:
    folder = submission_folders.write_valid_submission(project_dir / "bundle")
    seed, bpb = next(iter(submission_folders.BPB_BY_SEED.items()))
    (folder / f"train_seed{seed}.log").write_text(submission_folders.modern_log(seed, bpb, shards=39))
    return submission_folders.run_checks(folder)
