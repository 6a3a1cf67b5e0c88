"""An evaluation that takes longer than it may (#1557, #1966, #1972)."""

from gallery.case import Cheat
from gallery.honest import Honest

SETTINGS = {"evaluate.limit_s": 0.001, "evaluate.headline": "plain"}
CASE = Cheat(
    23,
    "evaluation over its time",
    "#889 #915 #1557 #1966 #1972",
    ("B-d",),
    refused=r"evaluate\.limit_s: 0\.001 s .* were over",
    settings=SETTINGS,
)
Method = Honest
