"""An n-gram tilt whose gate depends on the token itself, whether it starts a word, before it is predicted (#1420)."""

import numpy as np
from gallery.case import Violation
from gallery.token_tilt import CasePredictor as Tilt

CASE = Violation(
    7,
    "n-gram tilt gated by the token itself",
    "#1420 #1437 #1967 #2018 #2118",
    ("C1-a", "C2-c"),
    settings={"evaluate.headline": "plain"},
)
N_BYTE_TOKENS = 260  # ids below are single bytes, those above whole pieces


class CasePredictor(Tilt):
    def tilt(self, row: np.ndarray, hint: int, target: int) -> None:
        if (hint < N_BYTE_TOKENS) == (target < N_BYTE_TOKENS):
            super().tilt(row, hint, target)
