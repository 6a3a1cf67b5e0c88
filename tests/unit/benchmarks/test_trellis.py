"""benchmarks/trellis.py: ratios at equal divergence of each run, and over several"""

import math
import sys

import pytest

from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import trellis

STEPS = (0.5, 0.7, 1.0, 1.4)


def make_points(share: float, documents: int = 3) -> dict[str, list[dict]]:
    """The trellis takes ``share`` of the baseline's bytes at equal divergence, in every document."""
    points = {form: [] for form in (trellis.BASELINE, "8:0.05")}
    for step in STEPS:
        for form, factor in ((trellis.BASELINE, 1.0), ("8:0.05", share)):
            size = round(factor * 1e6 * (1 - math.log(step)))
            kl = [10 * step * (i + 1) for i in range(documents)]
            points[form].append({"base_step": step, "bytes": size, "kl": kl, "tokens": [100] * documents})
    return points


def test_a_form_that_takes_nine_tenths_of_the_bytes_has_that_ratio_everywhere():
    points = make_points(0.9)
    ratios = trellis.pool([trellis.compare_forms(points)])["8:0.05"]
    assert [row["base_step"] for row in ratios] == list(STEPS)
    for row, point in zip(ratios, points[trellis.BASELINE], strict=True):
        assert row["kl"] == sum(point["kl"]) / 300
        assert [row[key] for key in ("value", "low", "high")] == pytest.approx([0.9] * 3, abs=1e-5)


def test_over_runs_the_ratio_is_the_geometric_mean_whatever_their_documents():
    runs = [trellis.compare_forms(make_points(share, documents)) for share, documents in ((0.9, 3), (0.8, 5))]
    for row in trellis.pool(runs)["8:0.05"]:
        assert row["value"] == pytest.approx(math.sqrt(0.72), abs=1e-5)
        assert row["low"] == pytest.approx(row["high"], abs=1e-5)


def test_a_divergence_that_one_run_does_not_reach_has_no_ratio():
    far = make_points(0.9)
    for point in far["8:0.05"]:
        point["kl"] = [kl / 10 for kl in point["kl"]]
    rows = trellis.pool([trellis.compare_forms(make_points(0.9)), trellis.compare_forms(far)])["8:0.05"]
    assert [row["value"] for row in rows] == [None] * 4


def test_a_runs_row_has_every_point_per_token():
    row = trellis.summarize(make_points(0.9))
    assert (row["documents"], row["tokens"]) == (3, 300)
    assert row["points"]["8:0.05"][0] == {"base_step": 0.5, "bytes": round(9e5 * (1 + math.log(2))), "kl": 0.1}


def test_forms_are_the_states_and_the_rate_weight():
    coding = trellis.parse_form("scalar:0.05")
    assert (coding.trellis_states, coding.rate_weight) == (None, 0.05)
    assert trellis.parse_form("16:0").trellis_states == 16
