"""Interface of a submitted predictor: it opens the artifact, scores chunks, and may adapt to scored ones.

The evaluator imports the class that ``evaluate.predictor`` names and calls it in a process of its own, in this order:

    predictor = SomeClass.open(path, ctx, eval_batch_tokens=...)
    for each pass over the stream:
        predictor.reset(stride=..., ttt_cfg=..., memory_cfg=..., n_chunks=..., order=...)
        for each chunk, first to last:
            predictor.score(prefix, chunk)      # its scores are then sealed in the ledger
            predictor.update(scored_chunk)      # only now may the predictor learn from the chunk

A second predictor, opened in another process, proves the scores: before it is given a chunk, it is asked by ``predict``
for the distribution at random places of it, in ascending order, and then gets it by ``update``, without ``score``. So
scores may depend on the artifact, on ``reset``, on the prefix and on what ``update`` was given, and on nothing else.

Token ids are uint16. ``prefix`` begins at the first token of the stream and ends with the token before the chunk, so it
is never empty. Its memory and that of ``chunk`` hold no token beyond the chunk. Log-probabilities are natural.

A GolfError that a predictor raises ends the evaluation with that error's own message; any other exception ends it with
PredictorError, which names the call. docs/evaluation-rules.md has a complete example.
"""

# n tokens of the chunk, V vocabulary size

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from golf.distributed.context import DistContext

__all__ = [
    "LoRASettings",
    "MemorySettings",
    "PhasedSettings",
    "Predictor",
    "ScoredChunk",
    "ScoringSession",
    "TTTSettings",
]


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A chunk whose scores are sealed in the ledger: the only thing that a predictor may learn from.

    Only the evaluator makes one: ``Ledger.append`` in a pass that counts, else the proof and the ablations.

    index: of the chunk in the pass, from 0. tokens: uint16 [n + 1], the token before the chunk, then the chunk itself.
    is_last: no chunk follows in this pass. chain_hash: hex digest of the ledger up to and including this chunk.
    """

    index: int
    tokens: np.ndarray
    is_last: bool
    chain_hash: str


class LoRASettings(Protocol):
    """The section ``lora`` of params.yaml, see DocumentLoRA. q, k, v, o, mlp and head are read by name."""

    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def head(self) -> bool: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def seed(self) -> int: ...


class PhasedSettings(Protocol):
    """The section ``phased`` of params.yaml, see PhasedSGD."""

    @property
    def phases(self) -> int: ...
    @property
    def prefix_documents(self) -> int: ...
    @property
    def chunk_tokens(self) -> int: ...
    @property
    def lora_lr(self) -> float | None: ...


class TTTSettings(Protocol):
    """The keys of ``ttt`` in params.yaml that tell a predictor how to adapt, and the sections that ``method`` reads."""

    @property
    def method(self) -> str: ...
    @property
    def lora(self) -> LoRASettings | None: ...
    @property
    def phased(self) -> PhasedSettings | None: ...
    @property
    def freeze_blocks(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def grad_clip(self) -> float | None: ...
    @property
    def batch_tokens(self) -> int: ...


class MemorySettings(Protocol):
    """The section ``memory`` of params.yaml: what a predictor may keep of the text before a token.

    See NgramMemory, NeuralCache for the keys from ``cache_tokens`` on, and TokenTilt for those from ``tilt_order`` on.
    """

    @property
    def scope(self) -> str: ...

    @property
    def orders(self) -> Sequence[int]: ...
    @property
    def escape_weights(self) -> Sequence[float]: ...
    @property
    def max_successors(self) -> int: ...
    @property
    def recency_exponent(self) -> float: ...
    @property
    def cache_tokens(self) -> int | None: ...
    @property
    def cache_theta(self) -> float: ...
    @property
    def cache_decay_tokens(self) -> float: ...
    @property
    def cache_exponent(self) -> float: ...
    @property
    def cache_escape_weight(self) -> float: ...
    @property
    def tilt_order(self) -> int | None: ...
    @property
    def tilt_beta(self) -> float: ...
    @property
    def tilt_threshold(self) -> float: ...
    @property
    def hedge(self) -> Sequence[float]: ...
    @property
    def hedge_rate(self) -> float: ...


class ScoringSession(Protocol):
    """An opened predictor as the evaluator calls it, in this process or through the sandbox."""

    def reset(
        self,
        *,
        stride: int,
        ttt_cfg: TTTSettings | None = None,
        memory_cfg: MemorySettings | None = None,
        n_chunks: int = 1,
        order: str = "stream",
    ) -> object:
        """Begin a pass: return to the state after ``open``. The returned value is ignored.

        stride: tokens by which scoring windows advance, at most the model's context. ttt_cfg: None means that the
        predictor must not learn in this pass, though ``update`` is called all the same. memory_cfg: how a score
        may use the prefix beyond the model's context; None where the mode has no memory. n_chunks: chunks of the pass.
        order: ``evaluate.order``. documents: a chunk holds tokens of one document, and at most as its last the one that
        starts the next, and a score should use its document alone.
        """

    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        """Return the negative log-probability of each token of ``chunk``, in nats: float [n].

        Entry i depends on ``prefix`` and ``chunk[: i + 1]`` alone. ``prefix`` is read-only; ``chunk`` must be left as
        it is.
        """

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        """Return the log-probabilities of the token after ``prefix``: float [V], which sum to 1 in probability.

        The row holds the score that ``score`` gives the token that comes next, wherever the chunk began.
        """

    def update(self, scored_chunk: ScoredChunk) -> None:
        """Learn from a chunk that has been scored and sealed. It may do nothing.

        Without ``ttt_cfg`` it must not change the weights, and without ``memory_cfg`` it must remember nothing.
        """


class Predictor(ScoringSession, Protocol):
    """What a submitted class implements.

    Two class attributes are optional. ``documents = "independent"`` declares that no token of one document affects the
    scores of another, which the evaluator then checks (C1-c). ``disputed``, a list or tuple of names, declares
    techniques on which the rules are silent (U-b).
    """

    @classmethod
    def open(cls, path: str, ctx: DistContext, *, eval_batch_tokens: int) -> Self:
        """Load the artifact at ``path``, and nothing else, onto ``ctx.device``.

        With several ranks each opens its own predictor, and all are called alike; every rank must give the same answer.
        eval_batch_tokens: input tokens to hold on a device at a time (``evaluate.eval_batch_tokens``).
        """
