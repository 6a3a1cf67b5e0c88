"""How much of dev and val occurs word for word in train.

fetch writes into dev's and val's index which bytes of each document are covered by exact matches of 64 bytes or more
with train (golf.data.overlap), because evaluate never opens train. An index without this was not measured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from golf.data.overlap import Range, mark_overlapping

__all__ = ["COVERED", "find_clean_targets", "measure_contamination"]

COVERED = "covered"  # key of a document's row: ranges of the document's bytes, as its tokens count them


def measure_contamination(documents: Sequence[dict[str, Any]]) -> float | None:
    """Return the share in [0, 1] of the bytes of a split that are covered; None if fetch did not measure it.

    documents: rows of index.json.
    """
    if not documents or COVERED not in documents[0]:
        return None
    n_covered = sum(stop - start for row in documents for start, stop in row[COVERED])
    return n_covered / max(1, sum(row["bytes"] for row in documents))


def find_clean_targets(documents: Sequence[dict[str, Any]], target_bytes: np.ndarray) -> np.ndarray | None:
    """Return bool [N - 1]: no byte of the target is covered; None if fetch did not measure it.

    documents: rows of index.json, in the stream's order. target_bytes: int64 [N - 1], of the stream's tokens[1:]. The
    bytes of a document's tokens add up to the document's bytes, so a sum over the stream tells where a target's are. A
    target without bytes, as a BOS, is clean.
    """
    if not documents or COVERED not in documents[0]:
        return None
    ranges: list[Range] = []
    begin = 0
    for row in documents:
        ranges += [(begin + start, begin + stop) for start, stop in row[COVERED]]
        begin += row["bytes"]
    stops = np.cumsum(target_bytes)
    return ~mark_overlapping(ranges, stops - target_bytes, stops)
