"""An n-gram tilt whose gate looks at the token itself, whether it starts a word, before it is predicted (#1420)."""

import numpy as np

from gallery.case import Cheat
from gallery.tilt import Method as Tilt

CASE = Cheat(
    7,
    "n-gram tilt gated by the token itself",
    "#1420 #1437 #1967 #2018 #2118",
    ("C1-b", "C2-c"),
    settings={"evaluate.headline": "plain"},
)
BYTES = 260  # ids below are single bytes, those above whole pieces


class Method(Tilt):
    def tilt(self, row: np.ndarray, hint: int, target: int) -> None:
        if (hint < BYTES) == (target < BYTES):
            super().tilt(row, hint, target)
