"""A part of val scored in place of all of it (#1854)."""

from gallery import forgery
from gallery.case import VAL, Cheat
from gallery.honest import Honest
from golf.data import shards

CASE = Cheat(19, "part of val", "#1854", ("M-d",), settings={"evaluate.headline": "plain"})
Method = Honest


def arrange(place) -> None:
    val = shards.open_split(VAL)
    forgery.write(val, forgery.documents(val)[:6])
