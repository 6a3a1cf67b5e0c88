"""Build the data set of a folder of texts and print the peak memory. Arguments: texts, output folder, coverage."""

import dataclasses
import json
import resource
import sys
from pathlib import Path

from golf.config import loader
from golf.data import prepare
from tests.helpers.tiny_corpus import ROOT


def main(texts: str, out: str, coverage: str) -> None:
    """Prints a JSON object: bytes of memory beyond those of the imported modules, and the number of tokens."""
    settings = {"source": "files", "path": texts, "character_coverage": float(coverage)}
    settings |= {"held_out": "documents", "contamination": False}
    config = loader.load_config(ROOT / "profiles/laptop.yaml")
    n_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifest = prepare.build_dataset(dataclasses.replace(config.fetch, **settings), config.model.vocab_size, Path(out))
    n_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - n_before
    n_tokens = sum(row["tokens"] for row in manifest["splits"].values())
    print(json.dumps({"memory_bytes": 1024 * n_kilobytes, "tokens": n_tokens}))


if __name__ == "__main__":
    main(*sys.argv[1:])
