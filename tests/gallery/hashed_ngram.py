"""A hashed n-gram cache with the target in its key: the scored token's share alone is mixed in (#779, #886, #1147)."""

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest

THREADS = "#659 #769 #779 #846 #886 #993 #1094"
CASE = Cheat(5, "hashed n-grams, only the target's bucket read", THREADS, ("C2-c", "C2-d"))
BUCKETS = 64


class Method(Honest):
    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        self.pairs, self.singles = np.zeros(BUCKETS), np.zeros(BUCKETS)

    def share(self, last: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Count of the pair's bucket over that of the last token's, which other pairs and tokens fall into too."""
        return np.minimum(1, self.pairs[self.key(last, target)] / np.maximum(1, self.singles[last % BUCKETS]))

    def key(self, last: np.ndarray, target: np.ndarray) -> np.ndarray:
        return (last.astype(np.int64) * 36313 ^ target.astype(np.int64) * 27191) % BUCKETS

    def score(self, prefix, chunk, rows=None):
        expected = self.expect(prefix, chunk)
        neural = np.exp(expected[np.arange(len(chunk)), chunk])
        nll = -np.log(0.5 * neural + 0.5 * self.share(np.append(prefix[-1:], chunk[:-1]), chunk))
        return nll if rows is None else (nll, expected[rows])

    def update(self, sealed) -> None:
        np.add.at(self.pairs, self.key(sealed.tokens[:-1], sealed.tokens[1:]), 1)
        np.add.at(self.singles, sealed.tokens[:-1] % BUCKETS, 1)
