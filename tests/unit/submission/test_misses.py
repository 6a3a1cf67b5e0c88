"""Every kind of defect that a review once missed is found, in its own words, with file and line where there is one."""

import pytest

from tests.helpers import submission_folders
from tests.helpers.submission_changes import Miss
from tests.helpers.submission_figure_misses import FIGURE_MISSES
from tests.helpers.submission_misses import MISSES


@pytest.mark.parametrize(
    "case", [*MISSES, *FIGURE_MISSES], ids=lambda case: f"{case.row}-{case.check}-{case.words[0]}".replace(" ", "_")
)
def test_the_defect_is_found_with_its_severity(tmp_path, case: Miss):
    case.write(tmp_path / "folder")
    findings = submission_folders.review(tmp_path / "folder").findings
    texts = [
        f"{one.text} ({one.where})" for check, one in findings if (check, one.severity) == (case.check, case.severity)
    ]
    assert any(all(word in text for word in case.words) for text in texts), [
        (check, one.severity, one.text, one.where) for check, one in findings
    ]
