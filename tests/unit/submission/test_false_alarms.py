"""Folders of kinds that were merged or are honest have no severe finding, and what was read otherwise is said."""

import pytest

from golf.submission import report
from tests.helpers import submission_folders
from tests.helpers.submission_alarms import ALARMS, Alarm


@pytest.mark.parametrize("case", ALARMS, ids=lambda case: f"{case.row}-{'-'.join(case.words)}".replace(" ", "_"))
def test_an_honest_folder_has_no_severe_finding(tmp_path, case: Alarm):
    case.write(tmp_path / "folder")
    reviewed = submission_folders.review(tmp_path / "folder")
    severe = [
        (check, one.severity, one.text)
        for check, one in reviewed.findings
        if one.severity in ("breaks a rule", "contradicts itself")
    ]
    assert severe == []
    text = " ".join(report.render_review(reviewed, show_all=True).split())
    assert [word for word in case.words if word not in text] == []
