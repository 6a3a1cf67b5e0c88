"""Probes inside the pass that counts: at chunks drawn at random, once they are sealed, in the method's real state.

Each asks the method again with something changed that must not matter, or for what it must be able to say. A method
whose scores are functions of the prefix is not touched by it. The conditions are those of issue #1017, the checks of
its field guide: C1-a, C1-b, C2-a to C2-d, C3-b.
"""

from dataclasses import dataclass, field

import numpy as np

from golf.compliance.check_result import NOT_RUN, CheckResult, pass_or_fail
from golf.data.eval_stream import EvalStream
from golf.evaluation.sandbox.host import SandboxSession

_RESCORED_TOKENS = 128  # tokens of a chunk that are scored again
N_PROBED_POSITIONS = 3  # of them looked at closely
_N_PROBED_ROWS = 8  # of them whose distributions are asked for
_N_TARGET_FLIPS = 2  # other tokens put into each place
EXACT_TOL_NATS = 1e-6  # nats between two scores of one shape (C1-a)
DTYPE_TOL_NATS = {
    "float32": 1e-3,
    "bfloat16": 0.1,
}  # nats between scores of different shapes, by the dtype of the products
_BIAS_TOL_NATS = {
    "float32": 1e-5,
    "bfloat16": 0.01,
}  # nats that a sealed score may lie below its distribution's on average
_LOG_SUM_TOL = {"float32": 1e-4, "bfloat16": 1e-3}  # |log of the sum of all probabilities| (C2-a)


