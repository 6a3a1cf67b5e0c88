"""Seeds that were trained on different data: one log names 39 shards, the others 80 (#1851, #1868)."""

from pathlib import Path

import submissions

from gallery.case import Cheat
from golf.rules.finding import Finding
from golf.submission.check import check

CASE = Cheat(25, "seeds trained on different data", "#1851 #1868", ("one run",))


def examine(place: Path) -> list[Finding]:
    folder = submissions.sound(place / "bundle")
    seed, bpb = next(iter(submissions.SCORES.items()))
    (folder / f"train_seed{seed}.log").write_text(submissions.modern(seed, bpb, shards=39))
    return check(folder)
