"""--json of every command that has it: one object on stdout, whose keys the pages name"""

import json
import re

import pytest

from golf.cli import main as cli
from golf.cli.campaign import runner
from golf.cli.main import main
from tests.helpers import doc_pages, submission_folders
from tests.helpers.campaigns import FakeExperiments, create_project

LEDGERS = [f"artifacts/evaluate/ledgers/{mode}.safetensors" for mode in ("plain", "sliding")]
ARGUMENTS = {
    "compare": LEDGERS,
    "preflight": [],
    "campaign": ["--show", "../campaign/runs/campaigns/one"],
    "check-submission": ["submission"],
    "encode": ["text.txt"],
    "decode": ["text.txt.golfz", "--out", "decoded.txt"],
    "sample": ["--max-tokens", "2"],
    "export": ["exported"],
    "doctor": [],
}
PAGES = {
    "preflight": "docs/preflight.md",
    "campaign": "docs/results.md",
    "check-submission": "docs/submission-review.md",
}


def list_keys(tree, depth: int = 2) -> set[str]:
    """The keys of an object, of the objects in its lists, and of those one level further down."""
    if isinstance(tree, list):
        return set().union(*(list_keys(item, depth) for item in tree)) if tree else set()
    if not isinstance(tree, dict) or not depth:
        return set()
    nested = (list_keys(value, depth - 1) for value in tree.values() if isinstance(value, list))
    return set(tree).union(*nested)


@pytest.fixture
def prepared_dir(project_dir, tmp_path, monkeypatch, capsys):
    """The finished run with what the commands read."""
    submission_folders.write_valid_submission(project_dir / "submission")
    (project_dir / "text.txt").write_text("The baker bakes bread.")
    monkeypatch.chdir(create_project(tmp_path / "campaign"))
    runner.run_campaign(runner.CampaignRequest([42], {}, "one", None), FakeExperiments())
    monkeypatch.chdir(project_dir)
    assert main(["encode", "text.txt"]) == 0
    (project_dir / "text.txt").write_text("The baker bakes bread. And cake.")
    capsys.readouterr()
    return project_dir


def test_the_table_has_every_command_that_prints_json():
    commands = next(action for action in cli.build_parser()._actions if action.dest == "command").choices
    with_json = {name for name, parser in commands.items() if "--json" in parser._option_string_actions}
    assert with_json == set(ARGUMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("command", ARGUMENTS)
def test_stdout_is_one_object_whose_keys_are_documented(prepared_dir, capsys, command):
    options = ["--force"] if command == "encode" else []
    main([command, *ARGUMENTS[command], *options, "--json"])
    report = json.loads(capsys.readouterr().out)
    documented = set(re.findall(r"`([\w.]+)(?:\[\])?`", doc_pages.read_page(PAGES.get(command, "docs/cli.md"))))
    assert list_keys(report) - documented == set()
