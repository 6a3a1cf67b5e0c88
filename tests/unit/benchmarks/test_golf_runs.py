"""benchmarks/golf_runs.py: the parameters of a run of its own"""

import shutil
import sys

from golf.config import loader
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import golf_runs


def test_keys_are_set_in_a_valid_file(tmp_path):
    shutil.copy(ROOT / "profiles/laptop.yaml", tmp_path / "params.yaml")
    golf_runs.set_params(tmp_path / "params.yaml", {"compress.limit_bytes": 77_000, "train.steps": 7})
    cfg = loader.load_config(tmp_path / "params.yaml")
    assert (cfg.compress.limit_bytes, cfg.train.steps) == (77_000, 7)
