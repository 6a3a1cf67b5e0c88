"""CaseOps scored without its sidecar: the operators, three bytes each, are charged as text (#2071, #2138)."""

import numpy as np
import thimble as project

from gallery import bench, forgery
from gallery.case import TRAIN, Cheat
from gallery.honest import Honest

CASE = Cheat(
    17,
    "CaseOps without its sidecar",
    "#1797 #2071 #2138",
    ("M-a", "M-c"),
    settings={"fetch.transform": "caseops", "evaluate.headline": "plain"},
)
Method = Honest


def arrange(place) -> None:
    project.act("fetch")
    bench.fit(TRAIN)
    forgery.charge(lambda ids, table: np.append(0, table.count(ids)))
