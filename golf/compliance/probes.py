"""Probes inside the pass that counts: at randomly drawn chunks, once they are sealed, in the predictor's real state.

A probe repeats a request with an irrelevant change, or requests a full distribution. A predictor whose scores are
functions of the prefix is not affected. The conditions are those of openai/parameter-golf
issue #1017; the probes measure what its checks C1-a, C1-b, C2-a to C2-d and C3-b need.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from golf.data.eval_stream import EvalStream
from golf.evaluation.sandbox.session import SandboxSession
from golf.inference.interface import ScoredChunk

__all__ = ["N_PROBED_POSITIONS", "InPassProbes", "logsumexp", "max_row_diff"]

_RESCORED_TOKENS = 128  # of a probed chunk
N_PROBED_POSITIONS = 3  # of the rescored tokens, each with several probes
_N_PROBED_ROWS = 8  # of the rescored tokens, whose distributions are requested
_N_TARGET_FLIPS = 2  # other tokens tried as the target of each probed position


@dataclass
class InPassProbes:
    """Called with each sealed chunk of a pass and its nll; probes those in ``probed_chunks``.

    Records the largest deviations.

    session: the one that runs the pass. stream: what it scores. chunk_tokens: targets of a chunk. vocab_size: the
    tokenizer's. n_alternatives: tokens tried as the target after one prefix (all, if there are no more).
    max_deviation: by check id. row_sizes: lengths of the distributions. score_biases: sealed scores minus those of
    their distributions, in nats; negative is better than the distribution allows.
    """

    session: SandboxSession
    stream: EvalStream
    chunk_tokens: int
    probed_chunks: frozenset[int]
    vocab_size: int
    n_alternatives: int
    rng: np.random.Generator
    max_deviation: dict[str, float] = field(default_factory=dict)
    n_positions: int = 0
    row_sizes: set[int] = field(default_factory=set)
    score_biases: list[float] = field(default_factory=list)

    @property
    def _tokens(self) -> np.ndarray:
        return self.stream.tokens

    def __call__(self, scored_chunk: ScoredChunk, nll: np.ndarray) -> None:
        index = scored_chunk.index
        if index in self.probed_chunks:
            offset = int(self.rng.integers(max(1, len(nll) - _RESCORED_TOKENS + 1))) if index else 0
            with np.errstate(over="ignore"):  # exp of an invalid, very negative score counts as infinite
                self._probe_chunk(index * self.chunk_tokens + offset, nll[offset : offset + _RESCORED_TOKENS])

    def _probe_chunk(self, begin: int, nll: np.ndarray) -> None:
        """Probe the targets after position ``begin``; ``nll`` are their sealed scores."""
        prefix, targets = self._tokens[: begin + 1], self._tokens[begin + 1 : begin + 1 + len(nll)]
        row_positions = np.append(0, self.rng.permutation(np.arange(1, len(targets))))[:_N_PROBED_ROWS]
        rescored_nll, rows = self.session.score(prefix, targets, row_positions)
        self._record_max("C3-b", max_row_diff(rescored_nll, nll))
        self._record_bias(nll[row_positions], rows, targets[row_positions])
        for position, row in list(zip(row_positions, rows, strict=True))[:N_PROBED_POSITIONS]:
            self.n_positions += 1
            self._probe_future(prefix, targets, position, rescored_nll)
            self._probe_target(prefix, targets, position, rescored_nll, row)
            self._probe_prediction(begin + position, row, nll[position])
        self._probe_alternatives(prefix, rows[0])

    def _record_bias(self, nll: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> None:
        """Compare sealed scores with their distributions. Rounding errors average out, a discount does not."""
        in_vocab = targets < rows.shape[1]
        biases = rows[in_vocab, targets[in_vocab]] + nll[in_vocab]
        self.score_biases += biases[np.isfinite(biases)].tolist()

    def _probe_future(self, prefix: np.ndarray, targets: np.ndarray, position: int, rescored_nll: np.ndarray) -> None:
        """Other tokens after ``position`` must not change any score up to it."""
        changed_targets = targets.copy()
        changed_targets[position + 1 :] = self.rng.choice(self._tokens[1:], len(targets) - position - 1)
        nll = self.session.score(prefix, changed_targets)
        self._record_max("C1-a", max_row_diff(nll[: position + 1], rescored_nll[: position + 1]))

    def _probe_target(
        self, prefix: np.ndarray, targets: np.ndarray, position: int, rescored_nll: np.ndarray, row: np.ndarray
    ) -> None:
        """Another target must not change the distribution at its position, and must be scored by it."""
        for new_target in self.rng.choice(self.vocab_size, _N_TARGET_FLIPS):
            changed_targets = targets.copy()
            changed_targets[position] = new_target
            nll, (flipped_row,) = self.session.score(prefix, changed_targets, [position])
            self._record_max("C1-a", max_row_diff(nll[:position], rescored_nll[:position]))
            self._record_max("C1-b", max_row_diff(flipped_row, row))
            self._record_max(
                "C2-c", max_row_diff(flipped_row[new_target : new_target + 1], -nll[position : position + 1])
            )

    def _probe_prediction(self, position: int, row: np.ndarray, nll: float) -> None:
        """What ``predict`` returns must be a distribution, and the one that the sealed score came from."""
        self._check_row(row)
        target = self._tokens[position + 1]
        rows = [row]
        if self.session.info["has_predict"]:
            rows.append(self.session.predict(self._tokens[: position + 1]))
            self._check_row(rows[-1])
            self._record_max("C2-c", max_row_diff(rows[1], row))
        for log_probs in rows:
            self._record_max("C2-c", max_row_diff(log_probs[target : target + 1], np.array([-nll])))

    def _check_row(self, row: np.ndarray) -> None:
        self.row_sizes.add(len(row))
        self._record_max("C2-a", logsumexp(row))
        self._record_max("C2-b", np.inf if np.isnan(row).any() else max(0.0, row.max()))

    def _probe_alternatives(self, prefix: np.ndarray, row: np.ndarray) -> None:
        """Score alternatives as the target after one prefix: their probabilities must add up to 1.

        If the vocabulary is larger than ``n_alternatives``, the likeliest and random tokens are tried, and ``row``
        gives the probability of the others.
        """
        ids = np.arange(min(len(row), self.vocab_size))
        if len(ids) > self.n_alternatives:
            likeliest_ids = np.argsort(row)[::-1][: self.n_alternatives // 2]
            random_ids = self.rng.choice(
                np.setdiff1d(ids, likeliest_ids), self.n_alternatives - len(likeliest_ids), replace=False
            )
            ids = np.concatenate([likeliest_ids, random_ids])
        nlls = [self.session.score(prefix, np.array([i], dtype=self._tokens.dtype))[0] for i in ids]
        untested_prob = np.exp(np.delete(row.astype(np.float64), ids)).sum()  # includes ids beyond the tokenizer's
        self._record_max("C2-d", np.exp(-np.array(nlls, dtype=np.float64)).sum() + untested_prob - 1)

    def _record_max(self, check_id: str, deviations: ArrayLike) -> None:
        """Keep the largest magnitude for a check; NaN counts as infinite."""
        deviations = np.abs(np.atleast_1d(np.asarray(deviations, dtype=np.float64)))
        largest = np.inf if np.isnan(deviations).any() else deviations.max(initial=0.0)
        self.max_deviation[check_id] = max(self.max_deviation.get(check_id, 0.0), float(largest))


def max_row_diff(a: np.ndarray, b: np.ndarray) -> float:
    """Largest |a - b| of two rows: 0 for equal infinities, infinite for rows of different lengths."""
    if len(a) != len(b):
        return np.inf
    unequal = a != b
    return float(np.abs(a[unequal] - b[unequal]).max(initial=0.0))


def logsumexp(row: np.ndarray) -> float:
    """log Σ exp of a row, in float64; infinite for a row without a finite maximum."""
    row = row.astype(np.float64)
    row_max = row.max()
    return float(row_max + np.log(np.exp(row - row_max).sum())) if np.isfinite(row_max) else np.inf
