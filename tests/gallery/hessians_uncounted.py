"""A few seconds of Hessians that nobody adds to a loop of 599.6 s: still so in merged records (#1787, #1851, #1855)."""

from gallery import hessians_late
from gallery.case import Cheat

CASE = Cheat(12, "3.5 s of GPTQ left out of 600 s", "#1787 #1851 #1855 #1868", ("B-c",))


def arrange(place) -> None:
    hessians_late.arrange(place, training=599.6, hessians=3.5)
