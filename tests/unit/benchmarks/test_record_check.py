"""benchmarks/record_check.py: its configurations are valid, and its table says what was not measured"""

import argparse
import sys

import pytest
import torch
from ruamel.yaml import YAML

from golf.cli.preflight import forecast
from golf.config import loader
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import record_check
import record_forecast
import record_settings
import record_stages


def load_profile(folder, profile: str, device: str) -> loader.Config:
    args = argparse.Namespace(profile=profile, device=device, text=None, train_minutes=0.5)
    params = record_settings.make_params(record_settings.RECORD_PROFILE, record_check.make_overrides(args))
    with open(folder / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)
    return loader.load_config(folder / "params.yaml")


def test_the_records_model_fills_16_000_000_bytes_on_one_rank_of_a_gpu(tmp_path):
    cfg = load_profile(tmp_path, "record", "cuda")
    assert (cfg.train.ranks, cfg.train.device, cfg.compress.limit_bytes) == (1, "cuda", 16_000_000)
    assert (cfg.fetch.source, cfg.train.limit_s) == ("docs", 30 + cfg.train.reserve_s)


def test_the_small_form_runs_on_a_cpu(tmp_path):
    cfg = load_profile(tmp_path, "tiny", "cpu")
    assert {getattr(cfg, stage).device for stage in ("train", "ema", "ttt", "calibrate", "evaluate")} == {"cpu"}
    assert cfg.model.recur_passes > 1, "it times steps with recurrence"


def test_without_a_gpu_it_says_not_run_and_names_the_form_for_a_cpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert record_check.main([]) == 2
    message = capsys.readouterr().err
    assert message.startswith("record-check: NOT-RUN, torch finds no GPU")
    assert "--device cpu --profile tiny" in message


def test_figures_stand_beside_their_forecast_and_what_is_missing_is_not_run(tmp_path):
    cfg = load_profile(tmp_path, "record", "cuda")
    made = forecast.make_forecast(cfg, "h100", split_tokens={"val": 1000})
    steps = {False: {"seconds": 2 * made.record["step"]["ms"] / 1e3, "mfu": 0.25, "peak_bytes": 3e10}}
    not_run = dict.fromkeys(record_stages.STAGES, record_stages.NOT_RUN_ROW)
    stages = not_run | {"train": {"status": "ok", "seconds": 9.0}}
    figures = record_forecast.list_step_rows(cfg, made, steps)
    figures += record_forecast.list_run_rows(made, {"steps": 7, "sizes": {"artifact_bytes": 15_999_000}}, stages)
    result = {"machine": "a GPU", "torch": "2", "profile": "record", "forecast_for": "h100", "calibration": "fitted"}
    result |= {"split_tokens": {"val": 1000}, "stages": stages, "rows": figures}
    table = record_check.format_table(result).splitlines()
    lines = {line.partition(",")[0]: line.split() for line in table}
    assert lines["step before recurrence"][-1] == "+100.0%"
    assert lines["step with recurrence"][-1] == "NOT-RUN"
    assert lines["peak memory of a step"][-2] == "30.00"
    assert lines["test-time training"][-1] == "NOT-RUN"
    assert lines["model and code"][-3:-1] == ["16,000,000", "15,999,000"]
    assert lines["stage train"][-2] == "9.00"
    assert "evaluate: NOT-RUN" in table


@pytest.mark.parametrize(
    ("name", "device", "machine"),
    [("NVIDIA H200", "cuda", "h100"), ("NVIDIA A100-SXM4-80GB", "cuda", "a100"), ("Some CPU", "cpu", "cpu")],
)
def test_the_forecast_is_that_of_the_nearest_machine(name, device, machine):
    assert record_forecast.choose_hardware(name, torch.device(device)) == machine


def test_the_step_of_a_run_is_the_median_over_its_log_without_and_with_recurrence():
    seconds = [0.0, 10.0, 20.0, 90.0, 100.0, 130.0, 160.0]  # the third interval holds something else
    log = [{"step": 5 * i, "seconds": s, "recurrent": int(i > 3)} for i, s in enumerate(seconds)]
    steps = record_forecast.measure_logged_steps(log)
    assert {recurrent: row["seconds"] for recurrent, row in steps.items()} == {False: 2.0, True: 6.0}
    assert record_forecast.measure_logged_steps([]) == {}
