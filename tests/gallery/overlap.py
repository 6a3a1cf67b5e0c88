"""val documents in the training text, by the default of a data script's argument (#2127)."""

from gallery import bench, forgery
from gallery.case import TRAIN, VAL, Cheat
from gallery.honest import Honest
from golf.data import shards

CASE = Cheat(
    19, "documents in both train and val", "#2018 #2127 #2130", ("C1-f",), settings={"evaluate.headline": "plain"}
)
Method = Honest


def arrange(place) -> None:
    train, val = shards.open_split(TRAIN), shards.open_split(VAL)
    forgery.write(train, forgery.documents(train) + forgery.documents(val)[:4])
    bench.fit(TRAIN)
