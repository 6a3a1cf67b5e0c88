"""golf/compliance/ablations.py, and the checks in ablation_checks.py that read it, each shown to pass and to fail"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.compliance import ablations
from golf.compliance.ablations import ProbeSlice
from golf.compliance.catalog import CHECKS
from golf.evaluation.pass_settings import PassSettings
from tests.helpers.fake_session import BOS, CountedBigrams, FakeSession, FixedBigrams, log_softmax, random_stream

VOCAB_SIZE, CONTEXT_LENGTH = 20, 8
PASS_SETTINGS = PassSettings(stride=4, ttt_cfg="a TTT config", memory_cfg="a memory config", n_chunks=9, order="stream")


def run_checks(predictor, *, documents="", stream=None, counted_state_hash=None) -> dict:
    """Results by check. counted_state_hash: in the pass that counted; by default that of a newly opened predictor."""
    stream = random_stream(200, VOCAB_SIZE, n_documents=8) if stream is None else stream
    session = FakeSession(predictor, documents=documents)
    PASS_SETTINGS.begin_pass(session)
    probe_slice = ProbeSlice.sample(stream.tokens, stream.bos, CONTEXT_LENGTH, np.random.default_rng(0))
    counted_state_hash = counted_state_hash or session.initial_state_hash
    result = ablations.run_ablations(session, probe_slice, PASS_SETTINGS, counted_state_hash)
    cfg = SimpleNamespace(proof_places=4, dtype="float32")
    context = SimpleNamespace(run=SimpleNamespace(session=session, ablations=result), cfg=cfg)
    return {check_id: CHECKS[check_id].run(context) for check_id in ("C1-c", "C3-c", "C3-d", "C3-e")}


def failed(*args, **kwargs) -> set[str]:
    return {check_id for check_id, result in run_checks(*args, **kwargs).items() if result.status == "FAIL"}


class KeepsLearning(CountedBigrams):
    """Keeps what it learned for the next pass."""

    def reset(self, *, stride, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream"):
        if not hasattr(self, "counts"):
            super().reset(stride=stride)


class Unsteady(FixedBigrams):
    """Starts each pass in a state that the artifact does not determine."""

    def reset(self, **settings):
        self.salt = getattr(self, "salt", 0) + 1


class ScaledWithTTT(FixedBigrams):
    """With a TTT config it is another predictor even before it has learned anything."""

    def reset(self, *, stride, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream"):
        self.scale = 2.0 if ttt_cfg else 1.0

    def log_probs(self, prefix, chunk):
        return log_softmax(super().log_probs(prefix, chunk) * self.scale)


class ScaledWithMemory(ScaledWithTTT):
    """With a memory config it is another predictor even where nothing can be remembered."""

    def reset(self, *, stride, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream"):
        self.scale = 2.0 if memory_cfg else 1.0


class DocumentCounts(FixedBigrams):
    """Counts tokens of the current document alone: what comes before its start changes nothing."""

    def log_probs(self, prefix, chunk):
        seen = np.concatenate([prefix, chunk])
        counts = np.zeros((len(chunk), len(self.table)))
        for row in range(len(chunk)):
            end = len(prefix) + row
            start = self.start(seen[:end])
            np.add.at(counts[row], seen[start:end], 1)
        return log_softmax(super().log_probs(prefix, chunk) + counts)

    def start(self, seen) -> int:
        return int(np.flatnonzero(seen == BOS)[-1])


class LeaksAcrossDocuments(DocumentCounts):
    """Counts the last token of the document before too, as SmearGate did at a BOS (#1797)."""

    def start(self, seen) -> int:
        return max(0, super().start(seen) - 1)


@pytest.mark.parametrize("predictor_class", [FixedBigrams, CountedBigrams, DocumentCounts])
def test_valid_predictors_pass(predictor_class):
    results = run_checks(predictor_class(VOCAB_SIZE))
    passed = dict.fromkeys(("C3-c", "C3-d", "C3-e"), "PASS")
    assert {check_id: result.status for check_id, result in results.items()} == {"C1-c": "NOT-RUN"} | passed


def test_an_update_left_out_changes_later_scores_and_the_result_shows_by_how_much():
    before, after = run_checks(CountedBigrams(VOCAB_SIZE))["C3-c"].measured.split(" before the update left out, ")
    assert before == "0.0e+00 nats"
    assert float(after.split()[0]) > 0.01


def test_learning_that_survives_into_another_pass_fails():
    assert "C3-c" in failed(KeepsLearning(VOCAB_SIZE))


def test_a_state_that_is_not_the_artifacts_fails():
    assert failed(Unsteady(VOCAB_SIZE)) == {"C3-d"}
    assert failed(FixedBigrams(VOCAB_SIZE), counted_state_hash="0" * 64) == {"C3-d"}


def test_a_config_that_changes_scores_before_anything_was_learned_fails():
    assert failed(ScaledWithTTT(VOCAB_SIZE)) == {"C3-e"}
    assert failed(ScaledWithMemory(VOCAB_SIZE)) == {"C3-e"}


def test_documents_declared_independent_are_tested():
    assert failed(DocumentCounts(VOCAB_SIZE), documents="independent") == set()
    assert failed(LeaksAcrossDocuments(VOCAB_SIZE), documents="independent") == {"C1-c"}
    assert failed(CountedBigrams(VOCAB_SIZE), documents="independent") == {"C1-c"}, "it learns from the one before"


def test_without_a_declaration_dependence_between_documents_is_only_measured():
    result = run_checks(LeaksAcrossDocuments(VOCAB_SIZE))["C1-c"]
    assert result.status == "NOT-RUN"
    assert float(result.measured.split()[0]) > 0
    assert "does not declare documents independent" in result.note


def test_a_stream_of_one_document_cannot_show_independence():
    results = run_checks(
        DocumentCounts(VOCAB_SIZE), documents="independent", stream=random_stream(200, VOCAB_SIZE, n_documents=1)
    )
    assert results["C1-c"].status == "NOT-RUN"
    assert results["C3-c"].status == "PASS"


@pytest.mark.parametrize(("stride", "slice_stride"), [(1, CONTEXT_LENGTH // 2), (6, 6)])
def test_a_slice_is_scored_in_steps_of_at_least_half_a_context(stride, slice_stride):
    strides = []

    class Recorder(FixedBigrams):
        def reset(self, *, stride, **settings):
            strides.append(stride)

    stream = random_stream(200, VOCAB_SIZE, n_documents=8)
    probe_slice = ProbeSlice.sample(stream.tokens, stream.bos, CONTEXT_LENGTH, np.random.default_rng(0))
    settings = dataclasses.replace(PASS_SETTINGS, stride=stride)
    ablations.run_ablations(FakeSession(Recorder(VOCAB_SIZE)), probe_slice, settings, "")
    assert strides[0] == stride, "the state that is hashed is that of the pass"
    assert {*strides[1:]} == {slice_stride}


@pytest.mark.parametrize("targets", [1, 2])
def test_a_stream_too_short_for_three_chunks_is_not_run(targets):
    results = run_checks(FixedBigrams(VOCAB_SIZE), stream=random_stream(targets, VOCAB_SIZE, n_documents=1))
    assert {result.status for result in results.values()} == {"NOT-RUN"}
    assert results["C3-e"].note == "the text has fewer than 3 targets"


@given(st.integers(3, 120), st.integers(1, 6), st.integers(1, 40), st.integers(0, 9))
def test_a_slice_is_three_chunks_of_the_stream_from_a_document_start(targets, documents, context, seed):
    stream = random_stream(targets, VOCAB_SIZE, seed, min(documents, targets))
    probe_slice = ProbeSlice.sample(stream.tokens, BOS, context, np.random.default_rng(seed))

    assert 1 <= probe_slice.chunk_tokens <= 2 * context
    assert len(probe_slice.tokens) == 3 * probe_slice.chunk_tokens + 1
    assert probe_slice.tokens[0] == BOS
    windows = np.lib.stride_tricks.sliding_window_view(stream.tokens, 3 * probe_slice.chunk_tokens)
    assert (windows == probe_slice.tokens[1:]).all(-1)[1:].any(), "its tokens are the text's, as they stand there"
    starts = np.flatnonzero(stream.tokens == BOS)
    if ((starts >= probe_slice.chunk_tokens) & (starts < len(stream.tokens) - 2 * probe_slice.chunk_tokens)).any():
        assert probe_slice.tokens[probe_slice.chunk_tokens] == BOS, "its second chunk starts a document"


@given(st.integers(3, 30), st.integers(3, 90), st.integers(1, 5), st.integers(0, 9))
def test_a_pure_predictor_never_fails(vocabulary, targets, documents, seed):
    stream = random_stream(targets, vocabulary, seed, min(documents, targets))
    assert failed(FixedBigrams(vocabulary, seed), stream=stream) == set()


def test_equal_infinities_do_not_differ_and_nan_differs_infinitely():
    inf = np.inf
    assert ablations.compute_max_abs_diff(np.array([inf, 1.0]), np.array([inf, 1.25])) == 0.25
    assert ablations.compute_max_abs_diff(np.array([np.nan]), np.array([np.nan])) == inf
    assert ablations.compute_max_abs_diff(np.zeros(0), np.zeros(0)) == 0
