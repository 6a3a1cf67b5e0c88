"""golf doctor: one line a check, JSON, and the exit code"""

import json
import os
import subprocess
import sys

import pytest

from golf.cli.doctor import machine_checks, project_checks
from golf.cli.doctor.finding import NOTE, OK, PROBLEM, MachineFinding
from golf.cli.main import main
from tests.helpers.tiny_corpus import ROOT

CHECKS = (
    "system", "packages", "programs", "params", "dvc", "disk", "cores", "gpu", "attention", "compiler", "dtype",
    "fence", "index", "hub",
)  # fmt: skip


@pytest.fixture
def statuses(monkeypatch) -> dict[str, str]:
    """The status of each check, OK unless a test sets another."""
    values = dict.fromkeys(CHECKS, OK)
    for name in CHECKS:
        module = machine_checks if hasattr(machine_checks, f"check_{name}") else project_checks
        monkeypatch.setattr(
            module, f"check_{name}", lambda cfg, name=name: MachineFinding(name, values[name], "state", "hint")
        )
    return values


def test_every_check_is_one_line_and_the_last_line_says_whether_make_run_works(statuses, capsys):
    statuses["fence"] = NOTE
    assert main(["doctor"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == list(CHECKS)
    assert [line.split()[0] for line in lines].count(NOTE) == 1
    assert last == "make run works here: 1 note"


def test_a_problem_is_exit_code_1(statuses, capsys):
    statuses.update(dvc=PROBLEM, hub=NOTE, index=NOTE)
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "make run can't work here: 1 problem, 2 notes"
    assert captured.err == ""


def test_json_has_the_documented_keys(statuses, capsys):
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["version", "can_run", "checks"]
    assert (report["version"], report["can_run"]) == (1, True)
    assert [list(row) for row in report["checks"]] == [["check", "status", "found", "cure"]] * len(CHECKS)
    statuses["disk"] = PROBLEM
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["can_run"] is False


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("driver\nlost"), NOTE), (ImportError("no torch"), PROBLEM)]
)
def test_a_check_that_can_not_be_made_is_a_finding_and_the_others_are_made(
    statuses, capsys, monkeypatch, error, status
):
    def fail(cfg):
        raise error

    monkeypatch.setattr(machine_checks, "check_gpu", fail)
    assert main(["doctor"]) == (status == PROBLEM)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS) + 1
    row = lines[CHECKS.index("gpu")]
    assert row.split()[0] == status
    assert " ".join(str(error).split()) in row


@pytest.mark.slow
def test_this_machine_can_run_the_project(tmp_path):
    env = os.environ | {"PIP_INDEX_URL": "http://127.0.0.1:9", "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-m", "golf", "doctor", "--json"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert [row["check"] for row in report["checks"]] == list(CHECKS)
    assert [row for row in report["checks"] if row["status"] == PROBLEM] == []
    assert [row["found"] for row in report["checks"] if row["found"].startswith("NOT-RUN")] == []
