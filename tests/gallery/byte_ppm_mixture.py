"""Byte PPM mixed into token scores: probabilities of bytes are no distribution over the vocabulary (#1835, #1872)."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Violation

CASE = Violation(
    8,
    "byte-level PPM mixed into token scores",
    "#1835 #1850 #1858 #1905 #1933 #2039",
    ("C1-a",),
    settings={"evaluate.headline": "plain"},
)
BYTE_PROBABILITY = 0.3  # what the byte model gives each byte of the text


class CasePredictor(BigramPredictor):
    def score(self, prefix, chunk):
        log_probs = self.log_probs(prefix, chunk)
        sizes = np.where(chunk < 260, 1, 2)  # bytes of a token
        return -np.log(0.5 * np.exp(log_probs[np.arange(len(chunk)), chunk]) + 0.5 * BYTE_PROBABILITY**sizes)
