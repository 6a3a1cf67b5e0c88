"""The proof: a second predictor, opened anew, must predict what the first one scored, before it is given the text.

A score is a code length, and a code length is proven by decoding. For each sealed chunk, in order, the second predictor
is asked by ``predict`` at random places for the distribution of the next token, given the prefix alone. It must give
the token that stands there the sealed score. Then it gets the chunk to learn from, as the first predictor did. What the
first process knew of a target, of later tokens or of an earlier pass is no help to the second (checks C1-a, C2-a, C2-b
and C2-c of openai/parameter-golf, issue #1017).
"""

# C chunks, P places, V vocabulary size

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from golf.evaluation.ledger import LedgerData
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.sandbox.session import SandboxSession
from golf.inference.interface import ScoredChunk
from golf.pipeline.progress import Progress, format_count

__all__ = [
    "ELSEWHERE_TOLERANCES",
    "FORGED_FRAC",
    "TOLERANCES",
    "Proof",
    "ScoreComparison",
    "Tolerances",
    "derive_seed",
    "draw_places",
    "prove",
]


@dataclass(frozen=True)
class Tolerances:
    """place_nats: of one score. mean_nats: of mean sealed scores below predictions. log_sum: of |log Σ p| of a row."""

    place_nats: float
    mean_nats: float
    log_sum: float


# By evaluate.dtype, that of the products: scores of different shapes are rounded differently.
TOLERANCES = {"float32": Tolerances(1e-3, 1e-4, 1e-4), "bfloat16": Tolerances(0.1, 2e-3, 1e-3)}
# On another machine, another version of torch or another number of ranks, sums are made in another order and what is
# learned from them drifts apart.
ELSEWHERE_TOLERANCES = {"float32": Tolerances(0.05, 2e-3, 1e-4), "bfloat16": Tolerances(0.3, 0.01, 1e-3)}
_MEAN_CONFIDENCE = 0.999  # of the one-sided test of the mean; a compliant predictor fails once in a thousand runs
_HASH_BYTES = 32
FORGED_FRAC = 0.01  # of the targets, for which reports state the probability that a forgery would show


@dataclass(frozen=True)
class ScoreComparison:
    """Sealed scores against predictions at the places of a proof.

    max_diff: the largest |sealed - predicted|, in nats; infinite where a row has no such token or a NaN.
    mean_diff: of sealed - predicted; negative if sealed scores are better than predictions. standard_error: of it.
    """

    n_places: int
    max_diff: float
    mean_diff: float
    standard_error: float

    @classmethod
    def from_scores(cls, sealed_P: Sequence[float], predicted_P: Sequence[float]) -> "ScoreComparison":
        diffs = np.asarray(sealed_P, np.float64) - np.asarray(predicted_P, np.float64)
        if not len(diffs) or not np.isfinite(diffs).all():
            return cls(len(diffs), math.inf, -math.inf, math.inf)
        standard_error = float(diffs.std(ddof=1) / math.sqrt(len(diffs))) if len(diffs) > 1 else math.inf
        return cls(len(diffs), float(np.abs(diffs).max()), float(diffs.mean()), standard_error)

    @property
    def margin(self) -> float:
        """Nats by which the mean may be off by chance: the one-sided margin of error (Student's t)."""
        quantile = float(stats.t.ppf(_MEAN_CONFIDENCE, self.n_places - 1)) if self.n_places > 1 else math.inf
        return quantile * self.standard_error

    def has_discount(self, tolerance: float) -> bool:
        """Return whether sealed scores are on average better than predictions by over ``tolerance``, beyond chance."""
        return self.mean_diff == -math.inf or self.mean_diff + self.margin < -tolerance

    def smallest_detectable_discount(self, tolerance: float) -> float:
        """Return the discount on every target, in nats, that the test of the mean would show with its confidence."""
        return tolerance + 2 * self.margin

    def probability_of_detection(self, forged_frac: float) -> float:
        """Return the probability that a place lies on a target whose score is forged beyond the tolerance.

        forged_frac: the share of such targets.
        """
        return 1 - (1 - forged_frac) ** self.n_places


@dataclass(frozen=True)
class Proof:
    """What the second predictor answered.

    comparison: of sealed scores and predictions. n_chunks: those that were proven. max_log_sum: the largest
    |log Σ p| of a row. max_log_prob: the largest entry of a row. row_sizes: lengths of the rows.
    predict_s, replay_s: seconds of opening and predictions, and of learning from the chunks.
    """

    comparison: ScoreComparison
    n_chunks: int
    max_log_sum: float
    max_log_prob: float
    row_sizes: tuple[int, ...]
    predict_s: float
    replay_s: float

    def find_failures(self, tolerances: Tolerances, vocab_size: int) -> list[str]:
        """Return what contradicts the sealed scores, one sentence each; nothing if they are proven."""
        comparison, failures = self.comparison, []
        if comparison.max_diff > tolerances.place_nats:
            failures.append(f"a sealed score differs by {comparison.max_diff:.1e} nats from the prediction")
        if comparison.has_discount(tolerances.mean_nats):
            failures.append(f"sealed scores are {-comparison.mean_diff:.1e} nats better than predictions on average")
        if self.max_log_sum > tolerances.log_sum:
            failures.append(
                f"a distribution's probabilities don't add up to 1: the log of their sum is {self.max_log_sum:.1e}"
            )
        if not self.has_full_support(tolerances, vocab_size):
            failures.append(f"a distribution is not one of {vocab_size:,} probabilities")
        return failures

    def has_full_support(self, tolerances: Tolerances, vocab_size: int) -> bool:
        """Return whether every row has one probability, of at most 1, for each id."""
        return self.row_sizes == (vocab_size,) and self.max_log_prob <= tolerances.log_sum


