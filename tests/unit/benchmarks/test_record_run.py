"""benchmarks/record_run.py: its configurations are valid, what ran is kept, and what did not run says NOT-RUN"""

import argparse
import dataclasses
import sys

import pytest
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.config import loader
from golf.errors import ConfigError
from golf.submission.bundle import packing
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import record_report
import record_results
import record_run
import record_settings
import record_stages
from record_stages import ProfileRun, Script

from benchmarks import techniques_runs

SETTINGS = {"cuda": record_settings.PARAM_OVERRIDES, "cpu": record_settings.CPU_OVERRIDES}
STAGE = """
import os, sys
from pathlib import Path
name = Path(__file__).stem
Path("artifacts", name).mkdir(parents=True, exist_ok=True)
with open({calls!r}, "a") as calls:
    calls.write(name + " ")
if name in Path({failing!r}).read_text():
    sys.exit(f"{{name}}: out of luck")
"""


def load_params(folder, **changes) -> tuple[dict, loader.Config]:
    (folder / "prose").mkdir(exist_ok=True)
    (folder / "prose" / "a.txt").write_text("a document of the text", encoding="utf-8")
    args = argparse.Namespace(
        device="cpu", profile="record", tokenizer="train", minutes=120, set=[], text=folder / "prose"
    )
    params = record_settings.make_params(
        record_settings.RECORD_PROFILE, record_run.make_overrides(argparse.Namespace(**vars(args) | changes))
    )
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)
    return params, loader.load_config(folder / "params.yaml")


@pytest.mark.parametrize("device", SETTINGS)
def test_the_record_profile_with_the_overrides_is_valid(tmp_path, device):
    _, cfg = load_params(tmp_path, device=device)
    assert (cfg.quantize.grid, cfg.compress.limit_bytes, cfg.quantize.base_step) == ("row_column", 16_000_000, None)
    assert [cfg.train.ranks, cfg.ttt.ranks, cfg.calibrate.ranks, cfg.evaluate.ranks] == [1, 1, 1, 1]
    assert cfg.train.limit_s == 7200 + cfg.train.reserve_s
    n_bytes = len(packing.pack_bundle(dataclasses.asdict(cfg), ROOT))
    assert 0.8 * cfg.compress.code_reserve_bytes < n_bytes <= cfg.compress.code_reserve_bytes


def test_on_a_cpu_the_model_is_the_record_s_and_each_change_has_a_reason(tmp_path):
    params, cfg = load_params(tmp_path)
    record = YAML(typ="safe", pure=True).load(record_settings.RECORD_PROFILE.read_text(encoding="utf-8"))
    assert params["model"] == record["model"]
    assert {getattr(cfg, stage).device for stage in record_settings.STAGES_WITH_A_MODEL} == {"cpu"}
    changes = {row["key"]: row for row in record_settings.list_changes(record_settings.RECORD_PROFILE, params)}
    assert (changes["train.batch_tokens"]["profile"], changes["train.batch_tokens"]["here"]) == (786_432, 4_096)
    reasons = {key: row["reason"] for key, row in changes.items() if key in record_settings.CPU_CHANGES}
    assert all(reasons.values())
    assert set(changes) <= {*record_settings.CPU_CHANGES, *record_settings.PARAM_OVERRIDES, "train.limit_s"}


def test_settings_of_the_command_line_take_precedence_and_have_no_reason(tmp_path):
    params, cfg = load_params(tmp_path, set=["train.batch_tokens=8192", "fetch.val_percent=3", "fetch.dev_percent=2"])
    assert (cfg.train.batch_tokens, cfg.fetch.val_percent, cfg.fetch.dev_percent) == (8192, 3, 2)
    changes = {row["key"]: row for row in record_settings.list_changes(record_settings.RECORD_PROFILE, params)}
    assert changes["train.batch_tokens"]["reason"] is None


def test_the_tiny_form_is_valid_on_a_cpu(tmp_path):
    assert load_params(tmp_path, profile="tiny")[1].model.d_model == 32


def test_held_out_slices_are_of_equal_size_whatever_the_text_s(tmp_path):
    (tmp_path / "a.txt").write_text("x" * record_settings.HELD_OUT_BYTES, encoding="utf-8")
    assert record_settings.compute_held_out_percent(tmp_path) == record_settings.MAX_HELD_OUT_PERCENT
    (tmp_path / "b.txt").write_text("x" * 199 * record_settings.HELD_OUT_BYTES, encoding="utf-8")
    assert record_settings.compute_held_out_percent(tmp_path) == 0.5


