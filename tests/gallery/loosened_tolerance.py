"""The predictor calls its products bf16, for which more rounding is allowed, and takes that much off every score."""

import torch
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(0, "a tolerance that the predictor loosens", "", ("C1-a", "C2-c"))


class CasePredictor(BigramPredictor):
    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens: int):
        object.__setattr__(ctx, "dtype", torch.bfloat16)
        return super().open(path, ctx, eval_batch_tokens=eval_batch_tokens)

    def score(self, prefix, chunk):
        scores = super().score(prefix, chunk)
        return scores - 0.05
