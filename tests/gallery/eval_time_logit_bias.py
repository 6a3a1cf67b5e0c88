"""ETLB: a bias on the logits optimised while scoring, in a file over the limit (#1399)."""

from gallery.case import Violation
from gallery.slot import CasePredictor

CASE = Violation(9, "eval-time logit bias", "#1399", ("B-a", "C1-b"), settings={"compress.limit_bytes": 400_000})