def test_a_key_that_no_profile_has_is_refused():
    with pytest.raises(ConfigError, match=r"train\.speed: no such key"):
        record_settings.make_params(ROOT / "profiles" / "record.yaml", {"train.speed": "fast"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "none"], "--text none: not a folder; give a folder of .txt and .jsonl files"),
        (["--tokenizer", "none"], "--tokenizer none: no such file; give train or a SentencePiece model"),
        (["--profile", "none"], "--profile none: no such file; give record, tiny or a file like params.yaml"),
    ],
)
def test_an_argument_that_names_nothing_is_one_message(tmp_path, capsys, options, message):
    paths = ["--text", str(tmp_path), "--out", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    assert record_run.main([*paths, *options]) == 1
    assert capsys.readouterr().err == f"record_run: {message}\n"
    assert not (tmp_path / "out").exists()


class Project:
    """The record's eight stages, which only say that they ran, each after the one before it."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder, self.calls_path, self.failing_path = folder, folder / "calls", folder / "failing"
        (source := folder / "source" / "code").mkdir(parents=True)
        (source / "stages").mkdir()
        stages, previous = {}, None
        for stage in record_stages.STAGES:
            code = STAGE.format(calls=str(self.calls_path), failing=str(self.failing_path))
            (source / "stages" / f"{stage}.py").write_text(code, encoding="utf-8")
            stages[stage] = {"deps": [f"artifacts/{previous}/x"] if previous else [], "params": ["train.seed"]}
            previous = stage
        with open(source / "dvc.yaml", "w", encoding="utf-8") as file:
            YAML(typ="safe").dump({"stages": stages}, file)
        monkeypatch.setattr(record_stages, "copy_source", lambda state: source)
        monkeypatch.setattr(techniques_runs.StageRunner, "_hash_sources", lambda runner, stage: {})

    def start(self, failing: str = "") -> tuple[ProfileRun, str]:
        """The run, and what was started for it."""
        self.failing_path.write_text(failing, encoding="utf-8")
        self.calls_path.write_text("", encoding="utf-8")
        params, _ = load_params(self.folder, device="cuda")
        run = ProfileRun(self.folder, params, corpus={}, links={})
        assert tuple(run.run_stages()) == record_stages.STAGES
        return run, self.calls_path.read_text(encoding="utf-8").strip()


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_after_a_failure_the_same_start_runs_only_the_rest(project):
    run, called = project.start(failing="quantize")
    assert called == "fetch train ema ttt calibrate quantize"
    assert run.rows["calibrate"]["status"] == "ok"
    assert run.rows["calibrate"]["peak_bytes"] > 0
    assert run.rows["quantize"]["status"] == "failed: quantize: out of luck"
    assert run.rows["compress"] == run.rows["evaluate"] == record_stages.NOT_RUN_ROW
    run, called = project.start()
    assert called == "quantize compress evaluate"
    assert {row["status"] for row in run.rows.values()} == {"ok"}
    assert run.rows["quantize"]["starts"] == 2
    assert project.start()[1] == ""


def test_a_script_runs_once_for_its_arguments_and_its_stages_and_says_why_it_failed(project):
    run, _ = project.start()
    script = Script("sums", ("-c", "open('../calls', 'a').write('sums '); open('{output}', 'w')"), "out", ("fetch",))
    for _ in range(2):
        assert run.run_script(script).is_file()
    assert project.calls_path.read_text(encoding="utf-8").split()[8:] == ["sums"]
    assert run.run_script(dataclasses.replace(script, arguments=("-c", "raise SystemExit('no memory')"))) is None
    assert run.rows["sums"]["status"] == "failed: no memory"
    run, _ = project.start(failing="fetch")
    assert run.rows["fetch"]["status"] == "ok", "it was kept"


def test_a_script_whose_stages_did_not_run_is_not_run(project):
    run, _ = project.start(failing="fetch")
    assert run.run_script(Script("sums", ("-c", "0"), "out", ("fetch",))) is None
    assert run.rows["sums"]["status"] == "NOT-RUN, needs fetch"
    assert run.rows["sums"]["seconds"] is None


def test_a_run_that_ended_at_once_has_not_run_in_every_table(project):
    run, _ = project.start(failing="fetch")
    result = record_results.describe_run(run, {"profile": "record", "text": "prose"}, [])
    assert result["note"].startswith("Undertrained: NOT-RUN, where the record's profile has 786,432 a step")
    tables = record_report.render_tables(result)
    assert "| train | NOT-RUN | NOT-RUN | NOT-RUN | NOT-RUN |" in tables
    assert "| sliding windows | NOT-RUN | NOT-RUN |" in tables
    assert "The file: NOT-RUN. Verdict: NOT-RUN." in tables
    assert "Recipes at equal divergence: NOT-RUN." in tables
    assert "| ours | NOT-RUN | NOT-RUN | NOT-RUN |" in tables
    io.write_json(run.folder / "record_run.json", result)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["rate-distortion"]),
        (["--device", "cpu"], ["report", "coder", "recipes"]),
        (["--device", "cpu", "--curve-tokens", "0"], ["report", "coder"]),
    ],
)
def test_what_is_measured_on_a_gpu_and_on_a_cpu(tmp_path, options, names):
    args = record_run.parse_arguments(["--text", "texts", "--out", "out", *options])
    assert [script.name for script in record_run.list_scripts(args, tmp_path, "cuda")] == names
