"""golf/cli/campaign: what is run, resumed and refused"""

import json
import os
from pathlib import Path

import psutil
import pytest

from golf.artifacts import io
from golf.cli.campaign import collection, state
from golf.cli.campaign import experiments as dvc_experiments
from golf.cli.campaign.runner import CampaignRequest, run_campaign
from golf.cli.main import main
from golf.errors import GolfError, InputError
from tests.helpers.campaigns import FakeExperiments

SEEDS = (42, 314, 999)


@pytest.fixture
def fake(campaign_dir, monkeypatch):
    """Experiments in no time, which ``main`` uses as well."""
    fake = FakeExperiments()
    monkeypatch.setattr(dvc_experiments, "DvcExperiments", lambda: fake)
    return fake


def run(fake, seeds=SEEDS, name="a", only=None, **overrides):
    return run_campaign(
        CampaignRequest(seeds, {key.replace("__", "."): text for key, text in overrides.items()}, name, only), fake
    )


def stop(error, at):
    """A hook that raises ``error`` when the experiment of the seed ``at`` starts."""

    def before(seed):
        if seed == at:
            raise error

    return before


def test_each_seed_is_run_once_in_the_given_order_and_the_same_command_runs_nothing(fake):
    first, second = run(fake), run(fake)
    assert fake.started == list(SEEDS)
    assert [(entry["seed"], entry["order"], entry["attempts"]) for entry in first.runs] == [
        (42, 1, 1),
        (314, 2, 1),
        (999, 3, 1),
    ]
    assert first.runs == second.runs
    assert len({entry["host"] for entry in first.runs}) == 1
    assert fake.overrides[0] == {"train.seed": "42"}


def test_an_interrupt_keeps_the_finished_seeds_and_the_same_command_resumes(fake):
    fake.before = stop(KeyboardInterrupt, 314)
    with pytest.raises(GolfError, match="interrupted at seed 314; 1 of 3 seeds have a score; the same command resumes"):
        run(fake)
    fake.before = lambda seed: None
    assert [entry["seed"] for entry in run(fake).runs] == list(SEEDS)
    assert fake.started == [42, 314, 314, 999]
    assert [entry["attempts"] for entry in run(fake).runs] == [1, 2, 1]


def test_a_failed_experiment_names_its_log_and_the_same_command_resumes(fake, campaign_dir):
    fake.exit_code = 255
    with pytest.raises(GolfError, match=r"seed 42: the experiment failed \(exit code 255\); 0 of 3 .*seed_42\.log"):
        run(fake)
    assert (campaign_dir / "runs/campaigns/a/seed_42.log").is_file()
    fake.exit_code = 0
    assert len(run(fake).runs) == 3


def test_an_experiment_that_had_ended_before_the_interrupt_is_not_run_again(fake, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(collection, "collect_run", raise_interrupt)
        with pytest.raises(GolfError, match="interrupted at seed 42"):
            run(fake, [42])
    entry = run(fake, [42]).runs[0]
    assert fake.started == [42]
    assert entry["host"], "known from the interrupted command"


def raise_interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: edit("params.yaml", "lr: 0.0002", "lr: 0.0004"), "setting ttt.lr: 0.0002 and 0.0004"),
        (lambda: edit("stages/fetch.py", "1", "2"), "code stages/fetch.py: "),
    ],
)
def test_other_settings_or_code_are_refused_and_the_differing_key_is_named(fake, change, named):
    run(fake, [42])
    change()
    with pytest.raises(InputError) as refused:
        run(fake, [42, 314])
    assert f"campaign a is not mixed with other settings, code or data: {named}" in str(refused.value)
    assert fake.started == [42]


def edit(path, old, new):
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_file_that_is_edited_between_two_seeds_is_refused_before_the_second_runs(fake):
    fake.before = lambda seed: seed == 314 and edit("stages/fetch.py", "1", "2")
    with pytest.raises(InputError, match=r"experiment a-seed314-\w+ does not belong to the campaign: code stages/fet"):
        run(fake)
    fake.before = lambda seed: None
    with pytest.raises(InputError, match=r"code stages/fetch\.py"):
        run(fake)
    assert fake.started == [42, 314]


