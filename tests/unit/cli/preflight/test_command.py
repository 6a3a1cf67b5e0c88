"""golf/cli/preflight/: golf preflight prints a forecast from params.yaml alone"""

import dataclasses
import json
import re
import shutil

import pytest

from golf.cli.main import main
from golf.cli.preflight import command, forecast
from golf.cli.preflight.hardware import HARDWARE
from golf.config import loader
from tests.helpers import committed
from tests.helpers.tiny_corpus import ROOT

RECORD = ["preflight", "--params", "profiles/record.yaml", "--hardware", "h100x8"]
KEYS = {
    "hardware", "devices", "calibration", "profile", "dtype", "parameters", "train_ranks", "step", "steps", "tokens",
    "memory_bytes", "device_memory_bytes", "stages", "mode_seconds", "payload_bytes", "code_bytes", "artifact_bytes",
    "limit_bytes", "bits_per_weight", "size_reason", "disk_bytes", "download_bytes", "known_seconds", "unknown_stages",
    "price_per_hour", "price",
}  # fmt: skip


@pytest.fixture
def in_bare_folder(tmp_path, monkeypatch):
    """The working directory holds the profiles and nothing else."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "profiles", "profiles")
    return tmp_path


def test_the_forecast_of_the_record_needs_no_file_but_its_parameters(in_bare_folder, capsys):
    assert (
        main(
            [
                "preflight",
                "--params",
                "profiles/record.yaml",
                "--hardware",
                "h100x8",
                "--price-per-hour",
                "20",
                "--json",
            ]
        )
        == 0
    )
    record = json.loads(capsys.readouterr().out)
    assert record.keys() == KEYS
    assert record["parameters"] == 35_944_536
    assert record["steps"] == pytest.approx(4554, rel=0.2), "of PR #1493"
    assert record["download_bytes"] == 2 * (128 * 100_000_000 + 40_540_160)
    assert record["price"] == pytest.approx(record["known_seconds"] / 3600 * 20, abs=0.01)
    known = [row["seconds"] for row in record["stages"].values() if row["seconds"] is not None]
    assert record["known_seconds"] == pytest.approx(sum(known), abs=0.1)
    assert [path.name for path in in_bare_folder.iterdir()] == ["profiles"]


def test_the_text_names_every_stage_the_calibration_and_what_was_not_run(in_bare_folder, capsys):
    assert main(RECORD) == 0
    text = capsys.readouterr().out
    for stage in ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate, headline"):
        assert f"\n{stage} " in text
    assert "PR #1493's 102 and 151 ms" in text
    assert "fetch                            NOT-RUN  depends on the network\n" in text
    assert "evaluate, proof                  NOT-RUN  evaluate.proof_places has no forecast\n" in text
    total = " ".join(text.partition("\nknown seconds ")[2].partition("\nprice ")[0].split())
    assert re.fullmatch(r"[\d,.]+ without fetch; evaluate, proof", total)
    assert "give --price-per-hour" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_laptop_is_forecast_for_this_cpu(in_bare_folder, capsys):
    shutil.copy("profiles/laptop.yaml", "params.yaml")
    assert main(["preflight"]) == 0
    text = capsys.readouterr().out
    assert "forecast for laptop on cpu" in text
    assert "1,000,000  of 1,000,000" in text


def test_fewer_devices_than_ranks_and_too_little_memory_are_named(in_bare_folder):
    cfg = loader.load_config(ROOT / "profiles/record.yaml")
    cfg = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, micro_batch_tokens=786_432))
    made = forecast.make_forecast(cfg, "h100")
    text = command.render_forecast(made, forecast.compute_mfu(made, cfg))
    assert "train.ranks is 8; the forecast divides a step over 1 device." in text
    assert "of 80 GB  OVER" in text


@pytest.mark.parametrize(
    ("changes", "steps", "seconds"),
    [
        ({"limit_s": 600.0, "reserve_s": 12.0, "steps": None, "recurrence_from": 0.5}, 4410, 588.0),
        ({"limit_s": 600.0, "reserve_s": 12.0, "steps": 100, "recurrence_from": 0.5}, 100, 15.0),
        ({"limit_s": None, "reserve_s": 0.0, "steps": 100, "recurrence_from": 0.25}, 100, 17.5),
    ],
)
def test_training_ends_at_its_steps_or_at_its_limit(changes, steps, seconds):
    cfg = dataclasses.replace(loader.load_config(ROOT / "profiles/record.yaml").train, **changes)
    assert forecast.count_steps(cfg, 0.1, 0.2) == (steps, pytest.approx(seconds))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--params", "nowhere.yaml"], "nowhere.yaml"),
        (["--price-per-hour", "-1"], "--price-per-hour must be at least 0"),
        (["--price-per-hour", "nan"], "--price-per-hour must be at least 0"),
    ],
)
def test_a_wrong_argument_is_one_message(in_bare_folder, capsys, arguments, message):
    assert main(["preflight", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


def test_the_names_of_the_machines_are_those_of_the_table():
    assert set(command.HARDWARE_NAMES) == {*HARDWARE, "cpu"}


def test_the_page_names_every_key_of_the_json_object():
    page = (ROOT / "docs/preflight.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in page] == []


def test_the_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["preflight", "--help"])
    assert "example: golf preflight --params profiles/record.yaml" in capsys.readouterr().out


def test_the_modes_that_are_no_headline_are_summed_and_given_tokens_replace_the_known_ones():
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    record = forecast.make_forecast(cfg, "h100").record
    modes, stages = record["mode_seconds"], record["stages"]
    assert stages["evaluate, headline"]["seconds"] == modes["ttt"]
    assert stages["evaluate, other modes"]["seconds"] == pytest.approx(modes["plain"] + modes["sliding"], abs=0.02)
    assert modes["plain"] < modes["sliding"] < modes["ttt"]
    twice = forecast.make_forecast(cfg, "h100", split_tokens={"dev": 2 * 78_840, "val": 2 * 210_194}).record
    assert twice["mode_seconds"]["ttt"] == pytest.approx(2 * modes["ttt"], rel=0.01)
    assert twice["stages"]["ema"]["seconds"] == pytest.approx(2 * stages["ema"]["seconds"], rel=0.01, abs=0.02)
    unlearned = dataclasses.replace(cfg, ttt=dataclasses.replace(cfg.ttt, method="none"))
    assert forecast.make_forecast(unlearned, "h100").record["mode_seconds"]["ttt"] < modes["ttt"]


def test_the_tokens_of_the_docs_are_those_of_the_committed_run(monkeypatch):
    slow = dataclasses.replace(HARDWARE["h100"], peak_flops=1e6)  # seconds show a difference of one token
    monkeypatch.setitem(HARDWARE, "h100", slow)
    splits = json.loads(committed.read_text("artifacts/fetch/metrics.json"))
    tokens = {name: splits[name]["tokens"] for name in ("dev", "val")}
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    known = forecast.make_forecast(cfg, "h100").record["stages"]
    assert known == forecast.make_forecast(cfg, "h100", split_tokens=tokens).record["stages"]
    for name in tokens:
        more = tokens | {name: tokens[name] + 1}
        assert known != forecast.make_forecast(cfg, "h100", split_tokens=more).record["stages"]


@pytest.mark.parametrize(("changes", "seconds"), [({"orders": ()}, 2.1), ({"cache_tokens": None}, 12.9)])
def test_the_n_grams_and_the_neural_cache_take_their_time_of_the_ttt_mode(changes, seconds):
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    without = dataclasses.replace(cfg, memory=dataclasses.replace(cfg.memory, **changes))
    before, after = (forecast.make_forecast(each, "h100").record["mode_seconds"] for each in (without, cfg))
    assert after["ttt"] - before["ttt"] == pytest.approx(seconds, abs=0.1)
    assert after["sliding"] == before["sliding"]


def test_a_method_without_a_forecast_and_a_corpus_before_fetch_are_not_run():
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    cfg = dataclasses.replace(
        cfg,
        calibrate=dataclasses.replace(cfg.calibrate, source="self"),
        fetch=dataclasses.replace(cfg.fetch, source="files"),
    )
    stages = forecast.make_forecast(cfg, "h100").record["stages"]
    unknown = {name: row["reason"] for name, row in stages.items() if row["seconds"] is None}
    assert unknown == {
        "fetch": "reading and tokenizing texts has no forecast",
        "ema": "dev's tokens are known only after fetch",
        "ttt": "dev's tokens are known only after fetch",
        "calibrate": "calibrate.source: self has no forecast",
        "evaluate, headline": "val's tokens are known only after fetch",
        "evaluate, other modes": "val's tokens are known only after fetch",
        "evaluate, proof": "evaluate.proof_places has no forecast",
    }


@pytest.mark.parametrize(
    ("section", "changes", "stage", "reason"),
    [
        ("ttt", {"method": "prequant"}, "ttt", "ttt.method: prequant has no forecast"),
        ("ttt", {"stream": "val"}, "ttt", "ttt.stream: val has no forecast"),
        ("quantize", {"refine_steps": 200}, "quantize", "quantize.refine_steps: 200 has no forecast"),
    ],
)
def test_every_stage_has_seconds_or_a_reason_and_the_total_names_those_without(section, changes, stage, reason):
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    before = forecast.make_forecast(cfg, "h100").record
    assert before["unknown_stages"] == ["fetch", "evaluate, proof"]
    assert all((row["seconds"] is None) == (row["reason"] is not None) for row in before["stages"].values())
    changed = dataclasses.replace(cfg, **{section: dataclasses.replace(getattr(cfg, section), **changes)})
    made = forecast.make_forecast(changed, "h100")
    assert made.record["stages"][stage]["reason"] == reason
    assert stage in made.record["unknown_stages"]
    missing_s = before["stages"][stage]["seconds"]
    assert made.record["known_seconds"] == pytest.approx(before["known_seconds"] - missing_s, abs=0.2)
    assert f"without {'; '.join(made.record['unknown_stages'])}\n" in command.render_forecast(made, 0.5)


def test_without_a_proof_there_is_no_row_for_it():
    cfg = loader.load_config(ROOT / "profiles/laptop.yaml")
    cfg = dataclasses.replace(cfg, evaluate=dataclasses.replace(cfg.evaluate, proof_places=None))
    assert "evaluate, proof" not in forecast.make_forecast(cfg, "h100").record["stages"]


def test_a_file_slightly_over_the_limit_is_within_the_error_of_the_forecast(in_bare_folder, capsys):
    assert main(RECORD) == 0
    assert "of 16,000,000  over, within the forecast's error" in capsys.readouterr().out
    text = (in_bare_folder / "profiles/record.yaml").read_text(encoding="utf-8")
    (in_bare_folder / "params.yaml").write_text(text.replace("limit_bytes: 16000000", "limit_bytes: 15000000"))
    assert main(["preflight", "--hardware", "h100x8"]) == 0
    assert "of 15,000,000  OVER" in capsys.readouterr().out
