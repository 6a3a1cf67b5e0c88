"""``golf bundle``: several seeds, settings that were not run, and arguments that do not fit together"""

import shutil
from pathlib import Path

import pytest

from golf.cli import bundle
from golf.cli.campaign import runner
from golf.cli.main import main
from golf.errors import ArtifactError, InputError
from golf.submission.bundle import packing
from tests.helpers.bundle_runs import write_run
from tests.helpers.campaigns import FakeExperiments, create_project
from tests.helpers.tiny_corpus import ROOT

AUTHOR = ("unknown", "unknown", "golf")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A run of seed 314 in the current folder, and runs of two other seeds beside it, none of them evaluated."""
    folder = write_run(tmp_path / "seed_314", 314, 1.08, is_evaluated=False)
    for seed in (42, 999):
        write_run(tmp_path / f"seed_{seed}", seed, 1.08, is_evaluated=False)
    monkeypatch.chdir(folder)
    return folder


def test_the_last_run_and_the_given_ones_are_one_folder(workspace, capsys):
    assert main(["bundle", "--out", "runs/three_seeds", "--runs", "../seed_42", "../seed_999"]) == 0
    names = {path.name for path in (workspace / "runs/three_seeds").iterdir()}
    logs = {f"train_seed{seed}.log" for seed in (314, 42, 999)}
    assert names == {"README.md", "submission.json", packing.SCRIPT_NAME} | logs
    assert "NOT-RUN" in capsys.readouterr().out


def test_settings_that_were_not_run_give_the_script_of_this_code(workspace, capsys):
    (workspace / "profiles").mkdir()
    shutil.copy(ROOT / "profiles" / "record.yaml", workspace / "profiles")
    assert main(["bundle", "--out", "runs/untried", "--params", "profiles/record.yaml"]) == 0
    script = (workspace / "runs/untried" / packing.SCRIPT_NAME).read_bytes()
    assert packing.read_settings(script)["train"]["ranks"] == 8
    assert f"train_gpt.py of {len(script):,} bytes; score and model: NOT-RUN" in capsys.readouterr().out


def test_settings_and_other_runs_together_are_wrong_arguments(workspace, capsys):
    assert main(["bundle", "--params", "params.yaml", "--runs", "../seed_42"]) == 2
    assert "expected either --params or --runs" in capsys.readouterr().err


def test_a_campaign_with_other_runs_is_wrong_arguments(workspace, capsys):
    assert main(["bundle", "--campaign", "three", "--runs", "../seed_42"]) == 2
    assert "expected --campaign alone" in capsys.readouterr().err


def test_a_campaign_that_does_not_exist_or_lacks_a_score_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(create_project(tmp_path / "project"))
    experiments = FakeExperiments()
    with pytest.raises(InputError, match=r"--campaign: 'none' is no campaign; its folder would hold campaign\.json"):
        bundle.bundle_campaign(Path("out"), "none", AUTHOR, experiments)
    runner.run_campaign(runner.CampaignRequest([42, 314], {}, "two", [42]), experiments)
    with pytest.raises(InputError, match=r"seed 314 has no score; finish it with: .* --name two --seeds 42 314$"):
        bundle.bundle_campaign(Path("out"), "two", AUTHOR, experiments)
    assert not Path("out").exists()


def test_outside_of_a_project_a_campaign_can_not_be_bundled(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "--out", "runs/campaign", "--campaign", "two"]) == 1
    assert capsys.readouterr().err.startswith("golf bundle: .dvc: not found; run this command in the project's folder")


def test_a_file_that_an_experiment_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(create_project(tmp_path / "project"))
    experiments = FakeExperiments()
    runner.run_campaign(runner.CampaignRequest([42], {}, "one", None), experiments)
    with pytest.raises(ArtifactError, match=r"artifacts/compress/sizes\.json of experiment one-seed42-.*: not found"):
        bundle.bundle_campaign(Path("out"), "one", AUTHOR, experiments)


def test_without_a_run_one_message_names_the_missing_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bundle"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("golf bundle: artifacts/compress/sizes.json: not found; ")
    assert message.endswith("; restore it or make it again with: dvc repro compress\n")
