"""Checks on the accounts: the ledger's chain and coverage, the bytes that divide the score, and the score itself."""

import dataclasses
import math

import numpy as np

from golf.compliance.check_result import PASS, UNRULED, CheckResult, pass_or_fail
from golf.data.eval_stream import EvalStream
from golf.data.roundtrip import RoundtripReport
from golf.data.split_reader import TokenSplit
from golf.evaluation import bpb, ledger
from golf.evaluation.evaluator import ModeResult

_MIN_NLL_NATS = -1e-4  # nats: rounding; a score below it is a probability over 1
_RECOMPUTE_TOL = 1e-6  # of a figure recomputed from the ledger (M-e)
_MAX_DROPPED_FRAC = (
    1e-3  # most that the normaliser may have dropped of published texts; 7e-5 of FineWeb's bytes (data-formats 1)
)
_CONTEST_VAL_DOCUMENTS = 50_000  # of the challenge's val


def check_ledger(
    ledger_path, stream: EvalStream, headline_result: ModeResult, metrics: dict, n_calls: int
) -> list[CheckResult]:
    """C3-a, C4-a, C4-b, M-e: the headline's ledger as it was saved, read again. calls: scores asked for it.

    C3-a holds what was saved against what was sealed in the pass, seal by seal; C4-b the calls against the seals.
    Raises BadArtifact where a seal doesn't fit its rows.
    """
    rows, meta = ledger.read(ledger_path)
    pairs = zip(_as_arrays(rows), _as_arrays(headline_result.ledger.to_data()), strict=True)
    is_unchanged = all(
        np.array_equal(saved_column, sealed_column) for saved_column, sealed_column in pairs
    )  # and so the seals, which follow from them
    score, n_chunks = bpb.compute_score(rows), int(rows.chunk[-1]) + 1
    is_covered = len(rows.nll) == stream.n_targets and (rows.bytes == stream.target_bytes).all()
    is_sound = is_covered and (np.diff(rows.chunk) >= 0).all() and np.isfinite(rows.nll).all()
    is_sound = is_sound and (rows.nll >= _MIN_NLL_NATS).all()
    deviation = max(abs(score.bpb - metrics["val_bpb"]), abs(score.loss - metrics["val_loss"]))
    deviation = max(
        deviation, abs(score.bpb - metrics[f"val_bpb_{meta['way']}"]), abs(score.bpb - headline_result.score.bpb)
    )
    return [
        pass_or_fail(
            "C3-a",
            is_unchanged,
            f"{n_chunks:,} seals",
            "as in the pass",
            "the saved ledger is not the one that was sealed",
        ),
        pass_or_fail(
            "C4-a",
            bool(is_sound),
            f"{len(rows.nll):,} rows",
            f"{stream.n_targets:,}",
            "some target has no sound score of its own",
        ),
        pass_or_fail(
            "C4-b",
            n_chunks == n_calls,
            f"{n_calls:,} calls that count",
            f"{n_chunks:,} chunks",
            "chunks were scored twice",
        ),
        pass_or_fail(
            "M-e",
            deviation <= _RECOMPUTE_TOL,
            f"off by {deviation:.1e} bpb",
            f"{_RECOMPUTE_TOL:g}",
            "the headline is not the ledger's",
        ),
    ]


def _as_arrays(rows: ledger.LedgerData) -> list[np.ndarray]:
    return [getattr(rows, field.name) for field in dataclasses.fields(rows)]


def check_bytes(
    metrics: dict, val: TokenSplit, index_sha256: str, manifest: dict, roundtrip: RoundtripReport
) -> list[CheckResult]:
    """M-a to M-d. figures: the metrics as reported; index: sha256 of val's; manifest: as fetch wrote it; read: val as
    text.
    """
    coverage = _check_coverage(metrics, val, index_sha256, manifest)
    return [
        _check_implied_bytes(metrics, manifest, roundtrip),
        _check_roundtrip(roundtrip, manifest),
        check_byte_counts(roundtrip, manifest),
        coverage,
    ]


