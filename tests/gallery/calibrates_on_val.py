"""GPTQ calibrated on val: its statistics are baked into the rounding of every weight (#728, #777)."""

from unittest import mock

import thimble as project

from gallery.case import VAL, Cheat

CASE = Cheat(10, "GPTQ calibrated on val", "#728 #777", ("C1-e", "C3-f"))


def arrange(place) -> None:
    with mock.patch("stages.calibrate.TRAIN", VAL):
        project.act("calibrate")
    project.act("quantize")
    project.act("compress")
