"""The ratios of colliding buckets for every token of the vocabulary: they add up to far more than 1 (#886)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation
from gallery.hashed_ngram import THREADS
from gallery.hashed_ngram import CasePredictor as HashedNgram

CASE = Violation(5, "hashed n-grams, ratios not normalized", THREADS, ("C2-a",))


class CasePredictor(HashedNgram):
    score = BigramPredictor.score

    def log_probs(self, prefix, chunk):
        last = np.append(prefix[-1:], chunk[:-1])[:, None]
        ratios = self.bucket_ratio(last, np.arange(len(self.table))[None])
        return np.log(0.5 * np.exp(super().log_probs(prefix, chunk)) + 0.5 * ratios)
