"""golf/compliance/proof.py, and the checks in proof_checks.py that read it, each shown to pass and to fail"""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.compliance import proof
from golf.compliance.catalog import CHECKS
from golf.compliance.proof import ScoreComparison
from golf.evaluation.ledger import Ledger
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.scoring_loop import score_stream
from golf.pipeline.progress import Progress
from tests.helpers.fake_session import CountedBigrams, FakeSession, FixedBigrams, log_softmax, random_stream

VOCAB_SIZE, N_TARGETS, CHUNK_TOKENS = 20, 200, 25
SETTINGS = PassSettings(stride=4, ttt_cfg="a TTT config", memory_cfg=None, n_chunks=8, order="stream")
CHECK_IDS = ("C1-a", "C2-a", "C2-b", "C2-c")
QUIET = Progress("test", None, "targets", quiet=True)


def seal(predictor, stream, chunk_tokens=CHUNK_TOKENS):
    """The ledger of a pass."""
    SETTINGS.begin_pass(predictor)
    ledger = Ledger("ttt", stream.bos)
    score_stream(predictor, stream.tokens, stream.target_bytes, ledger, chunk_tokens=chunk_tokens, progress=QUIET)
    return ledger.to_data()


def prove(predictor, sealed, stream, *, places=4, seed="0a1b"):
    return proof.prove(
        FakeSession(predictor), stream.tokens, sealed, SETTINGS, places_per_chunk=places, seed=seed, progress=QUIET
    )


def run_checks(result, *, dtype="float32", places=4, vocab_size=VOCAB_SIZE) -> dict:
    context = SimpleNamespace(
        run=SimpleNamespace(proof=result),
        cfg=SimpleNamespace(dtype=dtype, proof_places=places),
        val_data=SimpleNamespace(val=SimpleNamespace(vocab_size=vocab_size)),
    )
    return {check_id: CHECKS[check_id].run(context) for check_id in CHECK_IDS}


def failed(predictor_class, *, dtype="float32", places=4, seed="0a1b", n_targets=N_TARGETS) -> set[str]:
    """The ids of the checks that fail when one predictor of the class makes the pass and another proves it."""
    stream = random_stream(n_targets, VOCAB_SIZE)
    sealed = seal(predictor_class(VOCAB_SIZE), stream)
    results = run_checks(prove(predictor_class(VOCAB_SIZE), sealed, stream, places=places, seed=seed), dtype=dtype)
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


class NotANumber(FixedBigrams):
    def predict(self, prefix):
        return np.full_like(super().predict(prefix), np.nan)


class Smaller(FixedBigrams):
    """Rows that lack the last ids."""

    def predict(self, prefix):
        return super().predict(prefix)[:14]


class Golden(FixedBigrams):
    """Distributions as they should be, and scores that are blended once the target is known."""

    def score(self, prefix, chunk):
        return super().score(prefix, chunk) * np.float32(0.9)


class Elsewhere(FixedBigrams):
    """Predicts another thing than it scores."""

    def predict(self, prefix):
        return self.table[0]


class LearnsWhileScoring(FixedBigrams):
    """Learns from a chunk before it scores it."""

    def score(self, prefix, chunk):
        self.table = log_softmax(self.table + np.eye(len(self.table))[chunk].sum(0))
        return super().score(prefix, chunk)


class DefaultArgumentMemo(FixedBigrams):
    """Keeps each chunk in a default argument, and answers any later request from it."""

    def score(self, prefix, chunk, _memo={}):  # noqa: B006
        _memo.update({len(prefix) + i: int(token) for i, token in enumerate(chunk)})
        return np.full(len(chunk), 1e-3, np.float32)

    def predict(self, prefix):
        memo = DefaultArgumentMemo.score.__defaults__[0]
        row = np.full(len(self.table), (1 - np.exp(-1e-3)) / (len(self.table) - 1))
        row[memo.get(len(prefix), 0)] = np.exp(-1e-3)
        return np.log(row).astype(np.float32)


