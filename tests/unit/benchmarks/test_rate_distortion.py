"""benchmarks/rate_distortion.py: no point is dropped"""

import sys

import pytest

from tests.helpers.tiny_corpus import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import rate_distortion


def make_point(recipe: str, setting: float, kl: float, bpb_shift: float, size: int) -> dict:
    columns = {"kl": [kl, kl, kl], "bits": [30 + bpb_shift, 30.0, 30.0], "target_bytes": [9, 9, 9], "tokens": [5, 5, 5]}
    sizes = {"bytes": {"ans": size}, "bits_per_weight": 1.0, "order_0_bytes": size}
    return {"recipe": recipe, "setting": str(setting), **sizes, **columns}


def test_points_that_lower_the_bpb_stay_and_take_part_in_the_comparison():
    full = make_point("full precision", 0, 0.0, 0.0, 0) | {"bytes": {}}
    points = [make_point("row", factor, kl, -3.0, size) for factor, kl, size in [(1, 1e-3, 200), (2, 1e-2, 100)]]
    points += [make_point("rows", step, kl, -6.0, size) for step, kl, size in [(1, 1e-3, 120), (2, 1e-2, 60)]]
    summary = rate_distortion.summarize([full, *points])
    assert [point["bpb_increase"] for point in summary["points"]] == pytest.approx([-3 / 27, -3 / 27, -6 / 27, -6 / 27])
    ratios = [row["ratios"]["rows / coder"]["value"] for row in summary["comparisons"]]
    assert ratios == pytest.approx([0.6, 0.6])
