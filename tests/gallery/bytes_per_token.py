"""A constant number of bytes for every token in place of its own (#875)."""

import numpy as np

from gallery import forgery
from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(16, "bytes a token hard-coded", "#144 #875", ("M-a", "M-c"), settings={"evaluate.headline": "plain"})
Method = Honest


def arrange(place) -> None:
    forgery.charge(lambda ids, table: 3 + np.arange(len(ids)) % 2)  # 3.5 in the mean
