"""benchmarks/proof.py: the proof that is timed passes, at every place that it should"""

import sys

import pytest

from golf.artifacts import io
from golf.config import loader
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.tiny_profile import write_tiny_profile

sys.path.insert(0, str(ROOT / "benchmarks"))
import proof


def test_every_part_of_the_proof_is_timed_on_a_random_model(tmp_path, tiny_model_config, monkeypatch, capsys):
    profile = tmp_path / "tiny.yaml"
    write_tiny_profile(profile, tiny_model_config)
    arguments = ["proof.py", "--profile", str(profile), "--chunks", "4", "--json", str(tmp_path / "result.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    proof.main()
    row = io.read_json(tmp_path / "result.json")
    assert row["failures"] == []
    assert row["places"] == 4 * loader.load_config(profile).evaluate.proof_places
    assert row["whole_share"] == pytest.approx(row["proof_and_probe_share"] + row["replay_s"] / row["headline_s"])
    assert "nothing contradicts" in capsys.readouterr().out
