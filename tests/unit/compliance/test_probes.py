"""golf/compliance/probes.py: each probe shown to fail where it must, and no pure method accused"""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compliance import probes
from tests.helpers.fake_session import (
    CountedBigrams,
    FakeSession,
    FixedBigrams,
    log_softmax,
    random_stream,
    run_probed_pass,
)

VOCABULARY = 20
CHECKS = ["C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b"]


def statuses(sitting, *, targets=60, chunk=25, vocabulary=VOCABULARY, alternatives=8, chunks=(0, 1)) -> dict[str, str]:
    """Of each check after a pass."""
    text = random_stream(targets, vocabulary)
    found = probes.check_probes(
        run_probed_pass(
            sitting, text, chunk_tokens=chunk, vocab_size=vocabulary, n_alternatives=alternatives, probed_chunks=chunks
        )
    )
    assert [each.check for each in found] == CHECKS
    return {each.check: each.status for each in found}


def failed(sitting, **how) -> set[str]:
    return {check for check, status in statuses(sitting, **how).items() if status == "FAIL"}


class Foresight(FixedBigrams):
    """Expects what comes after the target."""

    def expect(self, prefix, chunk):
        after = np.append(chunk[1:], chunk[-1:])
        return log_softmax(super().log_probs(prefix, chunk) + 2 * (np.arange(len(self.table)) == after[:, None]))


class Oracle(FixedBigrams):
    """Expects the target."""

    def expect(self, prefix, chunk):
        return log_softmax(super().log_probs(prefix, chunk) + 2 * (np.arange(len(self.table)) == chunk[:, None]))


class Inflated(FixedBigrams):
    """Probabilities that add up to more than 1."""

    def expect(self, prefix, chunk):
        return super().log_probs(prefix, chunk) + np.float32(0.01)


class Smaller(FixedBigrams):
    """A vocabulary that lacks the tokenizer's last ids, which are taken for its own last (#1723)."""

    def expect(self, prefix, chunk):
        return super().log_probs(np.minimum(prefix, 14), np.minimum(chunk, 14))

    def score(self, prefix, chunk, rows=None):
        return super().score(prefix, np.minimum(chunk, 14), rows)


class NotANumber(FixedBigrams):
    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        if rows is not None:
            found[1][:, 3] = np.nan
        return found


class Golden(FixedBigrams):
    """Honest rows, and a score that is blended once the target is known."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        return found * 0.9 if rows is None else (found[0] * 0.9, found[1])


class Zero(FixedBigrams):
    """Claims to have known every token."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        return found * 0 if rows is None else (found[0] * 0, found[1])


class Elsewhere(FixedBigrams):
    """Says another thing when it is asked without a target."""

    def predict(self, prefix):
        return self.table[0]


class Impossible(FixedBigrams):
    """Scores the alternatives infinitely high, or infinitely low."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        return found if rows is not None or len(chunk) > 1 else found - 1e5


class Remembers(FixedBigrams):
    """Keeps what it scored."""

    def score(self, prefix, chunk, rows=None):
        self.last = chunk
        return super().score(prefix, chunk, rows)


class Learns(FixedBigrams):
    """Learns while it scores, and scores better the second time."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        self.table = log_softmax(self.table + np.eye(len(self.table))[chunk].sum(0))
        return found


