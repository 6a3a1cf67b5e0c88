"""A submission.json with another score than its logs: the bundle is not one run (#86, #2118, #2124)."""

from pathlib import Path

import submissions

from gallery.case import Cheat
from golf.rules.finding import Finding
from golf.submission.check import check

CASE = Cheat(24, "json and logs of different runs", "#86 #2118 #2124", ("M-e",))


def examine(place: Path) -> list[Finding]:
    return check(submissions.sound(place / "bundle", claims={"val_bpb": 1.0741}))
