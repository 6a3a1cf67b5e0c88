"""Pre-quantisation TTT: epochs of AdamW on all of val, then quantise and score what was learned by heart (#1485)."""

import thimble as project

from gallery.case import Cheat

SETTINGS = {"ttt.stream": "val", "ttt.method": "prequant", "quantize.weights": "ttt"}
CASE = Cheat(1, "pre-quantisation TTT on val", "#1376 #1485 #1735 #1911 #1972", ("C1-e", "C3-f"), settings=SETTINGS)


def arrange(place) -> None:
    for stage in ("ttt", "calibrate", "quantize", "compress"):
        project.act(stage)
