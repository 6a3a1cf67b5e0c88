"""benchmarks/record_run.py: its configuration is valid"""

import dataclasses
import sys

import pytest
from ruamel.yaml import YAML

from golf.config import loader
from golf.errors import ConfigError
from golf.submission.bundle import packing
from tests.helpers.tiny_corpus import ROOT

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
    n_bytes = len(packing.pack_bundle(dataclasses.asdict(cfg), ROOT))
    assert 0.8 * cfg.compress.code_reserve_bytes < n_bytes <= cfg.compress.code_reserve_bytes


def test_a_key_that_no_profile_has_is_refused():
    with pytest.raises(ConfigError, match=r"train\.speed: no such key"):
        record_run.make_params(ROOT / "profiles" / "record.yaml", {"train.speed": "fast"})
