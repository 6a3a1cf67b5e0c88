"""golf/submission/checks/readme.py: README.md and submission.json name one headline"""

import pytest

from golf.submission.findings import CONTRADICTS
from tests.helpers.submission_folders import outcome, write_valid_submission


@pytest.mark.parametrize("words", ["val_bpb 1.05", "val_bpb: **1.05**", "val_bpb = 1.050"])
def test_a_headline_of_few_decimals_is_found_by_its_label(tmp_path, words):
    folder = write_valid_submission(tmp_path, {42: 1.05}, claims={"val_bpb": 1.05})
    (folder / "README.md").write_text(f"# A model\n\nIt has {words}.\n")
    assert outcome(folder, "README").findings == ()


def test_another_headline_contradicts_submission_json(tmp_path):
    folder = write_valid_submission(tmp_path, {42: 1.05}, claims={"val_bpb": 1.05})
    (folder / "README.md").write_text("# A model\n\nIt has val_bpb 1.03.\n")
    (finding,) = outcome(folder, "README").findings
    assert finding.severity == CONTRADICTS
    assert "never gives submission.json's val_bpb 1.05; it names 1.03" in finding.text
