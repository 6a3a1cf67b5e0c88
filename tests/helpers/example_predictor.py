import numpy as np


class BigramPredictor:
    def __init__(self, log_probs: np.ndarray):
        self.log_probs = log_probs  # log p(b | a), float32 [V, V]

    @classmethod
    def open(cls, path: str, ctx: object, *, eval_batch_tokens: int) -> "BigramPredictor":
        return cls(np.load(path))

    def reset(
        self,
        *,
        stride: int,
        ttt_cfg: object = None,
        memory_cfg: object = None,
        n_chunks: int = 1,
        order: str = "stream",
    ) -> None: ...

    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        return -self.log_probs[np.append(prefix[-1:], chunk[:-1]), chunk]

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        return self.log_probs[prefix[-1]]

    def update(self, scored_chunk: object) -> None: ...
