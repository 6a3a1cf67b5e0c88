"""A tokenizer that folds case: an easier text, which does not come back; disputed, never ruled on (#1604)."""

from pathlib import Path

import thimble as project

from gallery import bench
from gallery.case import TRAIN, Cheat
from gallery.honest import Honest
from gallery.no_space_piece import learn

CASE = Cheat(
    18,
    "casefold tokenizer",
    "#1578 #1585 #1604 #1670",
    ("M-b",),
    status="UNRULED",
    settings={"fetch.tokenizer": "own.model", "evaluate.headline": "plain"},
)
Method = Honest


def arrange(place) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path("texts").iterdir())]
    model = learn(texts, vocab_size=320, normalization_rule_name="nmt_nfkc_cf", required_chars="▁", split_digits=True)
    Path("own.model").write_bytes(model)
    project.act("fetch")
    bench.fit(TRAIN)
