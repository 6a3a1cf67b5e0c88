"""golf/compliance/ablations.py: each check shown to pass and to fail"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compliance import ablations
from golf.compliance.ablations import ProbeSlice
from tests.helpers.fake_session import BOS, CountedBigrams, FakeSession, FixedBigrams, log_softmax, random_stream

VOCABULARY, CONTEXT = 20, 8
MANNER = {"stride": 4, "plan": "a plan", "chunks": 9}


def findings(method, *, documents="", text=None, begun=None) -> dict:
    """By check; begun: the state's hash when it counted, as it was opened where none is given."""
    text = random_stream(200, VOCABULARY, n_documents=8) if text is None else text
    sitting = FakeSession(method, documents=documents)
    sitting.reset(**MANNER)
    part = ProbeSlice.sample(text.tokens, text.bos, CONTEXT, np.random.default_rng(0))
    return {
        each.check: each
        for each in ablations.check_ablations(sitting, part, MANNER, begun or sitting.initial_state_hash)
    }


def failed(*args, **how) -> set[str]:
    return {check for check, each in findings(*args, **how).items() if each.status == "FAIL"}


class Rescored(CountedBigrams):
    """What it learned stays for the next pass."""

    def begin(self, *, stride, plan=None, chunks=1):
        if not hasattr(self, "counts"):
            super().reset(stride=stride)


class Unsteady(FixedBigrams):
    """Opens in a state that nothing of the artifact settles."""

    def begin(self, **how):
        self.salt = getattr(self, "salt", 0) + 1


class Warm(FixedBigrams):
    """With a plan it is another predictor even before it has learned anything."""

    def begin(self, *, stride, plan=None, chunks=1):
        self.heat = 2.0 if plan else 1.0

    def expect(self, prefix, chunk):
        return log_softmax(super().log_probs(prefix, chunk) * self.heat)


class Document(FixedBigrams):
    """Counts tokens of the present document alone: what comes before its start changes nothing."""

    def expect(self, prefix, chunk):
        seen = np.concatenate([prefix, chunk])
        counts = np.zeros((len(chunk), len(self.table)))
        for row in range(len(chunk)):
            end = len(prefix) + row
            start = self.start(seen[:end])
            np.add.at(counts[row], seen[start:end], 1)
        return log_softmax(super().log_probs(prefix, chunk) + counts)

    def start(self, seen) -> int:
        return int(np.flatnonzero(seen == BOS)[-1])


class Blurred(Document):
    """The last token of the document before is counted too, as SmearGate did at a BOS (#1797)."""

    def start(self, seen) -> int:
        return max(0, super().start(seen) - 1)


@pytest.mark.parametrize("method", [FixedBigrams, CountedBigrams, Document])
def test_the_honest_are_not_accused(method):
    found = findings(method(VOCABULARY))
    passed = dict.fromkeys(("C3-c", "C3-d", "C3-e"), "PASS")
    assert {check: each.status for check, each in found.items()} == {"C1-c": "NOT-RUN"} | passed


def test_an_update_left_out_changes_the_scores_after_it_and_the_finding_shows_by_how_much():
    before, after = findings(CountedBigrams(VOCABULARY))["C3-c"].measured.split(" before the update left out, ")
    assert before == "0.0e+00 nats"
    assert float(after.split()[0]) > 0.01


def test_learning_that_survives_into_another_pass_is_caught():
    assert "C3-c" in failed(Rescored(VOCABULARY))


def test_a_state_that_is_not_the_artifacts_is_caught():
    assert failed(Unsteady(VOCABULARY)) == {"C3-d"}
    assert failed(FixedBigrams(VOCABULARY), begun="0" * 64) == {"C3-d"}


def test_a_plan_that_changes_scores_before_anything_was_learned_is_caught():
    assert failed(Warm(VOCABULARY)) == {"C3-e"}


def test_documents_said_to_be_independent_are_tried():
    assert failed(Document(VOCABULARY), documents="independent") == set()
    assert failed(Blurred(VOCABULARY), documents="independent") == {"C1-c"}
    assert failed(CountedBigrams(VOCABULARY), documents="independent") == {"C1-c"}, "it learns from the one before"


def test_where_nothing_is_said_of_documents_the_dependence_is_shown_and_no_offence():
    found = findings(Blurred(VOCABULARY))["C1-c"]
    assert found.status == "NOT-RUN"
    assert float(found.measured.split()[0]) > 0
    assert "does not say that documents are independent" in found.note


def test_a_text_of_one_document_can_not_show_that_documents_are_independent():
    found = findings(Document(VOCABULARY), documents="independent", text=random_stream(200, VOCABULARY, n_documents=1))
    assert found["C1-c"].status == "NOT-RUN"
    assert found["C3-c"].status == "PASS"


@pytest.mark.parametrize("targets", [1, 2])
def test_a_text_too_short_for_three_chunks_is_not_looked_at_and_says_so(targets):
    found = findings(FixedBigrams(VOCABULARY), text=random_stream(targets, VOCABULARY, n_documents=1))
    assert {each.status for each in found.values()} == {"NOT-RUN"}
    assert found["C3-e"].note == "the text has no 3 targets"


@settings(max_examples=60)
@given(st.integers(3, 120), st.integers(1, 6), st.integers(1, 40), st.integers(0, 9))
def test_a_slice_is_three_chunks_of_the_text_from_a_document_s_start(targets, documents, context, seed):
    text = random_stream(targets, VOCABULARY, seed, min(documents, targets))
    part = ProbeSlice.sample(text.tokens, BOS, context, np.random.default_rng(seed))

    assert 1 <= part.chunk_tokens <= 2 * context
    assert len(part.tokens) == 3 * part.chunk_tokens + 1
    assert part.tokens[0] == BOS
    windows = np.lib.stride_tricks.sliding_window_view(text.tokens, 3 * part.chunk_tokens)
    assert (windows == part.tokens[1:]).all(-1)[1:].any(), "its tokens are the text's, as they stand there"
    starts = np.flatnonzero(text.tokens == BOS)
    if ((starts >= part.chunk_tokens) & (starts < len(text.tokens) - 2 * part.chunk_tokens)).any():
        assert part.tokens[part.chunk_tokens] == BOS, "its second chunk starts a document"


@settings(max_examples=30)
@given(st.integers(3, 30), st.integers(3, 90), st.integers(1, 5), st.integers(0, 9))
def test_a_pure_method_is_never_accused(vocabulary, targets, documents, seed):
    text = random_stream(targets, vocabulary, seed, min(documents, targets))
    assert failed(FixedBigrams(vocabulary, seed), text=text) == set()


def test_equal_infinities_do_not_differ_and_what_is_no_number_differs_infinitely():
    inf = np.inf
    assert ablations.max_abs_diff(np.array([inf, 1.0]), np.array([inf, 1.25])) == 0.25
    assert ablations.max_abs_diff(np.array([np.nan]), np.array([np.nan])) == inf
    assert ablations.max_abs_diff(np.zeros(0), np.zeros(0)) == 0
