"""benchmarks/evaluation.py: the baseline scores and trains like golf's predictor"""

import sys

from golf.artifacts import io
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.tiny_profile import write_tiny_profile

sys.path.insert(0, str(ROOT / "benchmarks"))
import evaluation


def test_both_sides_have_the_same_scores_in_every_mode(tmp_path, tiny_model_config, monkeypatch):
    write_tiny_profile(tmp_path / "tiny.yaml", tiny_model_config)
    arguments = ["evaluation.py", "--profile", tmp_path / "tiny.yaml", "--eager", "--chunks", "3", "--repeat", "1"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "--json", str(tmp_path / "result.json")])
    evaluation.main()
    modes = io.read_json(tmp_path / "result.json")["modes"]
    assert list(modes) == ["sliding", "ttt", "prequant"]
    assert all(row["agree"] for row in modes.values())
