"""Score-first SGD: a chunk is scored, sealed, and only then learned from (#549, #1413)."""

from gallery.bias import Biased
from gallery.case import Innocent

CASE = Innocent("score-first SGD on a bias", "#549 #1413")
Method = Biased