@pytest.mark.parametrize(
    ("predictor_class", "check_ids"),
    [
        (Foresight, {"C1-a"}),
        (Oracle, {"C1-a", "C2-c"}),
        (Inflated, {"C2-a"}),
        (NotANumber, {"C1-a", "C2-a", "C2-b", "C2-c"}),
        (Smaller, {"C1-a", "C2-b", "C2-c"}),
        (Golden, {"C1-a", "C2-c"}),
        (Elsewhere, {"C1-a"}),
        (LearnsWhileScoring, {"C1-a"}),
    ],
)
def test_every_violation_fails_its_checks(predictor_class, check_ids):
    assert check_ids <= failed(predictor_class)


@pytest.mark.parametrize("predictor_class", [FixedBigrams, CountedBigrams])
@pytest.mark.parametrize("places", [1, 4, None])
def test_valid_predictors_pass(predictor_class, places):
    assert failed(predictor_class, places=places) == set()


def test_a_memo_in_a_default_argument_of_the_first_process_is_no_help_to_the_second():
    stream = random_stream(N_TARGETS, VOCAB_SIZE)
    predictor = DefaultArgumentMemo(VOCAB_SIZE)
    sealed = seal(predictor, stream)
    assert run_checks(prove(predictor, sealed, stream))["C1-a"].status == "PASS", "one process would fool any probe"
    DefaultArgumentMemo.score.__defaults__[0].clear()  # as a new process starts
    assert run_checks(prove(predictor, sealed, stream))["C1-a"].status == "FAIL"


@pytest.mark.parametrize("seed", [f"{i:02x}" for i in range(20)])
def test_one_forged_chunk_is_found_whatever_the_seed(seed):
    stream = random_stream(N_TARGETS, VOCAB_SIZE)
    sealed = seal(CountedBigrams(VOCAB_SIZE), stream)
    sealed.nll[sealed.chunk_ids == 5] -= 0.5
    assert run_checks(prove(CountedBigrams(VOCAB_SIZE), sealed, stream, seed=seed))["C1-a"].status == "FAIL"


