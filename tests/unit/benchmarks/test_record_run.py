"""benchmarks/record_run.py: its configuration is valid; the whole run on a tiny text"""

import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.config import loader
from golf.errors import ConfigError
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT, make_tiny_corpus

sys.path.insert(0, str(ROOT / "benchmarks"))
import record_run


def test_the_record_profile_with_the_overrides_is_valid(tmp_path):
    params = record_run.make_params(
        ROOT / "profiles" / "record.yaml", record_run.PARAM_OVERRIDES | {"fetch.path": "texts"}
    )
    with open(tmp_path / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)
    cfg = loader.load_config(tmp_path / "params.yaml")
    assert (cfg.quantize.grid, cfg.compress.limit_bytes, cfg.quantize.base_step) == ("row_column", 16_000_000, None)
    assert [cfg.train.ranks, cfg.ttt.ranks, cfg.calibrate.ranks, cfg.evaluate.ranks] == [1, 1, 1, 1]


def test_a_key_that_no_profile_has_is_refused():
    with pytest.raises(ConfigError, match=r"train\.speed: no such key"):
        record_run.make_params(ROOT / "profiles" / "record.yaml", {"train.speed": "fast"})


@pytest.mark.soak
def test_a_run_on_a_tiny_text_collects_the_file_its_metrics_and_its_curve(tmp_path):
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(make_tiny_corpus()):
        (tmp_path / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    tiny = {
        f"{section}.{key}": value for section, keys in tiny_project.TINY_PARAMS.items() for key, value in keys.items()
    }
    tiny = {key: value for key, value in tiny.items() if not key.startswith("fetch.") or "percent" in key}
    fast = {
        "quantize.base_step": 0.5,
        "train.limit_s": "null",
        "train.steps": 30,
        "evaluate.probe_alternative_tokens": 4,
    }
    pairs = [f"{key}={'null' if value is None else value}" for key, value in (tiny | fast).items()]
    command = [
        sys.executable,
        ROOT / "benchmarks/record_run.py",
        "--text",
        tmp_path / "texts",
        "--out",
        tmp_path / "out",
    ]
    environment = tiny_project.isolated_env(tmp_path) | {"PYTHONPATH": str(ROOT)}
    options = ["--curve-tokens", "2000", "--json", tmp_path / "figures.json", "--set", *pairs]
    done = subprocess.run(
        [*map(str, command), *map(str, options)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    collected = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert collected == sorted([*record_run.COLLECTED_FILES, "rate_distortion.json", "record_run.json"])
    result = io.read_json(tmp_path / "figures.json")
    assert {stage["status"] for stage in result["stages"].values()} == {"ok"}
    assert result["steps"] == 30
    assert result["metrics"]["val_bpb_sliding"] > 0