def test_an_experiment_on_other_data_is_refused_and_the_path_is_named(fake):
    run(fake, [42])
    fake.md5s["artifacts/fetch/val"] = "0" * 32
    with pytest.raises(InputError, match=r"not belong to the campaign: data artifacts/fetch/val: \w{12} and 0{12};"):
        run(fake, [42, 314])


def test_texts_of_the_user_are_part_of_the_campaign(fake, campaign_dir):
    edit("params.yaml", "source: docs ", "source: files ")
    (campaign_dir / "texts").mkdir()
    (campaign_dir / "texts/a.txt").write_text("one")
    run(fake, [42])
    (campaign_dir / "texts/a.txt").write_text("two")
    with pytest.raises(InputError, match="input texts: "):
        run(fake, [42, 314])


def test_metrics_that_the_ledger_does_not_give_are_refused(fake):
    fake.metrics = {"val_bpb_sliding": 1.0}
    with pytest.raises(GolfError, match=r"sliding.safetensors: metrics.json states 1.000000 bpb, its rows give 1.0901"):
        run(fake, [42])


def test_seeds_are_added_but_never_left_out(fake):
    run(fake, [42, 314])
    with pytest.raises(InputError, match="campaign a also has 42, and a seed is not left out of a campaign"):
        run(fake, [314, 999])
    campaign = run(fake, [42, 314, 999])
    assert (campaign.seeds, campaign.named_late) == ([42, 314, 999], [999])


def test_only_runs_one_machines_share_of_the_seeds(fake):
    assert run(fake, only=[314]).missing_seeds == [42, 999]
    assert fake.started == [314]
    with pytest.raises(InputError, match="--only: 5 is not among --seeds"):
        run(fake, only=[5])


def test_an_experiment_of_another_machine_is_taken_as_it_is(fake):
    run(fake, only=[314])
    (state.CAMPAIGNS_DIR / "a/campaign.json").unlink()
    campaign = run(fake)
    assert fake.started == [314, 42, 999]
    assert campaign.find_run(314)["host"] is None
    assert campaign.find_run(42)["host"]


def test_training_from_the_cache_has_no_host(fake):
    fake.ran_stages = ["evaluate"]
    entry = run(fake, [42]).runs[0]
    assert (entry["host"], entry["ran_stages"]) == (None, ["evaluate"])
    assert entry["started_at"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ttt__lr": "abc"}, "--set: ttt.lr: must be a number, got 'abc'"),
        ({"ttt__rate": "1"}, "--set ttt.rate: params.yaml has no such key"),
        ({"ttt": "1"}, "--set ttt: params.yaml has no such key"),
        ({"train__seed": "1"}, "--set train.seed: the seeds of a campaign are given as --seeds"),
        ({"ttt__lr": "[1"}, "--set ttt.lr: not valid YAML"),
    ],
)
def test_a_setting_that_params_yaml_would_refuse_is_refused_before_anything_runs(fake, overrides, message):
    with pytest.raises(GolfError) as refused:
        run(fake, **overrides)
    assert str(refused.value).startswith(message)
    assert not state.CAMPAIGNS_DIR.exists()


def test_without_a_name_other_settings_are_another_campaign(fake):
    one, other = run(fake, [42], name=None), run(fake, [42], name=None, ttt__lr="0.01")
    assert one.name != other.name
    assert one.name.startswith("laptop-")
    assert other.overrides == {"ttt.lr": "0.01"}
    assert fake.started == [42, 42]


def test_files_that_an_experiment_would_lack_are_named(fake):
    fake.untracked = ["golf/a.py", "golf/b.py", "golf/c.py", "golf/d.py"]
    with pytest.raises(InputError, match=r"^golf/a.py, golf/b.py, golf/c.py, …: not known to Git"):
        run(fake)


def test_a_relative_folder_for_the_hubs_shards_is_refused(fake):
    edit("params.yaml", "source: docs ", "source: hub ")
    edit("params.yaml", "root: null ", "root: shards ")
    with pytest.raises(GolfError, match=r"hub\.root: must be an absolute path"):
        run(fake)


