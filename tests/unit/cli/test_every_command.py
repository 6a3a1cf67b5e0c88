"""Every command of golf: an error that the user can mend is one message, and nothing is left behind"""

import pytest

from golf.cli import main as cli
from golf.cli.main import main

COMMANDS = next(action for action in cli.build_parser()._actions if action.dest == "command").choices
IN_AN_EMPTY_FOLDER = {  # arguments with which a command can't do its work there; doctor reports that
    "validate": [],
    "inspect": ["nowhere"],
    "lineage": ["nowhere"],
    "compare": ["one", "two"],
    "preflight": [],
    "results": [],
    "plot": [],
    "verdict": [],
    "prove": [],
    "campaign": ["--seeds", "42"],
    "report": [],
    "check-submission": ["nowhere"],
    "bundle": [],
    "encode": ["nowhere.txt"],
    "decode": ["nowhere.golfz"],
    "sample": [],
    "export": ["exported"],
}


def test_the_table_has_every_command():
    assert {*IN_AN_EMPTY_FOLDER, "doctor"} == set(COMMANDS)


@pytest.mark.parametrize("command", IN_AN_EMPTY_FOLDER)
def test_in_an_empty_folder_a_command_names_what_is_missing_in_one_line(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main([command, *IN_AN_EMPTY_FOLDER[command]]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"golf {command}: ")
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_a_wrong_argument_and_shows_the_usage(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, *IN_AN_EMPTY_FOLDER.get(command, []), "--no-such-option"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err
