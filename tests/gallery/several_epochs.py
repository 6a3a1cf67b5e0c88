"""Several epochs of SGD on a chunk that is scored: merged twice with three, asked about, never ruled on (#1698)."""

import thimble as project

from gallery.case import Cheat

CASE = Cheat(
    0,
    "several epochs on scored chunks",
    "#549 #1493 #1698",
    ("U-a",),
    status="UNRULED",
    settings={"ttt.epochs": 3},
)


def arrange(place) -> None:
    project.act("ttt")
