"""Checks C1-e, M-a and M-d: val is not trained on, scores divide by its bytes, and all of it was scored.

docs/references.md#submission-audit has the measurements behind the ranges.
"""

import math
from dataclasses import dataclass

from golf.submission.checks.review import Review
from golf.submission.findings import BREAKS_RULE, NO_RULING, CheckOutcome, Finding
from golf.submission.headline import HeadlineRow
from golf.submission.logs.training_log import TrainingLog

__all__ = ["check_coverage", "check_implied_bytes", "check_val_in_train"]

# From 42 of the 43 merged record folders whose logs give them (#1698, #1143 and #2071 are outliers because of this).
_VAL_BYTES_RANGE = (151_070_000, 151_081_000)  # of val's text, for any tokenizer; scripts drop different tails
_VAL_TOKENS_RANGES = {
    "sp1024": (62_021_632, 62_021_846),
    "sp4096": (45_508_608, 45_514_752),
    "sp8192": (40_540_160, 40_542_208),
    "CaseOps sp8192": (47_851_520, 47_853_343),
}
# The earlier export, which the naive baseline was scored on (#837).
_OLD_VAL_TOKENS = 63_779_840
_OLD_VAL_BYTES_RANGE = (155_700_000, 155_850_000)
_MAX_WINDOW_TOKENS = 1 << 15  # a window that does not fill is not scored; longer ones were never used
_WINDOW_SETTINGS = ("eval_seq_len", "ttt_eval_seq_len", "train_seq_len", "seq_len", "ttt_chunk_tokens", "eval_window")


@dataclass(frozen=True, slots=True)
class _ImpliedBytes:
    """Bytes that a score implies: loss / ln 2 * tokens / bpb, with the half-width of their rounding error."""

    row: HeadlineRow
    tokens: float
    n_bytes: float
    rounding: float

    def measure_distance_outside(self, bounds: tuple[int, int]) -> float:
        """Bytes outside the bounds, rounding allowed for; negative below them, 0 inside."""
        if self.n_bytes + self.rounding < bounds[0]:
            return self.n_bytes + self.rounding - bounds[0]
        return max(0.0, self.n_bytes - self.rounding - bounds[1])

    @property
    def dropped_tail_bytes(self) -> float:
        """Bytes that are missing because the last window, which val does not fill, was not scored; 0 if more miss."""
        missing = _VAL_BYTES_RANGE[1] - self.n_bytes
        window = _window_tokens(self.row.log, self.tokens)
        return missing if 0 < missing <= window * self.n_bytes / self.tokens + self.rounding else 0.0


def _window_tokens(log: TrainingLog, tokens: float) -> int:
    """The longest window that the log names or that divides its number of tokens, as far as powers of two show."""
    count = int(tokens)
    power = count & -count if count else 1
    named = [int(log.settings[name]) for name in _WINDOW_SETTINGS if log.settings.get(name, "").isdecimal()]
    return max(min(window, _MAX_WINDOW_TOKENS) for window in (power, *named))


def _compute_implied_bytes(review: Review) -> list[_ImpliedBytes]:
    results = []
    for row in review.rows:
        tokens, loss, bpb = row.log.facts.get("val_tokens"), row.score.loss, row.score.bpb
        if tokens and loss and bpb:
            n_bytes = loss.value / math.log(2) * tokens / bpb.value
            relative_error = loss.resolution / loss.value + bpb.resolution / bpb.value
            results.append(_ImpliedBytes(row, tokens, n_bytes, n_bytes * relative_error / 2))
    return results


def check_val_in_train(review: Review) -> CheckOutcome:
    """Check that no selected log's training loader names val's shards (#44). A log can't show documents in both."""
    logs = [log for log in review.logs if log.val_in_train_line]
    places = [f"{log.name}:{log.val_in_train_line}" for log in logs]
    findings = [Finding(BREAKS_RULE, "the training data are shards of val", place) for place in places[:1]]
    if not review.logs:
        return CheckOutcome("C1-e", (), "", "no log in a known format")
    return CheckOutcome("C1-e", tuple(findings), f"{len(logs)} of {len(review.logs)} logs train on val's shards")