def test_an_experiment_that_outlived_its_command_is_not_started_twice(fake, campaign_dir):
    fake.before = stop(KeyboardInterrupt, 42)
    with pytest.raises(GolfError, match="interrupted"):
        run(fake, [42])
    campaign = state.load(campaign_dir / "runs/campaigns/a")
    campaign.current[0] |= {"pid": os.getpid(), "pid_created": psutil.Process().create_time()}
    campaign.save()
    with pytest.raises(GolfError, match=f"seed 42: process {os.getpid()} of an interrupted command still runs it"):
        run(fake, [42])
    assert fake.started == [42]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "x" * 62, "a..b"])
def test_a_name_that_git_would_refuse_is_refused(fake, name):
    with pytest.raises(InputError, match="--name: must be 1 to 61 letters"):
        run(fake, name=name or "-")


def test_an_edited_or_damaged_state_is_one_message(fake, campaign_dir, capsys):
    run(fake, [42])
    capsys.readouterr()
    path = campaign_dir / "runs/campaigns/a/campaign.json"
    record = json.loads(path.read_text())
    for content in (
        record | {"seeds": [7]},
        record | {"runs": [3]},
        {},
        {key: record[key] for key in ("name", "runs")},
    ):
        io.write_json(path, content)
        assert main(["campaign", "--show", "a"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("golf campaign: runs/campaigns/a/campaign.json: ")
        assert captured.err.endswith("; restore the file, or start again under another --name\n")
        assert len(captured.err.splitlines()) == 1


def test_the_command_runs_shows_and_compares_campaigns(fake, capsys):
    assert main(["campaign", "--seeds", "42", "314", "999"]) == 0
    name = next(state.CAMPAIGNS_DIR.glob("laptop-*")).name
    table = capsys.readouterr().out
    assert main(["campaign", "--show", name]) == 0
    assert capsys.readouterr().out == table
    fake.scores = {seed: score - 0.004 for seed, score in fake.scores.items()}
    assert main(["campaign", "--seeds", "42", "314", "999", "--set", "ttt.lr=0.002", "--baseline", name]) == 0
    table = capsys.readouterr().out
    assert "set: ttt.lr=0.002" in table
    assert "per byte, paired by seed" in table
    lower = next(path for path in state.CAMPAIGNS_DIR.glob("laptop-*") if path.name != name).name
    assert main(["campaign", "--show", lower, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"] is None
    assert main(["campaign", "--show", f"runs/campaigns/{lower}", "--baseline", name, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["baseline"]["per_byte"]["p_above_0"] < 0.01 < 0.9 < report["baseline"]["per_byte"]["p_above_0.005"]
    assert fake.started == 2 * list(SEEDS)


@pytest.mark.parametrize("argv", [["--seeds", "-1"], ["--seeds", "x"], ["--seeds", "9" * 30], ["--set", "ttt.lr"]])
def test_wrong_arguments_have_exit_code_2(fake, argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["campaign", *argv])
    assert stopped.value.code == 2
    assert "usage: golf campaign" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--seeds", "1", "--show", "a"], ["--show", "a", "--set", "ttt.lr=1"]])
def test_arguments_that_do_not_fit_together_have_exit_code_2(fake, argv, capsys):
    assert main(["campaign", *argv]) == 2
    assert capsys.readouterr().err.startswith("golf campaign: ")


@pytest.mark.parametrize("option", ["--show", "--baseline"])
def test_a_campaign_that_does_not_exist_is_one_message(fake, option, capsys):
    argv = ["--show", "none"] if option == "--show" else ["--seeds", "42", "--baseline", "none"]
    assert main(["campaign", *argv]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"golf campaign: {option}: 'none' is ")
    assert fake.started == []


def test_a_folder_without_dvc_or_git_is_one_message(campaign_dir, capsys):
    assert main(["campaign", "--seeds", "42"]) == 1
    assert capsys.readouterr().err.startswith(
        "golf campaign: .dvc: not found; run this command in the project's folder"
    )
    (campaign_dir / ".dvc").mkdir()
    assert main(["campaign", "--seeds", "42"]) == 1
    assert "no Git repository with a commit" in capsys.readouterr().err
