"""Settings of fetch for a folder of texts, and that folder."""

import json
import lzma
from pathlib import Path

from golf.config.sections import FetchConfig
from tests.helpers.tiny_corpus import make_tiny_corpus

SPLITS = ("train", "dev", "val")


def fetch_config(**changes):
    settings = {
        "source": "files",
        "path": "texts",
        "tokenizer": "train",
        "character_coverage": 0.999,
        "val_percent": 15,
        "dev_percent": 15,
        "transform": "none",
        "held_out": "documents",  # the sentences of the tiny corpus are drawn from few parts, so many occur again
        "contamination": True,
    }
    return FetchConfig(**settings | {"shard_tokens": 1000} | changes)


def write_texts(folder: Path) -> Path:
    """The tiny corpus, one of its documents twice, two empty ones and one in a file of its own."""
    corpus = make_tiny_corpus()
    rows = [json.dumps({"text": text}) for text in [*corpus, "", corpus[3], "  "]]
    (folder / "a.jsonl.xz").write_bytes(lzma.compress("\n".join(rows).encode()))
    (folder / "b.txt").write_text("One more text, with  spaces\nand lines.", encoding="utf-8")
    return folder
