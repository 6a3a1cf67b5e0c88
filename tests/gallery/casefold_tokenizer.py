"""A tokenizer that folds case: an easier text that cannot be restored, with other bytes than the text (#1604)."""

from pathlib import Path

from gallery.case import Violation
from gallery.no_space_piece import train_tokenizer

from tests.helpers import tiny_project

CASE = Violation(
    18,
    "casefold tokenizer",
    "#1578 #1585 #1604 #1670",
    ("M-a", "M-c"),
    error_pattern="its normalizer changes 'A' to 'a', but bytes are counted of the text as nmt_nfkc leaves it",
    settings={"fetch.tokenizer": "own.model"},
)


def prepare_project(project_dir) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path("texts").iterdir())]
    model = train_tokenizer(
        texts, vocab_size=320, normalization_rule_name="nmt_nfkc_cf", required_chars="▁", split_digits=True
    )
    Path("own.model").write_bytes(model)
    tiny_project.run_stage_in_process("fetch")
