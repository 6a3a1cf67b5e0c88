"""The same ratios of colliding buckets for every token of the vocabulary: they add up to far more than 1 (#886)."""

import numpy as np

from gallery.case import Cheat
from gallery.hashed_ngram import THREADS
from gallery.hashed_ngram import Method as HashedNgram
from gallery.honest import Honest

CASE = Cheat(5, "hashed n-grams, ratios not normalised", THREADS, ("C2-a", "C2-d"))


class Method(HashedNgram):
    score = Honest.score

    def expect(self, prefix, chunk):
        last = np.append(prefix[-1:], chunk[:-1])[:, None]
        ratios = self.share(last, np.arange(len(self.table))[None])
        return np.log(0.5 * np.exp(super().expect(prefix, chunk)) + 0.5 * ratios)