@pytest.mark.parametrize(
    ("method", "checks"),
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
def test_every_cheat_is_caught_by_the_check_of_its_name(method, checks):
    assert checks <= failed(FakeSession(method(VOCABULARY)))


def test_a_method_that_can_not_say_what_it_expects_without_a_target_is_caught():
    sitting = FakeSession(FixedBigrams(VOCABULARY))
    sitting.info["predicts"] = False

    assert failed(sitting) == {"C2-c"}


def test_a_vocabulary_smaller_than_the_tokenizers_is_caught():
    assert "C2-b" in failed(FakeSession(Smaller(15)))


def test_a_vocabulary_larger_than_the_tokenizers_is_caught_and_its_own_ids_are_never_scored():
    class Larger(FixedBigrams):
        def score(self, prefix, chunk, rows=None):
            assert chunk.max() < VOCABULARY
            return super().score(prefix, chunk, rows)

    assert failed(FakeSession(Larger(VOCABULARY + 7)), alternatives=999) == {"C2-b"}


def test_a_note_stands_beside_every_failure_and_beside_no_pass():
    text = random_stream(60, VOCABULARY)
    for method in (Oracle, FixedBigrams):
        found = probes.check_probes(
            run_probed_pass(FakeSession(method(VOCABULARY)), text, chunk_tokens=25, vocab_size=VOCABULARY)
        )
        assert all(bool(each.note) == (each.status == "FAIL") for each in found)


@pytest.mark.parametrize("method", [FixedBigrams, CountedBigrams])
def test_the_honest_are_not_accused(method):
    assert failed(FakeSession(method(VOCABULARY))) == set()


def test_a_token_that_can_not_come_is_no_offence():
    method = FixedBigrams(VOCABULARY)
    allowed = np.arange(VOCABULARY) != 0
    with np.errstate(divide="ignore"):
        method.table = log_softmax(np.where(allowed, method.table, -np.inf))

    assert failed(FakeSession(method), alternatives=999) == set()


@settings(max_examples=60)
@given(st.integers(3, 40), st.integers(1, 80), st.integers(1, 90), st.integers(2, 50), st.integers(0, 9), st.booleans())
def test_a_pure_method_is_never_accused(vocabulary, targets, chunk, alternatives, seed, bf16):
    method = Noisy(vocabulary, seed) if bf16 else FixedBigrams(vocabulary, seed)
    sitting = FakeSession(method, dtype=torch.bfloat16 if bf16 else torch.float32)
    last = (targets - 1) // chunk
    how = {"targets": targets, "chunk": chunk, "vocab_size": vocabulary, "alternatives": alternatives}

    assert failed(sitting, **how, chunks=(0, last)) == set()


class Noisy(FixedBigrams):
    """Scores that change by up to 0.02 nats with the number of tokens scored at once, as bfloat16's do."""

    def expect(self, prefix, chunk):
        seed = int.from_bytes(hashlib.sha256(f"{len(prefix)} {len(chunk)}".encode()).digest()[:4])
        noise = np.random.default_rng(seed).uniform(-0.01, 0.01, len(self.table))
        return log_softmax(super().log_probs(prefix, chunk) + noise)


def test_noise_of_bf16_is_too_much_for_a_method_that_says_fp32():
    assert "C2-c" in failed(FakeSession(Noisy(VOCABULARY)))


class Discounted(FixedBigrams):
    """Takes a little off each score, less than two shapes may differ by in bf16."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        less = np.float32(0.09)
        return found - less if rows is None else (found[0] - less, found[1])


def test_a_constant_discount_within_the_noise_of_bf16_is_caught():
    sitting = FakeSession(Discounted(VOCABULARY), dtype=torch.bfloat16)
    text = random_stream(900, VOCABULARY)
    made = run_probed_pass(sitting, text, chunk_tokens=300, vocab_size=VOCABULARY, probed_chunks=(0, 1, 2))
    found = {each.check: each for each in probes.check_probes(made)}
    assert made.max_deviation["C2-c"] < probes.DTYPE_TOL_NATS["bfloat16"]
    assert found["C2-c"].status == "FAIL"
    assert found["C2-c"].measured == "9.0e-02 nats less on average"


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_bf16_is_no_discount(seed):
    sitting = FakeSession(Noisy(VOCABULARY, seed), dtype=torch.bfloat16)
    assert failed(sitting, targets=900, chunk=300, chunks=(0, 1, 2)) == set()


def test_probes_do_not_count_as_scores_and_only_sealed_text_is_shown():
    shown = []

    class Watched(FixedBigrams):
        def score(self, prefix, chunk, rows=None):
            shown.append((len(prefix), len(chunk), sitting.is_uncounted))
            return super().score(prefix, chunk, rows)

    sitting = FakeSession(Watched(VOCABULARY))
    run_probed_pass(sitting, random_stream(60, VOCABULARY), chunk_tokens=25, vocab_size=VOCABULARY)

    assert sitting.n_score_calls == 3
    sealed = 0
    for prefix, chunk, aside in shown:
        if aside:
            assert prefix + chunk <= sealed + 1
        else:
            sealed = prefix - 1 + chunk


def test_only_the_chunks_that_were_chosen_are_looked_at():
    made = run_probed_pass(
        FakeSession(FixedBigrams(VOCABULARY)),
        random_stream(60, VOCABULARY),
        chunk_tokens=10,
        vocab_size=VOCABULARY,
        probed_chunks=(4,),
    )
    none = run_probed_pass(
        FakeSession(FixedBigrams(VOCABULARY)),
        random_stream(60, VOCABULARY),
        chunk_tokens=10,
        vocab_size=VOCABULARY,
        probed_chunks=(),
    )

    assert 1 <= made.n_positions <= probes.N_PROBED_POSITIONS
    assert none.n_positions == 0


def test_what_was_never_measured_does_not_pass():
    none = run_probed_pass(
        FakeSession(FixedBigrams(VOCABULARY)),
        random_stream(60, VOCABULARY),
        chunk_tokens=10,
        vocab_size=VOCABULARY,
        probed_chunks=(),
    )

    assert {each.status for each in probes.check_probes(none)} == {"FAIL"}


def test_without_an_audit_the_same_checks_are_not_run():
    found = probes.skip_checks("probes are off")
    assert [(each.check, each.status, each.note) for each in found] == [
        (c, "NOT-RUN", "probes are off") for c in CHECKS
    ]


def test_rows_are_compared_as_people_would():
    inf = np.inf
    assert probes.max_row_diff(np.array([1.0, -inf]), np.array([1.5, -inf])) == 0.5
    assert probes.max_row_diff(np.zeros(2), np.zeros(3)) == inf
    assert probes.logsumexp(np.log(np.array([0.25, 0.75]))) == pytest.approx(0, abs=1e-15)
    assert probes.logsumexp(np.array([-inf, -inf])) == inf
