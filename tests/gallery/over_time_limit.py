"""An evaluation that takes longer than its limit (#1557, #1966, #1972)."""

import time

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(
    23,
    "evaluation over its time",
    "#889 #915 #1557 #1966 #1972",
    ("B-d",),
    error_pattern=r"evaluate\.limit_s: the limit of 4 s .* before the last score of the plain pass",
    settings={"evaluate.limit_s": 4.0, "evaluate.headline": "plain"},
)


class CasePredictor(BigramPredictor):
    """Starts at once, and is never done."""

    def score(self, prefix, chunk):
        time.sleep(max(0, len(prefix) - 1))
        return super().score(prefix, chunk)
