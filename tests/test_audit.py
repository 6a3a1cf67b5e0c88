"""golf/rules/audit.py: each probe shown to fail where it must, and no pure method accused"""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sittings import Counts, Sitting, Table, audited, normalised, stream

from golf.rules import audit

VOCABULARY = 20
CHECKS = ["C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b"]


def statuses(sitting, *, targets=60, chunk=25, vocabulary=VOCABULARY, alternatives=8, chunks=(0, 1)) -> dict[str, str]:
    """Of each check after a pass."""
    text = stream(targets, vocabulary)
    found = audit.findings(
        audited(sitting, text, chunk=chunk, vocabulary=vocabulary, alternatives=alternatives, chunks=chunks)
    )
    assert [each.check for each in found] == CHECKS
    return {each.check: each.status for each in found}


def failed(sitting, **how) -> set[str]:
    return {check for check, status in statuses(sitting, **how).items() if status == "FAIL"}


class Foresight(Table):
    """Expects what comes after the target."""

    def expect(self, prefix, chunk):
        after = np.append(chunk[1:], chunk[-1:])
        return normalised(super().expect(prefix, chunk) + 2 * (np.arange(len(self.table)) == after[:, None]))


class Oracle(Table):
    """Expects the target."""

    def expect(self, prefix, chunk):
        return normalised(super().expect(prefix, chunk) + 2 * (np.arange(len(self.table)) == chunk[:, None]))


class Inflated(Table):
    """Probabilities that add up to more than 1."""

    def expect(self, prefix, chunk):
        return super().expect(prefix, chunk) + np.float32(0.01)


class Smaller(Table):
    """A vocabulary that lacks the tokenizer's last ids, which are taken for its own last (#1723)."""

    def expect(self, prefix, chunk):
        return super().expect(np.minimum(prefix, 14), np.minimum(chunk, 14))

    def score(self, prefix, chunk, rows=None):
        return super().score(prefix, np.minimum(chunk, 14), rows)


class NotANumber(Table):
    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        if rows is not None:
            found[1][:, 3] = np.nan
        return found


class Golden(Table):
    """Honest rows, and a score that is blended once the target is known."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        return found * 0.9 if rows is None else (found[0] * 0.9, found[1])


class Zero(Table):
    """Claims to have known every token."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        return found * 0 if rows is None else (found[0] * 0, found[1])


class Elsewhere(Table):
    """Says another thing when it is asked without a target."""

    def predict(self, prefix):
        return self.table[0]


class Impossible(Table):
    """Scores the alternatives infinitely high, or infinitely low."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        return found if rows is not None or len(chunk) > 1 else found - 1e5


class Remembers(Table):
    """Keeps what it scored."""

    def score(self, prefix, chunk, rows=None):
        self.last = chunk
        return super().score(prefix, chunk, rows)


class Learns(Table):
    """Learns while it scores, and scores better the second time."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        self.table = normalised(self.table + np.eye(len(self.table))[chunk].sum(0))
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
    assert checks <= failed(Sitting(method(VOCABULARY)))


def test_a_method_that_can_not_say_what_it_expects_without_a_target_is_caught():
    sitting = Sitting(Table(VOCABULARY))
    sitting.facts["predicts"] = False

    assert failed(sitting) == {"C2-c"}


def test_a_vocabulary_smaller_than_the_tokenizers_is_caught():
    assert "C2-b" in failed(Sitting(Smaller(15)))


def test_a_vocabulary_larger_than_the_tokenizers_is_caught_and_its_own_ids_are_never_scored():
    class Larger(Table):
        def score(self, prefix, chunk, rows=None):
            assert chunk.max() < VOCABULARY
            return super().score(prefix, chunk, rows)

    assert failed(Sitting(Larger(VOCABULARY + 7)), alternatives=999) == {"C2-b"}


def test_a_note_stands_beside_every_failure_and_beside_no_pass():
    text = stream(60, VOCABULARY)
    for method in (Oracle, Table):
        found = audit.findings(audited(Sitting(method(VOCABULARY)), text, chunk=25, vocabulary=VOCABULARY))
        assert all(bool(each.note) == (each.status == "FAIL") for each in found)


@pytest.mark.parametrize("method", [Table, Counts])
def test_the_honest_are_not_accused(method):
    assert failed(Sitting(method(VOCABULARY))) == set()


def test_a_token_that_can_not_come_is_no_offence():
    method = Table(VOCABULARY)
    allowed = np.arange(VOCABULARY) != 0
    with np.errstate(divide="ignore"):
        method.table = normalised(np.where(allowed, method.table, -np.inf))

    assert failed(Sitting(method), alternatives=999) == set()