def _check_implied_bytes(metrics: dict, manifest: dict, roundtrip: RoundtripReport) -> CheckResult:
    """M-a: loss / ln 2 × tokens / bpb is the number of bytes that a score was divided by, whatever it claims. The
    challenge's val has those that fetch held against its canonical count, whose tail the contest's evaluation drops.
    """
    bits = metrics["val_loss"] / math.log(2) * metrics["val_tokens"]
    implied_bytes = bits / metrics["val_bpb"] if metrics["val_bpb"] else 0.0
    expected_bytes = manifest["splits"]["val"]["bytes"] if manifest["comparable_with_fineweb"] else roundtrip.text_bytes
    is_close = abs(implied_bytes - expected_bytes) <= max(0.5, _RECOMPUTE_TOL * expected_bytes)
    return pass_or_fail(
        "M-a",
        is_close,
        f"{implied_bytes:,.0f} bytes",
        f"{expected_bytes:,}",
        "the score divides by bytes that aren't there",
    )


def _check_roundtrip(roundtrip: RoundtripReport, manifest: dict) -> CheckResult:
    """M-b: every document's tokens give its text back; folded case is disputed, anything else that is lost fails."""
    measured = f"{roundtrip.n_mismatch:,} of {roundtrip.n_documents:,} differ"
    if roundtrip.n_mismatch and roundtrip.n_mismatch == roundtrip.n_case_only:
        return CheckResult("M-b", UNRULED, measured, "0", "texts differ in case alone: casefold is unruled (#1604)")
    note = f"texts don't come back from their tokens (transform {manifest['transform']}); see document {roundtrip.first_failure}"
    return pass_or_fail("M-b", roundtrip.n_mismatch == 0, measured, "0", note)


def check_byte_counts(roundtrip: RoundtripReport, manifest: dict) -> CheckResult:
    """M-c: what the tokens claim against the UTF-8 length of what they spell, document by document.

    The published CaseOps sidecar counts the raw texts (#1729), a little more than what the normaliser left to spell.
    """
    measured = f"{roundtrip.token_bytes:,} bytes; {roundtrip.n_miscounted:,} documents off"
    note = f"documents are charged for other bytes than their texts have; see document {roundtrip.first_failure}"
    is_published_caseops = manifest["comparable_with_fineweb"] and manifest["transform"] == "caseops"
    surplus_bytes = roundtrip.token_bytes - roundtrip.text_bytes
    if (
        is_published_caseops
        and roundtrip.n_miscounted
        and 0 <= surplus_bytes <= _MAX_DROPPED_FRAC * roundtrip.text_bytes
    ):
        surplus_note = (
            f"the published sidecar counts the raw texts (#1729), {surplus_bytes:,} bytes that the normaliser drops"
        )
        return CheckResult("M-c", PASS, measured, f"{roundtrip.text_bytes:,}", surplus_note)
    return pass_or_fail("M-c", roundtrip.n_miscounted == 0, measured, f"{roundtrip.text_bytes:,}", note)


def _check_coverage(metrics: dict, val: TokenSplit, index_sha256: str, manifest: dict) -> CheckResult:
    """M-d: the split that was scored is the one that fetch wrote, whole; its shards' sha256 were checked on opening."""
    val_record = manifest["splits"]["val"]
    is_complete = (val_record["documents"], val_record["tokens"], val_record["sha256"]) == (
        len(val.documents),
        val.tokens,
        index_sha256,
    )
    is_complete = is_complete and metrics["val_tokens"] == val.tokens - 1
    if manifest["comparable_with_fineweb"]:
        is_complete = is_complete and len(val.documents) == _CONTEST_VAL_DOCUMENTS
    measured = f"{len(val.documents):,} documents, {val.tokens:,} tokens"
    limit = f"{val_record['documents']:,}, {val_record['tokens']:,}"
    return pass_or_fail("M-d", is_complete, measured, limit, "not all of val was scored (#1854)")