def test_every_chunk_is_proven_before_it_is_given():
    stream, calls = random_stream(N_TARGETS, VOCAB_SIZE), []

    class Recording(FixedBigrams):
        def predict(self, prefix):
            calls.append(("predict", len(prefix) - 1))
            np.testing.assert_array_equal(prefix, stream.tokens[: len(prefix)])
            return super().predict(prefix)

        def score(self, prefix, chunk):
            raise AssertionError("the proof asks for no score")

        def update(self, scored_chunk):
            calls.append(("update", scored_chunk.index * CHUNK_TOKENS + len(scored_chunk.tokens) - 1))

    sealed = seal(FixedBigrams(VOCAB_SIZE), stream)
    prove(Recording(VOCAB_SIZE), sealed, stream, places=3)

    assert calls == sorted(calls, key=lambda call: (call[1], call[0] == "predict"))
    predicted = [place // CHUNK_TOKENS for kind, place in calls if kind == "predict"]
    assert predicted == [chunk for chunk in range(8) for _ in range(3)]
    assert [end for kind, end in calls if kind == "update"] == [25, 50, 75, 100, 125, 150, 175]


def test_chunks_are_given_with_the_hashes_of_the_pass():
    stream = random_stream(N_TARGETS, VOCAB_SIZE)

    class Hashed(CountedBigrams):
        def update(self, scored_chunk):
            self.counts += int(scored_chunk.chain_hash, 16) % 7

    assert failed(Hashed) == set()
    sealed = seal(Hashed(VOCAB_SIZE), stream)
    assert sealed.chain_hashes.shape == (8, 32)


class Noisy(FixedBigrams):
    """Scores that change by up to 0.02 nats with the number of tokens scored at once, as bfloat16's do."""

    def log_probs(self, prefix, chunk):
        seed = int.from_bytes(hashlib.sha256(f"{len(prefix)} {len(chunk)}".encode()).digest()[:4])
        noise = np.random.default_rng(seed).uniform(-0.01, 0.01, (len(chunk), len(self.table)))
        return log_softmax(super().log_probs(prefix, chunk) + noise)


def test_noise_of_bf16_is_too_much_in_fp32_and_no_discount_in_bf16():
    assert "C1-a" in failed(Noisy)
    for seed in range(20):
        assert failed(Noisy, dtype="bfloat16", seed=f"{seed:02x}", n_targets=900) == set()


@pytest.mark.parametrize(("dtype", "discount", "noise"), [("float32", 0.0005, 1e-6), ("bfloat16", 0.02, 0.02)])
def test_a_discount_within_the_tolerance_of_each_place_shows_on_average(dtype, discount, noise):
    rng = np.random.default_rng(0)
    predicted = rng.exponential(2.0, 400)
    honest = ScoreComparison.from_scores(predicted + rng.normal(0, noise, 400), predicted)
    discounted = ScoreComparison.from_scores(predicted + rng.normal(0, noise, 400) - discount, predicted)
    tolerance = proof.TOLERANCES[dtype].mean_nats

    assert discounted.max_diff < proof.TOLERANCES[dtype].place_nats
    assert honest.smallest_detectable_discount(tolerance) < discount
    assert not honest.has_discount(tolerance)
    assert discounted.has_discount(tolerance)


def test_in_fp32_a_discount_of_0_005_nats_is_always_seen():
    stream = random_stream(N_TARGETS, VOCAB_SIZE)
    result = prove(FixedBigrams(VOCAB_SIZE), seal(FixedBigrams(VOCAB_SIZE), stream), stream)
    assert result.comparison.smallest_detectable_discount(proof.TOLERANCES["float32"].mean_nats) <= 0.005


def test_the_probability_that_a_forged_share_shows_is_that_of_hitting_one_target():
    comparison = ScoreComparison.from_scores(np.zeros(400), np.zeros(400))
    assert comparison.probability_of_detection(0.0) == 0
    assert comparison.probability_of_detection(0.01) == pytest.approx(1 - 0.99**400)


def test_a_token_of_probability_zero_is_no_fault():
    class NeverZero(FixedBigrams):
        def __init__(self, vocab_size, seed=0):
            super().__init__(vocab_size, seed)
            with np.errstate(divide="ignore"):
                self.table = log_softmax(np.where(np.arange(vocab_size) != 0, self.table, -np.inf))

    assert failed(NeverZero) == set()


def test_without_a_proof_the_checks_are_not_run_and_without_predict_they_fail():
    for places, expected in (
        (None, {("NOT-RUN", "the proof is off (evaluate.proof_places: null)")}),
        (4, {("FAIL", "the class has no predict method")}),
    ):
        results = run_checks(None, places=places)
        assert {(result.status, result.note) for result in results.values()} == expected


def test_failures_have_a_note_and_passes_have_none():
    stream = random_stream(N_TARGETS, VOCAB_SIZE)
    for predictor_class in (Oracle, FixedBigrams):
        predictor = predictor_class(VOCAB_SIZE)
        results = run_checks(prove(predictor, seal(predictor, stream), stream))
        assert all(bool(result.note) == (result.status == "FAIL") for result in results.values())


def test_the_seed_depends_on_the_secret_and_on_every_score():
    stream = random_stream(N_TARGETS, VOCAB_SIZE)
    sealed = seal(FixedBigrams(VOCAB_SIZE), stream)
    seeds = {proof.derive_seed("00", sealed), proof.derive_seed("01", sealed)}
    sealed.nll[-1] += 1e-6
    assert len(seeds | {proof.derive_seed("00", sealed)}) == 3


@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 99))
def test_places_are_distinct_ascending_and_within_the_chunk(n_targets, n_places, seed):
    places = proof.draw_places(n_targets, n_places, np.random.default_rng(seed))
    assert len(places) == min(n_targets, n_places)
    assert (np.diff(places) > 0).all()
    assert places[0] >= 0
    assert places[-1] < n_targets
