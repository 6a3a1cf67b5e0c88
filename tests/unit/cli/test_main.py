"""golf/cli/main.py: commands, exit codes, help and version"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.cli import main as cli
from golf.cli.main import main
from golf.compliance import verdict
from golf.compliance.check_result import FAIL, NOT_RUN, UNRULED, CheckResult
from golf.config import loader
from tests.helpers import committed, submission_folders, tiny_project
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.verdicts import write_evaluation


@pytest.fixture
def verdict_dir(tmp_path, monkeypatch):
    """A folder with the evaluation of a run that passes every check."""
    monkeypatch.chdir(tmp_path)
    write_evaluation(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("status", "code"), [(FAIL, 1), (UNRULED, 0), (NOT_RUN, 0)])
def test_strict_makes_a_failed_check_an_exit_code_and_prints_the_same_report(verdict_dir, capsys, status, code):
    write_evaluation(verdict_dir, CheckResult("B-e", status))
    assert (main(["verdict"]), main(["verdict", "--strict"])) == (0, code)
    captured = capsys.readouterr()
    assert captured.out == 2 * f"{verdict.load_report()[0]}\n"
    assert captured.err == ""


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"checks": 3}', b'{"checks": [{"status": "PASS"}]}', b"\xff"])
def test_a_verdict_that_can_not_be_read_is_one_message_that_names_it(verdict_dir, capsys, data):
    io.write_bytes(verdict.VERDICT_PATH, data)
    assert main(["verdict"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"golf verdict: {verdict.VERDICT_PATH}: ")
    assert captured.err.count("dvc ") == 1, "the hint"
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("source: docs ", "source: files ", "fetch.path: texts: no such folder; "),
        ("tokenizer: train ", "tokenizer: none.model ", "fetch.tokenizer: none.model: no such file; "),
    ],
)
def test_validate_names_the_key_of_a_missing_input(tmp_path, monkeypatch, capsys, old, new, problem):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "profiles/laptop.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace(old, new, 1))
    assert main(["validate"]) == 1
    assert capsys.readouterr().err.startswith(f"golf validate: {problem}")


@pytest.mark.parametrize("command", ["encode", "decode"])
@pytest.mark.parametrize(
    ("path", "kind"), [(".", "a folder"), ("none.txt", "not found"), ("/dev/null", "no regular file")]
)
def test_the_text_codec_refuses_what_is_no_file(tmp_path, monkeypatch, capsys, command, path, kind):
    monkeypatch.chdir(tmp_path)
    assert main([command, path]) == 1
    assert capsys.readouterr().err == f"golf {command}: {path}: {kind}; give the path of a file\n"
    assert list(tmp_path.iterdir()) == []


def test_the_text_codec_names_the_missing_artifact_and_what_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    Path("text").write_text("some text")
    assert main(["encode", "text"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("golf encode: artifacts/compress/model.golf: not found; ")
    assert "dvc repro compress" in message


def test_validate_names_the_profile_and_every_problem(tmp_path, capsys):
    text = (ROOT / "profiles/laptop.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text)
    assert main(["validate", str(tmp_path / "params.yaml")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/params.yaml: OK (profile laptop)\n"
    (tmp_path / "params.yaml").write_text(text.replace("  n_layers: 5", "  n_layers: -5").replace("  d_ff: 768\n", ""))
    assert main(["validate", str(tmp_path / "params.yaml")]) == 1
    problems = capsys.readouterr().err
    assert "model.n_layers" in problems
    assert "model.d_ff" in problems


def test_check_submission_reports_the_folder_and_strict_makes_a_failure_an_exit_code(tmp_path, capsys):
    valid = submission_folders.write_valid_submission(tmp_path / "valid")
    over = submission_folders.write_valid_submission(tmp_path / "over", model_bytes=17_000_000)
    assert main(["check-submission", str(valid), "--baseline", str(over), "--strict"]) == 1, "no record margin"
    assert "record margin" in capsys.readouterr().out
    assert (main(["check-submission", str(over)]), main(["check-submission", str(over), "--strict"])) == (0, 1)
    assert main(["check-submission", str(tmp_path / "missing")]) == 1
    assert capsys.readouterr().err.startswith("golf check-submission: ")


def test_check_submission_gives_many_folders_a_line_each_and_json_all_of_them(tmp_path, capsys):
    for name in ("a", "b"):
        submission_folders.write_valid_submission(tmp_path / name)
    assert main(["check-submission", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    one, missing = str(tmp_path / "a"), str(tmp_path / "none")
    assert main(["check-submission", one, missing, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["total"]["unreadable"] == 1


@pytest.mark.parametrize(
    ("command", "new_name"),
    [
        ("params", "golf validate"),
        ("check", "golf verdict (the last run) or golf check-submission FOLDER"),
        ("performance", "python -m tools.docs"),
        ("deps", "python -m tools.dvc_deps"),
        ("ci", "python -m tools.ci"),
    ],
)
def test_a_renamed_command_is_a_wrong_argument_and_names_the_new_one(capsys, command, new_name):
    assert main([command, "--anything"]) == 2
    assert capsys.readouterr().err == f"golf {command}: renamed, use {new_name}\n"


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage: golf")
    assert "check-submission" in shown


@pytest.mark.parametrize("argv", [["no-such-command"], ["inspect"], ["check-submission", "--baseline", "other"]])
def test_wrong_arguments_have_exit_code_2(capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage: golf" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["one"], ["one", "two", "three"], [], ["one", "two", "--after", "three"]])
def test_ledgers_that_do_not_make_two_sides_are_wrong_arguments(capsys, argv):
    assert main(["compare", *argv]) == 2
    assert capsys.readouterr().err.startswith("golf compare: expected two ledgers, or several as --before")


def test_an_error_of_the_operating_system_is_one_message_that_names_the_file(tmp_path, capsys, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(loader, "load_config", refuse)
    assert main(["validate", str(tmp_path / "params.yaml")]) == 1
    expected = f"golf validate: {tmp_path}/params.yaml: Permission denied, while it ran "
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize("command", ["validate", "inspect", "lineage", "check-submission"])
@pytest.mark.parametrize("name", ["missing", "a" * 300, "file/below"])
def test_a_path_that_can_not_be_opened_is_one_message(tmp_path, capsys, command, name):
    (tmp_path / "file").touch()
    assert main([command, str(tmp_path / name)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_help_fits_a_terminal_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    commands = next(action for action in cli.build_parser()._actions if action.dest == "command").choices
    assert len(lines) <= len(commands) + 13
    assert max(map(len, lines)) <= 80


def test_every_command_shows_an_example_that_its_parser_accepts(capsys):
    parser = cli.build_parser()
    commands = next(action for action in parser._actions if action.dest == "command")
    for name, command in commands.choices.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        example = " ".join(capsys.readouterr().out.partition("example: ")[2].split())
        assert example.startswith(f"golf {name}"), name
        assert parser.parse_args(shlex.split(command.epilog.removeprefix("example: "))[1:]).command == name


def test_the_version_is_that_of_the_package_and_of_the_commit(capsys, monkeypatch, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("golf ")
    (tmp_path / "golf/cli").mkdir(parents=True)
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "golf/cli/main.py"))
    assert "commit" not in cli.format_version()
    (tmp_path / ".git").mkdir()
    assert "commit" not in cli.format_version(), "not a repository after all"
    (tmp_path / ".git").rmdir()
    tiny_project.git(tmp_path, "init", "--quiet")
    tiny_project.git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "empty")
    commit = tiny_project.git(tmp_path, "rev-parse", "HEAD").strip()
    name, _, abbreviated = cli.format_version().partition(", commit ")
    assert name.startswith("golf ")
    assert len(abbreviated) == 12
    assert commit.startswith(abbreviated)


ASCII_ENVIRONMENTS = [
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0"},
    {"PYTHONIOENCODING": "cp1252"},
]


@pytest.mark.parametrize("env", ASCII_ENVIRONMENTS, ids=["ascii", "C", "cp1252"])
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["results"], "+/- s.e."),
        (["inspect", "table.csv"], "..."),
        (["inspect", "caf\u00e9.csv"], "table of 1 row"),
        (["compare", "one"], "--before A1 A2 ..."),
        (["validate", "\u4e2d.yaml"], "not found"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_output_is_what_its_stream_can_carry(tmp_path, env, argv, words):
    metrics = "artifacts/evaluate/metrics.json"
    io.write_bytes(tmp_path / metrics, committed.read_text(metrics).encode())
    (tmp_path / "table.csv").write_text("a\n" + "1\n" * 100)
    (tmp_path / "caf\u00e9.csv").write_text("a\n\u00e9\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "golf", *argv], cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )  # fmt: skip
    text = (done.stdout + done.stderr).decode("cp1252" if "cp1252" in env.values() else "ascii")
    assert "Traceback" not in text
    assert "Unicode" not in text
    assert words in text or "cp1252" in env.values()


def test_a_path_that_the_locale_can_not_name_is_one_message(capsys, monkeypatch):
    monkeypatch.setattr(loader, "load_config", lambda path: "caf\u00e9".encode("ascii"))
    assert main(["validate"]) == 1
    expected = "golf validate: caf\u00e9: ascii has no '\u00e9'; set LC_ALL=C.UTF-8 or PYTHONUTF8=1, then run again\n"
    assert capsys.readouterr().err == expected


def test_a_closed_pipe_ends_without_a_traceback(tmp_path):
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 10)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "golf", "inspect", str(tmp_path / "a.csv")]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
