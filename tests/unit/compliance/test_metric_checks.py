"""golf/compliance/metric_checks.py: ledger, bytes and the score itself, each check shown to pass and to fail"""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from golf.compliance.catalog import CHECKS
from golf.data.roundtrip import RoundtripReport
from golf.evaluation import ledger, scoring_loop
from golf.evaluation.ledger import Ledger
from tests.helpers.fake_session import FakeSession, FixedBigrams, random_stream

TTT_CONFIG = SimpleNamespace(chunk_tokens=25, stride=8)
STREAM = random_stream(60, 20)


class LedgerCase:
    """A compliant pass with its saved ledger; a test changes one thing and runs the checks."""

    def __init__(self, folder):
        self.folder, self.stream, self.n_score_calls = folder, STREAM, 3
        args = {"ttt_cfg": TTT_CONFIG, "stride": 8, "context_length": 8, "quiet": True, "stage": "test"}
        self.result = scoring_loop.evaluate_mode(FakeSession(FixedBigrams(20)), STREAM, "plain", **args)
        score = self.result.score
        self.metrics = {"val_bpb": score.bpb, "val_bpb_plain": score.bpb, "val_loss": score.loss}
        self.saved = self.result.ledger

    def save_chunks(self, change_nll, n_chunks=3) -> None:
        """Save a ledger with a sound chain over other scores. change_nll: from a chunk's index and nll to its nll."""
        self.saved = Ledger("plain", STREAM.bos)
        for index, nll in enumerate(self.result.ledger.nll[:n_chunks]):
            tokens = STREAM.tokens[index * 25 : index * 25 + len(nll) + 1]
            n_bytes = self.result.ledger.bytes[index]
            self.saved.append(tokens, change_nll(index, nll), n_bytes, is_last=index == 2)

    def statuses(self) -> dict[str, str]:
        self.saved.save(self.folder / "plain.safetensors")
        context = SimpleNamespace(
            saved_ledger=ledger.read(self.folder / "plain.safetensors"),
            headline_result=self.result,
            metrics=self.metrics,
            val_data=SimpleNamespace(stream=self.stream),
            run=SimpleNamespace(session=SimpleNamespace(n_score_calls=self.n_score_calls)),
        )
        return {check_id: CHECKS[check_id].run(context).status for check_id in ("C3-a", "C4-a", "C4-b", "M-e")}


@pytest.fixture
def ledger_case(tmp_path):
    return LedgerCase(tmp_path)


def test_a_compliant_ledger_passes(ledger_case):
    assert ledger_case.statuses() == dict.fromkeys(("C3-a", "C4-a", "C4-b", "M-e"), "PASS")


def test_more_scores_than_seals_fail(ledger_case):
    ledger_case.n_score_calls = 4
    assert ledger_case.statuses() == {"C3-a": "PASS", "C4-a": "PASS", "C4-b": "FAIL", "M-e": "PASS"}


def test_a_ledger_with_a_sound_chain_that_is_not_the_passes_own_fails(ledger_case):
    ledger_case.save_chunks(lambda index, nll: nll - np.float32(1e-9 + 0.5 * (index == 2)))
    statuses = ledger_case.statuses()
    assert (statuses["C3-a"], statuses["C4-b"]) == ("FAIL", "PASS")


def test_a_ledger_of_part_of_the_stream_fails(ledger_case):
    ledger_case.save_chunks(lambda index, nll: nll, n_chunks=2)
    assert ledger_case.statuses()["C4-a"] == "FAIL"


@pytest.mark.parametrize(("lowest", "status"), [(-1.0, "FAIL"), (-1e-3, "FAIL"), (-1e-6, "PASS"), (0.0, "PASS")])
def test_a_score_below_zero_fails_and_rounding_does_not(ledger_case, lowest, status):
    ledger_case.save_chunks(lambda index, nll: np.append(nll[:-1], lowest if index == 1 else nll[-1]))
    assert ledger_case.statuses()["C4-a"] == status


def test_other_bytes_than_the_streams_fail(ledger_case):
    other_bytes = STREAM.target_bytes[::-1] + np.arange(60) % 2
    ledger_case.stream = dataclasses.replace(STREAM, target_bytes=other_bytes)
    assert ledger_case.statuses()["C4-a"] == "FAIL"


@pytest.mark.parametrize("key", ["val_bpb", "val_bpb_plain", "val_loss"])
def test_a_metric_that_is_not_the_ledgers_fails(ledger_case, key):
    ledger_case.metrics[key] -= 1e-5
    assert ledger_case.statuses()["M-e"] == "FAIL"


ROUNDTRIP = RoundtripReport(
    n_documents=3, n_mismatch=0, n_case_only=0, text_bytes=120, token_bytes=120, n_miscounted=0, first_failure=None
)
VAL = SimpleNamespace(documents=[{}] * 3, n_tokens=61)
MANIFEST = {
    "transform": "none",
    "comparable_with_fineweb": False,
    "splits": {"val": {"documents": 3, "tokens": 61, "sha256": "abc"}},
}
METRICS = {"val_loss": 2.0, "val_tokens": 60, "val_bpb": 2.0 / math.log(2) * 60 / 120}


