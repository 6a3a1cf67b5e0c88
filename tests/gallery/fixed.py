"""A fixed predictor: the next token from the last one, nothing learned while scoring (track A)."""

from gallery.case import Innocent
from gallery.honest import Honest

CASE = Innocent("fixed predictor", settings={"evaluate.headline": "plain"})
Method = Honest
