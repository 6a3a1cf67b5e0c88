"""An evaluation that takes longer than it may (#1557, #1966, #1972)."""

import time

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(
    23,
    "evaluation over its time",
    "#889 #915 #1557 #1966 #1972",
    ("B-d",),
    refused=r"evaluate\.limit_s: 4 s .* before the pass plain had its last score",
    settings={"evaluate.limit_s": 4.0, "evaluate.headline": "plain"},
)


class Method(Honest):
    """Starts at once, and is never done."""

    def score(self, prefix, chunk, rows=None):
        time.sleep(max(0, len(prefix) - 1))
        return super().score(prefix, chunk, rows)