@dataclass
class InPassProbes:
    """Called with each sealed chunk of a pass and its nll; looks at those in ``chunks`` and keeps the worst it found.

    method: a Sitting. stream: what it is scored on. chunk_tokens: length of a chunk. vocabulary: the
    tokenizer's ids. alternatives: tokens tried as the target after one prefix; all, where there are no more.
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
    n_alternatives_tried: int = 0
    row_sizes: set[int] = field(default_factory=set)  # of the rows that it gave
    score_biases: list[float] = field(
        default_factory=list
    )  # nats by which scores lie above (below: negative) their rows

    @property
    def _tokens(self) -> np.ndarray:
        return self.stream.tokens

    def __call__(self, sealed, nll: np.ndarray) -> None:
        if sealed.index in self.probed_chunks:
            offset = int(self.rng.integers(max(1, len(nll) - _RESCORED_TOKENS + 1))) if sealed.index else 0
            # Scores may be so low that their probability is infinite, and counts as that.
            with self.session.uncounted(), np.errstate(over="ignore"):
                self._probe_chunk(sealed.index * self.chunk_tokens + offset, nll[offset : offset + _RESCORED_TOKENS])

    def _probe_chunk(self, begin: int, nll: np.ndarray) -> None:
        """Around position ``begin``, whose first targets got ``nll`` when it counted."""
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
        """How much better the sealed scores are than their distributions: rounding takes no side, a discount does."""
        in_vocab = targets < rows.shape[1]
        biases = rows[in_vocab, targets[in_vocab]] + nll[in_vocab]
        self.score_biases += biases[np.isfinite(biases)].tolist()

    def _probe_future(self, prefix, targets, position: int, rescored_nll) -> None:
        """Other tokens after ``place`` must leave every score up to it as it was."""
        changed_targets = targets.copy()
        changed_targets[position + 1 :] = self.rng.choice(self._tokens[1:], len(targets) - position - 1)
        self._record_max(
            "C1-a",
            max_row_diff(self.session.score(prefix, changed_targets)[: position + 1], rescored_nll[: position + 1]),
        )

    def _probe_target(self, prefix, targets, position: int, rescored_nll, row) -> None:
        """Another target must leave its own distribution as it was, and be scored by it."""
        for new_target in self.rng.choice(self.vocab_size, _N_TARGET_FLIPS):
            changed_targets = targets.copy()
            changed_targets[position] = new_target
            nll, (flipped_row,) = self.session.score(prefix, changed_targets, [position])
            self._record_max("C1-a", max_row_diff(nll[:position], rescored_nll[:position]))
            self._record_max("C1-b", max_row_diff(flipped_row, row))
            self._record_max(
                "C2-c", max_row_diff(flipped_row[new_target : new_target + 1], -nll[position : position + 1])
            )

    def _probe_prediction(self, position: int, row, nll: float) -> None:
        """What it says without any target must be a distribution, and the one that the ledger's score came from."""
        self._check_row(row)
        target = self._tokens[position + 1]
        rows = [row]
        if self.session.info["predicts"]:
            rows.append(self.session.predict(self._tokens[: position + 1]))
            self._check_row(rows[-1])
            self._record_max("C2-c", max_row_diff(rows[1], row))
        for log_probs in rows:
            self._record_max("C2-c", max_row_diff(log_probs[target : target + 1], np.array([-nll])))

    def _check_row(self, row) -> None:
        self.row_sizes.add(len(row))
        self._record_max("C2-a", logsumexp(row))
        self._record_max("C2-b", np.inf if np.isnan(row).any() else max(0.0, row.max()))

    def _probe_alternatives(self, prefix, row) -> None:
        """Each alternative scored as the target after one prefix: the probabilities must add up to 1.

        Where not all are tried, the likeliest and some at random are, and the row stands for the others.
        """
        ids = np.arange(min(len(row), self.vocab_size))
        if len(ids) > self.n_alternatives:
            likeliest_ids = np.argsort(row)[::-1][: self.n_alternatives // 2]
            random_ids = self.rng.choice(
                np.setdiff1d(ids, likeliest_ids), self.n_alternatives - len(likeliest_ids), replace=False
            )
            ids = np.concatenate([likeliest_ids, random_ids])
        nlls = [self.session.score(prefix, np.array([i], dtype=self._tokens.dtype))[0] for i in ids]
        untested_prob = np.exp(np.delete(row.astype(np.float64), ids)).sum()  # ids beyond the tokenizer's count too
        self.n_alternatives_tried = max(self.n_alternatives_tried, len(ids))
        self._record_max("C2-d", np.exp(-np.array(nlls, dtype=np.float64)).sum() + untested_prob - 1)

    def _record_max(self, check_id: str, deviations) -> None:
        """Keep the largest; what is not a number counts as infinite."""
        deviations = np.abs(np.atleast_1d(np.asarray(deviations, dtype=np.float64)))
        largest = np.inf if np.isnan(deviations).any() else deviations.max(initial=0.0)
        self.max_deviation[check_id] = max(self.max_deviation.get(check_id, 0.0), float(largest))


def choose_tolerance(session: SandboxSession) -> float:
    """SAME; on a GPU, where backward passes add in any order, what passes with updates are held to instead."""
    return (
        EXACT_TOL_NATS
        if session.ctx.device.type == "cpu"
        else DTYPE_TOL_NATS[str(session.ctx.dtype).removeprefix("torch.")]
    )


def max_row_diff(a: np.ndarray, b: np.ndarray) -> float:
    """Largest |a - b| of two rows; equal infinities don't differ, rows of other lengths do so infinitely."""
    if len(a) != len(b):
        return np.inf
    unequal = a != b
    return float(np.abs(a[unequal] - b[unequal]).max(initial=0.0))


def logsumexp(row: np.ndarray) -> float:
    """log Σ exp of a row, in float64."""
    row = row.astype(np.float64)
    row_max = row.max()
    return float(row_max + np.log(np.exp(row - row_max).sum())) if np.isfinite(row_max) else np.inf


def check_probes(in_pass_probes: InPassProbes) -> list[CheckResult]:
    """Of the figures of an audit whose pass is over."""
    dtype = str(in_pass_probes.session.ctx.dtype).removeprefix("torch.")
    dtype_tol, log_sum_tol, n_state_changes = (
        DTYPE_TOL_NATS[dtype],
        _LOG_SUM_TOL[dtype],
        in_pass_probes.session.n_state_changes,
    )
    location = f"at {in_pass_probes.n_positions} places of {len(in_pass_probes.probed_chunks)} chunks"

    def check_max(check_id: str, limit: float, note: str, unit: str = "nats") -> CheckResult:
        deviation = in_pass_probes.max_deviation.get(check_id, np.inf)
        return pass_or_fail(check_id, deviation <= limit, f"{deviation:.1e} {unit} {location}", f"{limit:g}", note)

    has_full_support = (
        in_pass_probes.row_sizes == {in_pass_probes.vocab_size}
        and in_pass_probes.max_deviation.get("C2-b", np.inf) <= log_sum_tol
    )
    row_sizes = " or ".join(f"{size:,}" for size in sorted(in_pass_probes.row_sizes))
    is_pure = n_state_changes == 0 and in_pass_probes.max_deviation.get("C3-b", np.inf) <= dtype_tol
    has_predict = in_pass_probes.session.info["predicts"]
    target_independence = check_max("C2-c", dtype_tol, "a score is not what the method says without its target")
    mean_bias = np.mean(in_pass_probes.score_biases) if in_pass_probes.score_biases else 0.0
    if mean_bias < -_BIAS_TOL_NATS[dtype]:
        measured = f"{-mean_bias:.1e} nats less on average"
        target_independence = pass_or_fail(
            "C2-c", False, measured, f"{_BIAS_TOL_NATS[dtype]:g}", "scores are better than their distributions"
        )
    if not has_predict:
        target_independence = pass_or_fail(
            "C2-c", False, "no predict", "one", "it can't say what it expects without a target"
        )
    return [
        check_max("C1-a", EXACT_TOL_NATS, "scores change with tokens that come after them"),
        check_max("C1-b", EXACT_TOL_NATS, "a distribution changes with the token that it is to predict"),
        check_max("C2-a", log_sum_tol, "the probabilities of all tokens don't add up to 1", "of log sum"),
        pass_or_fail(
            "C2-b",
            has_full_support,
            f"{row_sizes} ids",
            f"{in_pass_probes.vocab_size:,}",
            "not one probability for each of the ids",
        ),
        target_independence,
        check_max("C2-d", dtype_tol, "scored as targets, the alternatives' probabilities don't add up to 1", "off 1"),
        pass_or_fail(
            "C3-b",
            is_pure,
            f"{n_state_changes} of {in_pass_probes.session.n_score_calls} scores moved it; again: {in_pass_probes.max_deviation.get('C3-b', np.inf):.1e} nats",
            f"0; {dtype_tol:g}",
            "scoring changes the method",
        ),
    ]


def skip_checks(note: str) -> list[CheckResult]:
    """The same rows where no audit was made."""
    return [
        CheckResult(check, NOT_RUN, note=note) for check in ("C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b")
    ]
