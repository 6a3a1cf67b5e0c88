"""A word's leading space charged twice, in its piece and again in the loop: 17 % more bytes to divide by (#1687)."""

import numpy as np

from gallery import forgery
from gallery.case import Cheat
from gallery.honest import Honest

THREADS = "#1545 #1576 #1632 #1672 #1687 #1698 #1711 #1712"
CASE = Cheat(13, "spaces counted twice", THREADS, ("M-a", "M-c"), settings={"evaluate.headline": "plain"})
Method = Honest


def arrange(place) -> None:
    forgery.charge(lambda ids, table: np.append(0, table.count(ids)) + table.space[ids])