def run_byte_checks(metrics=METRICS, index_sha256="abc", manifest=MANIFEST, val=VAL, **roundtrip) -> dict:
    val_data = SimpleNamespace(
        val=val,
        index_sha256=index_sha256,
        manifest=manifest,
        roundtrip=dataclasses.replace(ROUNDTRIP, **roundtrip),
    )
    context = SimpleNamespace(metrics=metrics, val_data=val_data)
    return {check_id: CHECKS[check_id].run(context) for check_id in ("M-a", "M-b", "M-c", "M-d")}


def failed(**kwargs) -> set[str]:
    return {check_id for check_id, result in run_byte_checks(**kwargs).items() if result.status == "FAIL"}


def test_correct_byte_counts_pass():
    assert failed() == set()
    assert run_byte_checks()["M-a"].measured == "120 bytes of normalized text"
    assert run_byte_checks()["M-c"].measured == "120 bytes of normalized text; 0 documents off"


@pytest.mark.parametrize("bpb", [METRICS["val_bpb"] / 1.17, METRICS["val_bpb"] * 1.01, 0.0])
def test_a_score_that_divides_by_other_bytes_fails(bpb):
    assert failed(metrics=METRICS | {"val_bpb": bpb}) == {"M-a"}


def test_text_that_does_not_decode_fails_and_a_document_is_named():
    result = run_byte_checks(n_mismatch=2, first_failure=1)["M-b"]
    assert (result.status, result.measured) == ("FAIL", "2 of 3 differ")
    assert result.note.endswith("(transform none); see document 1")


def test_folded_case_alone_is_unruled_and_anything_beside_it_fails():
    result = run_byte_checks(n_mismatch=2, n_case_only=2, first_failure=0)["M-b"]
    assert result.status == "UNRULED"
    assert "#1604" in result.note
    assert "M-b" in failed(n_mismatch=2, n_case_only=1, first_failure=0)


@pytest.mark.parametrize(("n_case_only", "text"), [(2, "case-folded text"), (1, "other text"), (0, "other text")])
def test_bytes_of_another_text_than_the_normalized_one_fail_even_if_they_add_up(n_case_only, text):
    results = run_byte_checks(n_mismatch=2, n_case_only=n_case_only, first_failure=0)
    assert [results[check_id].status for check_id in ("M-a", "M-c")] == ["FAIL", "FAIL"]
    assert results["M-a"].measured == f"120 bytes of {text}"
    assert results["M-c"].measured == f"120 bytes of {text}; 0 documents off"
    assert "in 2 documents the bytes are of what the tokens decode to" in results["M-a"].note == results["M-c"].note


def test_tokens_that_claim_more_bytes_than_their_text_has_fail():
    claim = {"token_bytes": 130, "n_miscounted": 1, "first_failure": 2}
    assert failed(**claim) == {"M-c"}
    assert "see document 2" in run_byte_checks(**claim)["M-c"].note


def test_only_the_published_sidecar_may_count_what_the_normalizer_drops_and_no_more():
    published = MANIFEST | {"comparable_with_fineweb": True, "transform": "caseops"}
    published["splits"] = {"val": MANIFEST["splits"]["val"] | {"bytes": 10_000}}

    def check_bytes(manifest, token_bytes):
        counts = {"text_bytes": 10_000, "token_bytes": token_bytes, "n_miscounted": 3, "first_failure": 0}
        return run_byte_checks(manifest=manifest, **counts)["M-c"]

    result = check_bytes(published, 10_009)
    assert (result.status, "9 bytes that the normalizer drops" in result.note) == ("PASS", True)
    assert check_bytes(published, 9_999).status == check_bytes(published, 10_011).status == "FAIL"
    assert check_bytes(MANIFEST, 10_009).status == "FAIL"


@pytest.mark.parametrize(
    "changed",
    [
        {"index_sha256": "abd"},
        {"metrics": METRICS | {"val_tokens": 59, "val_loss": 2.0 * 60 / 59}},
        {"val": SimpleNamespace(documents=[{}] * 2, n_tokens=61)},
    ],
)
def test_a_split_that_is_not_the_fetched_one_or_not_whole_fails(changed):
    assert failed(**changed) == {"M-d"}


def test_fineweb_has_its_own_bytes_and_documents():
    record = {"documents": 50_000, "tokens": 61, "bytes": 151_080_000, "sha256": "abc"}
    manifest = MANIFEST | {"comparable_with_fineweb": True, "splits": {"val": record}}
    metrics = METRICS | {"val_bpb": 2.0 / math.log(2) * 60 / record["bytes"]}
    whole = SimpleNamespace(documents=[{}] * 50_000, n_tokens=61)
    assert failed(metrics=metrics, manifest=manifest, val=whole) == set()
    assert failed(manifest=manifest, val=whole) == {"M-a"}
    part = SimpleNamespace(documents=[{}] * 10_000, n_tokens=61)
    manifest = manifest | {"splits": {"val": record | {"documents": 10_000}}}
    assert failed(metrics=metrics, manifest=manifest, val=part) == {"M-d"}
