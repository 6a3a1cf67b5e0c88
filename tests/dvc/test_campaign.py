"""golf campaign over a tiny project: two seeds end to end, an interrupt, their bundle, another machine's share."""

import json
import signal
import subprocess
import sys

import pytest

from tests.helpers import tiny_project

GOLF = (sys.executable, "-m", "golf")


@pytest.fixture
def project_dir(finished_run, tmp_path):
    """The finished run, committed, with a remote in a folder."""
    folder = tiny_project.copy_project(finished_run, tmp_path / "project")
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.dvc(folder, "remote", "add", "--default", "store", str(tmp_path / "store"))
    tiny_project.dvc(folder, "commit", "--force")
    tiny_project.git(folder, "add", "--all")
    tiny_project.git(folder, "commit", "--quiet", "--message", "the finished run")
    return folder


def interrupt_in_training(folder, *arguments: str) -> tuple[int, str]:
    """Send SIGINT to the command alone once its experiment trains; its exit code and output."""
    with subprocess.Popen(
        [*GOLF, *arguments],
        cwd=folder,
        env=tiny_project.isolated_env(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        lines = []
        for line in running.stdout:
            if " steps  loss " in line and not any(" steps  loss " in earlier for earlier in lines):  # it trains
                running.send_signal(signal.SIGINT)
            lines.append(line)
        return running.wait(), "".join(lines)


@pytest.mark.slow
def test_two_seeds_end_to_end_with_an_interrupt_and_their_transfer_to_another_clone(project_dir, tmp_path):
    exit_code, output = interrupt_in_training(project_dir, "campaign", "--seeds", "42", "314", "--name", "two")
    assert exit_code == 1, output
    last_line = output.splitlines()[-1]
    expected = "golf campaign: interrupted at seed 42; 0 of 2 seeds have a score; the same command resumes"
    assert last_line == expected, output
    assert "Traceback" not in output

    command = (*GOLF, "campaign", "--seeds", "42", "314", "--name", "two")
    table = tiny_project.run_command(project_dir, *command).stdout
    assert "Running stage 'train'" in table
    assert "Running stage 'fetch'" not in table
    again = tiny_project.run_command(project_dir, *command).stdout
    assert again.splitlines()[0] == "campaign two: 2 of 2 seeds have a score"
    assert table.endswith(again)
    report = json.loads(tiny_project.run_command(project_dir, *GOLF, "campaign", "--show", "two", "--json").stdout)
    assert [(run["seed"], run["order"], run["attempts"]) for run in report["runs"]] == [(42, 1, 2), (314, 2, 1)]
    assert len({run["bpb"] for run in report["runs"]}) == 2
    assert report["statistics"]["bpb"]["sd"] > 0
    assert tiny_project.git(project_dir, "status", "--porcelain") == "", "the workspace stays as it was"
    assert list((project_dir / ".dvc/tmp/exps/standalone").glob("tmp*")) == []

    bundled = tiny_project.run_command(project_dir, *GOLF, "bundle", "--campaign", "two", "--out", "bundled").stdout
    assert "logs of seed 42, 314" in bundled
    reviewed = tiny_project.run_command(project_dir, *GOLF, "check-submission", "bundled", "--strict").stdout
    assert "nothing found" in reviewed

    refused = tiny_project.run_command(project_dir, *command, "--set", "ttt.lr=0.02", exit_code=1).stdout
    assert "is not mixed with other settings, code or data: setting ttt.lr: 0.01 and 0.02" in refused

    names = [run["experiment"] for run in report["runs"]]
    tiny_project.git(tmp_path, "init", "--quiet", "--bare", "hub")
    tiny_project.git(project_dir, "remote", "add", "origin", str(tmp_path / "hub"))
    tiny_project.git(project_dir, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    tiny_project.dvc(project_dir, "exp", "push", "origin", *names)
    tiny_project.git(tmp_path, "clone", "--quiet", "--branch", "main", str(tmp_path / "hub"), "other")
    tiny_project.dvc(tmp_path / "other", "exp", "pull", "origin", *names)
    taken = tiny_project.run_command(tmp_path / "other", *command, "--json").stdout
    assert "Running stage" not in taken
    scores = [run["bpb"] for run in json.loads(taken[taken.index("\n{") :])["runs"]]
    assert scores == [run["bpb"] for run in report["runs"]]
