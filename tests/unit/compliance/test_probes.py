"""golf/compliance/probes.py, and the checks in probe_checks.py that read it, each shown to pass and to fail"""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compliance import probe_checks, probes
from golf.compliance.catalog import CHECKS
from tests.helpers.fake_session import (
    CountedBigrams,
    FakeSession,
    FixedBigrams,
    log_softmax,
    random_stream,
    run_probed_pass,
)

VOCAB_SIZE = 20
CHECK_IDS = ("C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b")


def run_checks(in_pass_probes, session) -> dict:
    context = SimpleNamespace(run=SimpleNamespace(session=session, probes=in_pass_probes))
    return {check_id: CHECKS[check_id].run(context) for check_id in CHECK_IDS}


def failed(session, *, n_targets=60, chunk_tokens=25, vocab_size=VOCAB_SIZE, n_alternatives=8, probed_chunks=(0, 1)):
    """The ids of the checks that a pass fails."""
    stream = random_stream(n_targets, vocab_size)
    in_pass_probes = run_probed_pass(
        session,
        stream,
        chunk_tokens=chunk_tokens,
        vocab_size=vocab_size,
        n_alternatives=n_alternatives,
        probed_chunks=probed_chunks,
    )
    results = run_checks(in_pass_probes, session)
    return {check_id for check_id, result in results.items() if result.status == "FAIL"}


class Foresight(FixedBigrams):
    """Expects what comes after the target."""

    def log_probs(self, prefix, chunk):
        after = np.append(chunk[1:], chunk[-1:])
        return log_softmax(super().log_probs(prefix, chunk) + 2 * (np.arange(len(self.table)) == after[:, None]))


class Oracle(FixedBigrams):
    """Expects the target."""

    def log_probs(self, prefix, chunk):
        return log_softmax(super().log_probs(prefix, chunk) + 2 * (np.arange(len(self.table)) == chunk[:, None]))


class Inflated(FixedBigrams):
    """Probabilities that add up to more than 1."""

    def log_probs(self, prefix, chunk):
        return super().log_probs(prefix, chunk) + np.float32(0.01)


class Smaller(FixedBigrams):
    """A vocabulary that lacks the tokenizer's last ids, which are taken for its own last (#1723)."""

    def log_probs(self, prefix, chunk):
        return super().log_probs(np.minimum(prefix, 14), np.minimum(chunk, 14))

    def score(self, prefix, chunk, positions=None):
        return super().score(prefix, np.minimum(chunk, 14), positions)


class NotANumber(FixedBigrams):
    def score(self, prefix, chunk, positions=None):
        scores = super().score(prefix, chunk, positions)
        if positions is not None:
            scores[1][:, 3] = np.nan
        return scores


class Golden(FixedBigrams):
    """Compliant rows, and a score that is blended once the target is known."""

    def score(self, prefix, chunk, positions=None):
        scores = super().score(prefix, chunk, positions)
        return scores * 0.9 if positions is None else (scores[0] * 0.9, scores[1])


class Zero(FixedBigrams):
    """Claims to have known every token."""

    def score(self, prefix, chunk, positions=None):
        scores = super().score(prefix, chunk, positions)
        return scores * 0 if positions is None else (scores[0] * 0, scores[1])


class Elsewhere(FixedBigrams):
    """Says another thing when it is asked without a target."""

    def predict(self, prefix):
        return self.table[0]


class Impossible(FixedBigrams):
    """Scores the alternatives infinitely high, or infinitely low."""

    def score(self, prefix, chunk, positions=None):
        scores = super().score(prefix, chunk, positions)
        return scores if positions is not None or len(chunk) > 1 else scores - 1e5


class Remembers(FixedBigrams):
    """Keeps what it scored."""

    def score(self, prefix, chunk, positions=None):
        self.last = chunk
        return super().score(prefix, chunk, positions)


