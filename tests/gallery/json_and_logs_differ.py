"""A submission.json with another score than its logs: the files are not of one run (#86, #2118, #2124)."""

from pathlib import Path

from gallery.case import Violation

from golf.compliance.check_result import CheckResult
from tests.helpers import submission_folders

CASE = Violation(24, "json and logs of different runs", "#86 #2118 #2124", ("M-e",))


def check_submission(project_dir: Path) -> list[CheckResult]:
    folder = submission_folders.write_valid_submission(project_dir / "bundle", claims={"val_bpb": 1.0741})
    return submission_folders.run_checks(folder)
