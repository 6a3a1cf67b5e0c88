"""golf/cli/main.py: exit codes of golf check"""

import pytest

from golf.artifacts import io
from golf.cli.main import main
from golf.compliance import verdict
from golf.compliance.check_result import FAIL, NOT_RUN, UNRULED, CheckResult
from tests.unit.compliance.test_verdict import given_


@pytest.fixture
def verdict_dir(tmp_path, monkeypatch):
    """A folder with the verdict of a run of which everything passes."""
    monkeypatch.chdir(tmp_path)
    io.write_json(verdict.VERDICT_PATH, given_().to_dict())


@pytest.mark.parametrize(("status", "code"), [(FAIL, 1), (UNRULED, 0), (NOT_RUN, 0)])
def test_strict_makes_a_row_that_fails_an_exit_code_and_the_report_stays_the_same(verdict_dir, capsys, status, code):
    io.write_json(verdict.VERDICT_PATH, given_(CheckResult("B-e", status)).to_dict())
    assert (main(["check"]), main(["check", "--strict"])) == (0, code)
    said, complaint = capsys.readouterr()
    assert said == 2 * f"{verdict.load_report()[0]}\n"
    assert complaint == ""


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"checks": 3}', b'{"checks": [{"status": "PASS"}]}', b"\xff"])
def test_a_verdict_that_can_not_be_read_is_one_message_that_names_it(verdict_dir, capsys, data):
    assert main(["check"]) == 0
    capsys.readouterr()
    io.write_bytes(verdict.VERDICT_PATH, data)
    assert main(["check"]) == 1
    said, complaint = capsys.readouterr()
    assert said == ""
    assert complaint.startswith(f"golf check: {verdict.VERDICT_PATH}: ")
    assert complaint.count("dvc ") == 1, "the way to another one"
    assert len(complaint.splitlines()) == 1