class Learns(FixedBigrams):
    """Learns while it scores, and scores better the second time."""

    def score(self, prefix, chunk, positions=None):
        scores = super().score(prefix, chunk, positions)
        self.table = log_softmax(self.table + np.eye(len(self.table))[chunk].sum(0))
        return scores


@pytest.mark.parametrize(
    ("predictor_class", "check_ids"),
    [
        (Foresight, {"C1-a"}),
        (Oracle, {"C1-b", "C2-c", "C2-d"}),
        (Inflated, {"C2-a", "C2-d"}),
        (NotANumber, {"C2-a", "C2-b"}),
        (Golden, {"C2-c", "C2-d"}),
        (Zero, {"C2-c", "C2-d"}),
        (Elsewhere, {"C2-c"}),
        (Impossible, {"C2-d"}),
        (Remembers, {"C3-b"}),
        (Learns, {"C3-b"}),
    ],
)
def test_every_violation_fails_its_check(predictor_class, check_ids):
    assert check_ids <= failed(FakeSession(predictor_class(VOCAB_SIZE)))


def test_a_predictor_without_predict_fails():
    session = FakeSession(FixedBigrams(VOCAB_SIZE))
    session.info["has_predict"] = False

    assert failed(session) == {"C2-c"}


def test_a_vocabulary_smaller_than_the_tokenizers_fails():
    assert "C2-b" in failed(FakeSession(Smaller(15)))


def test_a_vocabulary_larger_than_the_tokenizers_fails_and_its_own_ids_are_never_scored():
    class Larger(FixedBigrams):
        def score(self, prefix, chunk, positions=None):
            assert chunk.max() < VOCAB_SIZE
            return super().score(prefix, chunk, positions)

    assert failed(FakeSession(Larger(VOCAB_SIZE + 7)), n_alternatives=999) == {"C2-b"}


def test_failures_have_a_note_and_passes_have_none():
    stream = random_stream(60, VOCAB_SIZE)
    for predictor_class in (Oracle, FixedBigrams):
        session = FakeSession(predictor_class(VOCAB_SIZE))
        results = run_checks(run_probed_pass(session, stream, chunk_tokens=25, vocab_size=VOCAB_SIZE), session)
        assert all(bool(result.note) == (result.status == "FAIL") for result in results.values())


@pytest.mark.parametrize("predictor_class", [FixedBigrams, CountedBigrams])
def test_valid_predictors_pass(predictor_class):
    assert failed(FakeSession(predictor_class(VOCAB_SIZE))) == set()


def test_a_token_of_probability_zero_is_no_fault():
    predictor = FixedBigrams(VOCAB_SIZE)
    allowed = np.arange(VOCAB_SIZE) != 0
    with np.errstate(divide="ignore"):
        predictor.table = log_softmax(np.where(allowed, predictor.table, -np.inf))

    assert failed(FakeSession(predictor), n_alternatives=999) == set()


@given(st.integers(3, 40), st.integers(1, 80), st.integers(1, 90), st.integers(2, 50), st.integers(0, 9), st.booleans())
def test_a_pure_predictor_never_fails(vocab_size, n_targets, chunk_tokens, n_alternatives, seed, is_bf16):
    predictor = Noisy(vocab_size, seed) if is_bf16 else FixedBigrams(vocab_size, seed)
    session = FakeSession(predictor, dtype=torch.bfloat16 if is_bf16 else torch.float32)
    last_chunk = (n_targets - 1) // chunk_tokens
    sizes = {"n_targets": n_targets, "chunk_tokens": chunk_tokens, "vocab_size": vocab_size}

    assert failed(session, **sizes, n_alternatives=n_alternatives, probed_chunks=(0, last_chunk)) == set()


class Noisy(FixedBigrams):
    """Scores that change by up to 0.02 nats with the number of tokens scored at once, as bfloat16's do."""

    def log_probs(self, prefix, chunk):
        seed = int.from_bytes(hashlib.sha256(f"{len(prefix)} {len(chunk)}".encode()).digest()[:4])
        noise = np.random.default_rng(seed).uniform(-0.01, 0.01, len(self.table))
        return log_softmax(super().log_probs(prefix, chunk) + noise)


