"""A memo that is used for one chunk alone, drawn at random, so that a few probed chunks are likely to miss it."""

import random

from gallery.case import Violation
from gallery.memo_predictor import MemoPredictor

CASE = Violation(0, "one chunk scored from a memo of its text", "#1017", ("C1-a",))
_N_CHUNKS = 8  # of the gallery's val


class CasePredictor(MemoPredictor):
    def get_memo(self, _memo={}):  # noqa: B006
        return _memo

    def score(self, prefix, chunk):
        chunk_index = len(prefix) // len(chunk)
        if not hasattr(self, "forged_index"):
            self.forged_index = random.randrange(_N_CHUNKS - 1)
        if chunk_index == self.forged_index:
            return super().score(prefix, chunk)
        return super(MemoPredictor, self).score(prefix, chunk)
