"""benchmarks/rate_distortion.py on a finished run: every point is measured once, and the divergence is exact"""

import sys

import numpy as np
import pytest

from golf.artifacts import io
from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import divergence
import rate_curves
import rate_distortion

SHORT_LISTS = {"CLIP_FACTORS": (1.0, 2.0), "TUNED_CLIPS": ((12.85, 25.7), (20.0, 40.0)), "BASE_STEPS": (0.2, 1.0, 3.0)}


@pytest.fixture
def benchmark(finished_run, tmp_path, monkeypatch):
    """A function that runs the script on two runs of the tiny model and returns its result."""
    monkeypatch.setattr(rate_curves, "N_RESAMPLES", 20)
    rate_curves._draw_document_counts.cache_clear()
    for name, value in SHORT_LISTS.items():
        monkeypatch.setattr(rate_distortion, name, value)

    def run_benchmark(*arguments: str) -> dict:
        runs = [f"tiny={finished_run / 'artifacts'}"] * 2
        files = ["--cache", tmp_path / "points.jsonl", "--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv"]
        monkeypatch.setattr(sys, "argv", ["rate_distortion.py", *runs, *map(str, files), "--tokens", "600", *arguments])
        rate_distortion.main()
        return io.read_json(tmp_path / "out.json")

    yield run_benchmark
    rate_curves._draw_document_counts.cache_clear()


def test_each_setting_of_each_recipe_is_a_row_and_each_step_has_a_ratio(benchmark, tmp_path, capsys):
    result = benchmark()
    points = result["runs"][0]["points"]
    counts = {recipe: sum(point["recipe"] == recipe for point in points) for recipe in rate_distortion.RECIPES}
    n_tuned = counts.pop("tuned")
    assert counts == {"row": 2, "tensors": 3, "columns": 3, "rows": 3}
    assert 1 <= n_tuned <= 4
    for point in points:
        assert point["kl"] > 0
        assert point["half_width"] > 0
        assert set(point["bytes"]) == {"brotli", "ans"}
    rows = io.read_csv(tmp_path / "out.csv", {"recipe": str, "bpb_increase": io.parse_finite_float})
    assert len(rows) == 2 * 2 * len(points)  # two runs, two codecs
    names = ["coder / published", "clips / coder", "tensors / clips", "columns / tensors", "rows / columns"]
    names += ["rows / published", "rows / coder", "rows / clips"]
    for row in (*result["runs"][0]["comparisons"], *result["seeds"]):
        assert list(row["ratios"]) == names
    assert result["seeds"][0]["runs"] == 2
    assert "clips chosen on dev, of 4 pairs" in capsys.readouterr().out


def test_a_second_run_measures_nothing_again_but_what_a_kill_has_cut_short(benchmark, tmp_path, monkeypatch):
    options = ["--recipes", "row", "rows", "--codecs", "ans"]
    first, cache = benchmark(*options), tmp_path / "points.jsonl"
    lines = cache.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6  # one for full precision
    cache.write_bytes(b"".join(lines[:-1]) + lines[-1][:50])
    n_scored, score = [], divergence.DivergenceScorer.score
    monkeypatch.setattr(
        divergence.DivergenceScorer, "score", lambda *arguments: n_scored.append(1) or score(*arguments)
    )
    assert benchmark(*options) == first
    assert len(n_scored) == 1
    assert cache.read_bytes().splitlines()[:-1] == [line.rstrip(b"\n") for line in lines[:-1]]


def test_the_divergence_is_that_of_whole_distributions_and_zero_for_the_same_weights(finished_run):
    folder = finished_run / "artifacts"
    artifacts = rate_distortion.RunArtifacts.load(folder)
    scorer = divergence.DivergenceScorer(artifacts, folder, "val", 600, "cpu")
    same = scorer.score(artifacts.state_dict)
    moved = scorer.score({name: 1.05 * tensor for name, tensor in artifacts.state_dict.items()})
    assert sum(same["tokens"]) == 600
    assert len(same["kl"]) == len(same["target_bytes"]) > 1
    assert same["kl"] == pytest.approx(np.zeros(len(same["kl"])), abs=1e-3)
    assert min(moved["kl"]) > 0
