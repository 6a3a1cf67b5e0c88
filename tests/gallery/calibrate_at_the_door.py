"""The same through the stage's own door, which is closed to val for every stage but those that may read it."""

from gallery import calibrates_on_val
from gallery.case import VAL, Cheat
from golf.ground import stage

CASE = Cheat(
    10,
    "GPTQ calibrated on val, the stage as its command enters it",
    "#728 #777",
    ("C1-e",),
    refused="calibrate may not open .*: val is for evaluate alone",
)


def arrange(place) -> None:
    stage.guard("calibrate", VAL)
    calibrates_on_val.arrange(place)
