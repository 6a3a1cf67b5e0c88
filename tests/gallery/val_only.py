"""Trained on val and on nothing else (#44)."""

from gallery import bench
from gallery.case import VAL, Cheat
from gallery.honest import Honest

CASE = Cheat(26, "trained on val", "#44", ("C1-e", "C3-f"), settings={"evaluate.headline": "plain"})
Method = Honest


def arrange(place) -> None:
    bench.fit(VAL)
