"""CaseOps: capitals become operators and small letters, undone exactly, every byte charged once (#1729)."""

import thimble as project

from gallery import bench
from gallery.case import TRAIN, Innocent
from gallery.honest import Honest

CASE = Innocent(
    "reversible CaseOps tokenizer with exact bytes",
    "#1729 #1736",
    settings={"fetch.transform": "caseops", "evaluate.headline": "plain"},
)
Method = Honest


def arrange(place) -> None:
    project.act("fetch")
    bench.fit(TRAIN)