def test_noise_of_bf16_is_too_much_for_a_predictor_in_fp32():
    assert "C2-c" in failed(FakeSession(Noisy(VOCAB_SIZE)))


class Discounted(FixedBigrams):
    """Takes a little off each score, less than two shapes may differ by in bf16."""

    def score(self, prefix, chunk, positions=None):
        scores = super().score(prefix, chunk, positions)
        less = np.float32(0.09)
        return scores - less if positions is None else (scores[0] - less, scores[1])


def test_a_constant_discount_within_the_noise_of_bf16_fails():
    session = FakeSession(Discounted(VOCAB_SIZE), dtype=torch.bfloat16)
    stream = random_stream(900, VOCAB_SIZE)
    in_pass_probes = run_probed_pass(session, stream, chunk_tokens=300, vocab_size=VOCAB_SIZE, probed_chunks=(0, 1, 2))
    result = run_checks(in_pass_probes, session)["C2-c"]
    assert in_pass_probes.max_deviation["C2-c"] < probe_checks.DTYPE_TOL_NATS["bfloat16"]
    assert (result.status, result.measured) == ("FAIL", "9.0e-02 nats less on average")


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_bf16_is_no_discount(seed):
    session = FakeSession(Noisy(VOCAB_SIZE, seed), dtype=torch.bfloat16)
    assert failed(session, n_targets=900, chunk_tokens=300, probed_chunks=(0, 1, 2)) == set()


def test_probes_do_not_count_as_scores_and_show_scored_text_only():
    calls = []

    class RecordingBigrams(FixedBigrams):
        def score(self, prefix, chunk, positions=None):
            calls.append((len(prefix), len(chunk), session.timer.is_paused))
            return super().score(prefix, chunk, positions)

    session = FakeSession(RecordingBigrams(VOCAB_SIZE))
    run_probed_pass(session, random_stream(60, VOCAB_SIZE), chunk_tokens=25, vocab_size=VOCAB_SIZE)

    assert session.n_score_calls == 3
    n_scored = 0
    for prefix_length, chunk_length, is_probe in calls:
        if is_probe:
            assert prefix_length + chunk_length <= n_scored + 1
        else:
            n_scored = prefix_length - 1 + chunk_length


def probe_chunks(*probed_chunks: int) -> tuple:
    session = FakeSession(FixedBigrams(VOCAB_SIZE))
    stream = random_stream(60, VOCAB_SIZE)
    return session, run_probed_pass(
        session, stream, chunk_tokens=10, vocab_size=VOCAB_SIZE, probed_chunks=probed_chunks
    )


def test_only_the_chosen_chunks_are_probed_and_what_was_never_measured_does_not_pass():
    assert 1 <= probe_chunks(4)[1].n_positions <= probes.N_PROBED_POSITIONS
    session, in_pass_probes = probe_chunks()
    assert in_pass_probes.n_positions == 0
    assert {result.status for result in run_checks(in_pass_probes, session).values()} == {"FAIL"}


def test_without_probes_the_checks_are_not_run():
    session = FakeSession(FixedBigrams(VOCAB_SIZE))
    results = run_checks(None, session)
    assert {result.status for result in results.values()} == {"NOT-RUN"}
    assert {result.note for result in results.values()} == {"probes are off (evaluate.probe_alternative_tokens: null)"}


def test_rows_are_compared_with_care_for_infinities_and_lengths():
    inf = np.inf
    assert probes.max_row_diff(np.array([1.0, -inf]), np.array([1.5, -inf])) == 0.5
    assert probes.max_row_diff(np.zeros(2), np.zeros(3)) == inf
    assert probes.logsumexp(np.log(np.array([0.25, 0.75]))) == pytest.approx(0, abs=1e-15)
    assert probes.logsumexp(np.array([-inf, -inf])) == inf