def check_implied_bytes(review: Review) -> CheckOutcome:
    """Check that loss, tokens and bpb imply the bytes of val.

    Spaces counted twice, byte tokens counted as three bytes, and counted control symbols show as another number.
    """
    implied = _compute_implied_bytes(review)
    if not implied:
        return CheckOutcome("M-a", (), "", "no log gives the tokens of val with a final loss and bpb")
    worst = max(
        implied, key=lambda one: (not one.dropped_tail_bytes, abs(one.measure_distance_outside(_VAL_BYTES_RANGE)))
    )
    measured = f"{worst.n_bytes:,.0f} bytes (± {worst.rounding:,.0f})"
    if not worst.measure_distance_outside(_VAL_BYTES_RANGE):
        return CheckOutcome("M-a", (), measured)
    if worst.tokens == _OLD_VAL_TOKENS and not worst.measure_distance_outside(_OLD_VAL_BYTES_RANGE):
        text = f"an earlier export of val with other text, {worst.n_bytes / 1e6:.2f} M bytes"
        return CheckOutcome("M-a", (Finding(NO_RULING, text, worst.row.where),), measured)
    if tail := worst.dropped_tail_bytes:
        share = tail / _VAL_BYTES_RANGE[1]
        note = f"the tail of val, about {tail:,.0f} bytes ({share:.2%}), is not scored: at most one window"
        return CheckOutcome("M-a", (), measured, "", (note,))
    low, high = (bound / 1e6 for bound in _VAL_BYTES_RANGE)
    text = f"loss, tokens and bpb imply {worst.n_bytes / 1e6:.2f} M bytes of val, which has {low:.2f} to {high:.2f} M"
    return CheckOutcome("M-a", (Finding(BREAKS_RULE, text, worst.row.where),), measured)


def check_coverage(review: Review) -> CheckOutcome:
    """Check that every selected log scored all of val, by a known number of tokens or by the implied bytes (#1854)."""
    tokens_by_log = review.facts("val_tokens")
    if not tokens_by_log:
        return CheckOutcome("M-d", (), "", "no log gives the tokens of val")
    complete = {
        one.row.log.label
        for one in _compute_implied_bytes(review)
        if one.dropped_tail_bytes or not one.measure_distance_outside(_VAL_BYTES_RANGE)
    }
    other_bytes = {one.row.log.label for one in _compute_implied_bytes(review)} - complete
    measured = ", ".join(
        f"{count:,.0f} tokens ({_get_tokenizer_family(count) or 'unknown tokenizer'})"
        for count in sorted(set(tokens_by_log.values()))
    )
    partial = {
        label: count
        for label, count in tokens_by_log.items()
        if not _get_tokenizer_family(count) and label not in complete and count != _OLD_VAL_TOKENS
    }
    if not partial:
        is_old = float(_OLD_VAL_TOKENS) in tokens_by_log.values()
        note = ("val is the earlier export of 63,779,840 tokens",) if is_old else ()
        return CheckOutcome("M-d", (), measured, "", note)
    label, count = min(partial.items(), key=lambda item: item[1])
    log = next(log for log in review.logs if log.label == label)
    if set(partial) <= other_bytes and count > max(high for _, high in _VAL_TOKENS_RANGES.values()):
        return CheckOutcome("M-d", (), measured, "a tokenizer whose number of tokens is not known, on other bytes")
    text = f"{count:,.0f} tokens of val, neither a known number nor val's bytes"
    return CheckOutcome("M-d", (Finding(BREAKS_RULE, text, log.locate("val_tokens")),), measured)


def _get_tokenizer_family(n_tokens: float) -> str:
    return next((name for name, (low, high) in _VAL_TOKENS_RANGES.items() if low <= n_tokens <= high), "")
