"""Scylla: byte pieces, of one byte of text each, charged as three (#1143, #1184)."""

import numpy as np

from gallery import forgery
from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(
    14, "byte pieces counted as three", "#1143 #1184 #1289", ("M-a", "M-c"), settings={"evaluate.headline": "plain"}
)
Method = Honest


def arrange(place) -> None:
    forgery.charge(lambda ids, table: np.append(0, table.count(ids)) + 2 * ((ids > 3) & (ids < 260)))
