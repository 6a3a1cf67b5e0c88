"""A chunk whose scores are in the ledger: the only thing that a learner is ever given."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """Made by ``Ledger.seal`` alone. tokens: the token before the chunk, then the chunk's own [n + 1]."""

    index: int
    tokens: np.ndarray
    is_last: bool
    chain_hash: str
