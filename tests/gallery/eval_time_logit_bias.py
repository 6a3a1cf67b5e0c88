"""ETLB: a bias on the logits optimized while scoring, in a file over the limit (#1399)."""

from gallery import slot
from gallery.case import Violation

CASE = Violation(9, "eval-time logit bias", "#1399", ("B-a", "C1-a"), settings={"compress.limit_bytes": 400_000})
CasePredictor = slot.CasePredictor
