"""kB read as KiB: a file of 400 KiB under a limit of 400,000 bytes (#1698 read 16 MB this way)."""

from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

THREADS = "#1399 #1412 #1463 #1698 #1809 #1835 #1978"
SETTINGS = {"compress.limit_bytes": 400_000, "evaluate.headline": "plain"}
CASE = Violation(22, "over the limit of bytes", THREADS, ("B-a",), settings=SETTINGS)
CasePredictor = BigramPredictor