@settings(max_examples=60)
@given(st.integers(3, 40), st.integers(1, 80), st.integers(1, 90), st.integers(2, 50), st.integers(0, 9), st.booleans())
def test_a_pure_method_is_never_accused(vocabulary, targets, chunk, alternatives, seed, bf16):
    method = Noisy(vocabulary, seed) if bf16 else Table(vocabulary, seed)
    sitting = Sitting(method, dtype=torch.bfloat16 if bf16 else torch.float32)
    last = (targets - 1) // chunk
    how = {"targets": targets, "chunk": chunk, "vocabulary": vocabulary, "alternatives": alternatives}

    assert failed(sitting, **how, chunks=(0, last)) == set()


class Noisy(Table):
    """Scores that change by up to 0.02 nats with the number of tokens scored at once, as bfloat16's do."""

    def expect(self, prefix, chunk):
        seed = int.from_bytes(hashlib.sha256(f"{len(prefix)} {len(chunk)}".encode()).digest()[:4])
        noise = np.random.default_rng(seed).uniform(-0.01, 0.01, len(self.table))
        return normalised(super().expect(prefix, chunk) + noise)


def test_noise_of_bf16_is_too_much_for_a_method_that_says_fp32():
    assert "C2-c" in failed(Sitting(Noisy(VOCABULARY)))


class Discounted(Table):
    """Takes a little off each score, less than two shapes may differ by in bf16."""

    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        less = np.float32(0.09)
        return found - less if rows is None else (found[0] - less, found[1])


def test_a_constant_discount_within_the_noise_of_bf16_is_caught():
    sitting = Sitting(Discounted(VOCABULARY), dtype=torch.bfloat16)
    text = stream(900, VOCABULARY)
    made = audited(sitting, text, chunk=300, vocabulary=VOCABULARY, chunks=(0, 1, 2))
    found = {each.check: each for each in audit.findings(made)}
    assert made.worst["C2-c"] < audit.CLOSE["bfloat16"]
    assert found["C2-c"].status == "FAIL"
    assert found["C2-c"].measured == "9.0e-02 nats less on average"


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_bf16_is_no_discount(seed):
    sitting = Sitting(Noisy(VOCABULARY, seed), dtype=torch.bfloat16)
    assert failed(sitting, targets=900, chunk=300, chunks=(0, 1, 2)) == set()


def test_probes_do_not_count_as_scores_and_only_sealed_text_is_shown():
    shown = []

    class Watched(Table):
        def score(self, prefix, chunk, rows=None):
            shown.append((len(prefix), len(chunk), sitting.aside))
            return super().score(prefix, chunk, rows)

    sitting = Sitting(Watched(VOCABULARY))
    audited(sitting, stream(60, VOCABULARY), chunk=25, vocabulary=VOCABULARY)

    assert sitting.calls == 3
    sealed = 0
    for prefix, chunk, aside in shown:
        if aside:
            assert prefix + chunk <= sealed + 1
        else:
            sealed = prefix - 1 + chunk


def test_only_the_chunks_that_were_chosen_are_looked_at():
    made = audited(Sitting(Table(VOCABULARY)), stream(60, VOCABULARY), chunk=10, vocabulary=VOCABULARY, chunks=(4,))
    none = audited(Sitting(Table(VOCABULARY)), stream(60, VOCABULARY), chunk=10, vocabulary=VOCABULARY, chunks=())

    assert 1 <= made.places <= audit.PLACES
    assert none.places == 0


def test_what_was_never_measured_does_not_pass():
    none = audited(Sitting(Table(VOCABULARY)), stream(60, VOCABULARY), chunk=10, vocabulary=VOCABULARY, chunks=())

    assert {each.status for each in audit.findings(none)} == {"FAIL"}


def test_without_an_audit_the_same_checks_are_not_run():
    found = audit.not_run("probes are off")
    assert [(each.check, each.status, each.note) for each in found] == [
        (c, "NOT-RUN", "probes are off") for c in CHECKS
    ]


def test_rows_are_compared_as_people_would():
    inf = np.inf
    assert audit.difference(np.array([1.0, -inf]), np.array([1.5, -inf])) == 0.5
    assert audit.difference(np.zeros(2), np.zeros(3)) == inf
    assert audit.log_sum(np.log(np.array([0.25, 0.75]))) == pytest.approx(0, abs=1e-15)
    assert audit.log_sum(np.array([-inf, -inf])) == inf
