"""A causal token tilt: what followed the same two tokens before is made likelier, and the rest less so (#1514).

p'(v) = p(v) exp(b [v = hint]) / (1 + p(hint) (exp(b) - 1)), which adds up to 1 over the vocabulary.
"""

import numpy as np
from gallery.bigram_predictor import BigramPredictor
from gallery.case import Compliant

CASE = Compliant("causal token tilt, normalized", "#1514", settings={"evaluate.headline": "plain"})
BETA = 2.0


class CasePredictor(BigramPredictor):
    def log_probs(self, prefix, chunk):
        tokens = np.append(prefix, chunk).tolist()
        log_probs, hints, next_by_pair = super().log_probs(prefix, chunk).copy(), {}, {}
        for position in range(2, len(tokens)):
            pair = tuple(tokens[position - 2 : position])
            if position >= len(prefix) and pair in next_by_pair:
                hints[position - len(prefix)] = next_by_pair[pair]
            next_by_pair[pair] = tokens[position]
        for row, hint in hints.items():
            self.tilt(log_probs[row], hint, chunk[row])
        return log_probs

    def tilt(self, row: np.ndarray, hint: int, target: int) -> None:
        total = 1 + np.exp(row[hint]) * (np.exp(BETA) - 1)
        row[hint] += BETA
        row -= np.log(total)
