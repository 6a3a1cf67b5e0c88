"""benchmarks/gptq.py: both sides give the same codes"""

import sys

import pytest

from golf.artifacts import io
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import gptq


def test_both_sides_give_nearly_the_same_codes(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(gptq.MODEL_SHAPES, "tiny", (1, 32, 16, 64, 100))
    arguments = ["gptq.py", "tiny", "--repeat", "1", "--threads", "1", "--json", str(tmp_path / "rows.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    gptq.main()

    (row,) = io.read_json(tmp_path / "rows.json")["rows"]
    assert (row["shapes"], row["tensors"]) == ("tiny", 7)
    assert row["codes_equal"] > 0.99
    assert row["error_ratio"] == pytest.approx(1, abs=0.01)
    assert row["ratio"] == pytest.approx(row["baseline_s"] / row["ours_s"])
    assert "tiny" in capsys.readouterr().out
