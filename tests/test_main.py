"""golf/__main__.py: exit codes of golf check"""

import pytest
from test_verdict import given_

from golf.__main__ import main
from golf.ground import store
from golf.rules import verdict
from golf.rules.finding import FAIL, NOT_RUN, UNRULED, Finding


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the verdict of a run of which everything passes."""
    monkeypatch.chdir(tmp_path)
    store.write_json(verdict.FILE, given_().tree())


@pytest.mark.parametrize(("status", "code"), [(FAIL, 1), (UNRULED, 0), (NOT_RUN, 0)])
def test_strict_makes_a_row_that_fails_an_exit_code_and_the_report_stays_the_same(here, capsys, status, code):
    store.write_json(verdict.FILE, given_(Finding("B-e", status)).tree())
    assert (main(["check"]), main(["check", "--strict"])) == (0, code)
    said, complaint = capsys.readouterr()
    assert said == 2 * f"{verdict.of_run()[0]}\n"
    assert complaint == ""


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"checks": 3}', b'{"checks": [{"status": "PASS"}]}', b"\xff"])
def test_a_verdict_that_can_not_be_read_is_one_message_that_names_it(here, capsys, data):
    assert main(["check"]) == 0
    capsys.readouterr()
    store.write_bytes(verdict.FILE, data)
    assert main(["check"]) == 1
    said, complaint = capsys.readouterr()
    assert said == ""
    assert complaint.startswith(f"golf check: {verdict.FILE}: ")
    assert complaint.count("dvc ") == 1, "the way to another one"
    assert len(complaint.splitlines()) == 1
