"""Hessians measured after a training loop that used all of its 600 s (#634, #1934)."""

from gallery.case import Cheat
from golf.ground import store

CASE = Cheat(11, "GPTQ outside the training time", "#634 #1934 #1950", ("B-c",))
TRAIN, CALIBRATE = "artifacts/train/clock.json", "artifacts/calibrate/clock.json"


def arrange(place, training: float = 600.0, hessians: float = 46.0) -> None:
    trained = {"train_seconds": training, "limit_seconds": 600.0}
    store.write_json(TRAIN, store.read_json(TRAIN) | trained)
    store.write_json(CALIBRATE, store.read_json(CALIBRATE) | {"train_seconds": hessians})