def derive_seed(secret: str, sealed: LedgerData) -> str:
    """Return the proof's seed, hex: it follows from a secret of the evaluator and from the scores once all are sealed.

    So all ranks draw the same places, and nobody can know them during the pass.
    """
    content = secret.encode() + sealed.nll.astype("<f4").tobytes() + sealed.chunk_ids.astype("<i4").tobytes()
    return hashlib.sha256(content).hexdigest()[:_HASH_BYTES]


def draw_places(n_targets: int, places_per_chunk: int | None, rng: np.random.Generator) -> np.ndarray:
    """Return indices of targets within a chunk, ascending: all of them for None, otherwise as many at random."""
    if places_per_chunk is None or places_per_chunk >= n_targets:
        return np.arange(n_targets)
    return np.sort(rng.choice(n_targets, places_per_chunk, replace=False))


def prove(
    session: SandboxSession,
    tokens: np.ndarray,
    sealed: LedgerData,
    settings: PassSettings,
    *,
    places_per_chunk: int | None,
    seed: str,
    progress: Progress,
    on_prediction: Callable[[np.ndarray, int], None] | None = None,
) -> Proof:
    """Hold the sealed scores against a newly opened predictor's predictions.

    tokens: uint16 [N + 1], the stream. sealed: its ledger, of N targets. settings: of the pass. places_per_chunk: None
    is all. on_prediction: called with each row, [V], and the token that stands there.
    Raises PredictorError when the predictor fails or breaks its contract.
    """
    rng = np.random.default_rng(list(bytes.fromhex(seed)))
    n_chunks = len(sealed.chain_hashes)
    bounds = np.searchsorted(sealed.chunk_ids, np.arange(n_chunks + 1))
    sealed_scores: list[float] = []
    predicted_scores: list[float] = []
    rows = _RowChecks()
    start, replay_s = time.perf_counter(), 0.0
    settings.begin_pass(session)
    for index, chain_hash in enumerate(sealed.chain_hashes):
        begin, end = int(bounds[index]), int(bounds[index + 1])
        for place in (begin + draw_places(end - begin, places_per_chunk, rng)).tolist():
            row = session.predict(tokens[: place + 1])
            rows.add(row)
            sealed_scores.append(float(sealed.nll[place]))
            predicted_scores.append(_get_nll(row, int(tokens[place + 1])))
            if on_prediction is not None:
                on_prediction(row, int(tokens[place + 1]))
        is_last = index == n_chunks - 1
        replay_start = time.perf_counter()
        if not is_last:  # nothing is predicted after the last chunk
            session.update(ScoredChunk(index, tokens[begin : end + 1].copy(), is_last, chain_hash.tobytes().hex()))
        replay_s += time.perf_counter() - replay_start
        progress.update(end, places_proven=f"{len(sealed_scores):,}")
    comparison = ScoreComparison.from_scores(sealed_scores, predicted_scores)
    progress.finish(f"{format_count(comparison.n_places, 'place')} of {format_count(n_chunks, 'chunk')}")
    return Proof(
        comparison,
        n_chunks,
        rows.max_log_sum,
        rows.max_log_prob,
        tuple(sorted(rows.sizes)),
        time.perf_counter() - start - replay_s,
        replay_s,
    )


class _RowChecks:
    """The extremes of all rows: the sum of their probabilities, their entries and their lengths."""

    def __init__(self) -> None:
        self.max_log_sum, self.max_log_prob = 0.0, -math.inf
        self.sizes: set[int] = set()

    def add(self, row_V: np.ndarray) -> None:
        row_V = row_V.astype(np.float64)
        is_invalid = np.isnan(row_V).any()
        self.sizes.add(len(row_V))
        self.max_log_sum = max(self.max_log_sum, math.inf if is_invalid else abs(_logsumexp(row_V)))
        self.max_log_prob = max(self.max_log_prob, math.inf if is_invalid else float(row_V.max()))


def _get_nll(row_V: np.ndarray, target: int) -> float:
    """The nll that a row gives the target; NaN for an id that it lacks."""
    return -float(row_V[target]) if target < len(row_V) else math.nan


def _logsumexp(row_V: np.ndarray) -> float:
    """log Σ exp of a row; infinite for a row without a finite maximum."""
    row_max = row_V.max()
    return float(row_max + np.log(np.exp(row_V - row_max).sum())) if np.isfinite(row_max) else math.inf
