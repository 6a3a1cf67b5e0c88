"""Checks of the score: the ledger's chain and coverage, the bytes that divide the score, and the score itself."""

import dataclasses
import math

import numpy as np

from golf.compliance.check_result import FAIL, PASS, UNRULED, Outcome, pass_or_fail
from golf.compliance.context import EvaluationContext
from golf.compliance.registry import check
from golf.data.roundtrip import RoundtripReport
from golf.evaluation import bpb
from golf.pipeline.progress import format_count

_MIN_NLL_NATS = -1e-4  # allows for rounding; a lower score is a probability over 1
_RECOMPUTE_TOL = 1e-6  # bpb or nats; relative for bytes
_MAX_DROPPED_FRAC = 1e-3  # of published texts' bytes that the normalizer may drop; it drops 7e-5 of FineWeb's
_CONTEST_VAL_DOCUMENTS = 50_000  # of the challenge's val


@check("C3-a", "the ledger is the one sealed before each update", required=True)
def _check_sealed_ledger(context: EvaluationContext) -> Outcome:
    """The saved ledger, whose chain reading it verified, equals the one that was sealed in the pass."""
    saved, sealed = context.saved_ledger[0], context.headline_result.ledger.to_data()
    is_unchanged = all(
        np.array_equal(getattr(saved, column.name), getattr(sealed, column.name))
        for column in dataclasses.fields(saved)
    )
    note = "the saved ledger is not the one that was sealed"
    return pass_or_fail(is_unchanged, format_count(int(saved.chunk_ids[-1]) + 1, "seal"), "as in the pass", note)


@check("C4-a", "each target is scored once, in order", required=True)
def _check_rows(context: EvaluationContext) -> Outcome:
    rows, stream = context.saved_ledger[0], context.val_data.stream
    is_covered = len(rows.nll) == stream.n_targets and (rows.bytes == stream.target_bytes).all()
    is_valid = is_covered and (np.diff(rows.chunk_ids) >= 0).all() and np.isfinite(rows.nll).all()
    is_valid = is_valid and (rows.nll >= _MIN_NLL_NATS).all()
    note = "a target has no valid score, or more than one"
    return pass_or_fail(bool(is_valid), format_count(len(rows.nll), "row"), f"{stream.n_targets:,}", note)


@check("C4-b", "each position is read for scoring once", required=True)
def _check_score_calls(context: EvaluationContext) -> Outcome:
    """As many scores were requested in the pass as there are sealed chunks."""
    n_chunks, n_calls = int(context.saved_ledger[0].chunk_ids[-1]) + 1, context.run.session.n_score_calls
    measured = f"{n_calls:,} calls that count"
    return pass_or_fail(n_chunks == n_calls, measured, format_count(n_chunks, "chunk"), "chunks were scored twice")


@check("M-a", "implied bytes are the text's bytes", required=True)
def _check_implied_bytes(context: EvaluationContext) -> Outcome:
    """loss / ln 2 × tokens / bpb is the number of bytes that a score was divided by, whatever it claims.

    For the challenge's val it must be the manifest's, which fetch compared with the canonical count.
    """
    metrics, manifest = context.metrics, context.val_data.manifest
    bits = metrics["val_loss"] / math.log(2) * metrics["val_tokens"]
    implied_bytes = bits / metrics["val_bpb"] if metrics["val_bpb"] else 0.0
    is_contest_val = manifest["comparable_with_fineweb"]
    expected_bytes = manifest["splits"]["val"]["bytes"] if is_contest_val else context.val_data.roundtrip.text_bytes
    is_close = abs(implied_bytes - expected_bytes) <= max(0.5, _RECOMPUTE_TOL * expected_bytes)
    note = "the score is divided by a byte count other than the text's"
    counted_text, other_text_note = _name_counted_text(context.val_data.roundtrip)
    measured = f"{implied_bytes:,.0f} bytes of {counted_text}"
    return pass_or_fail(is_close and not other_text_note, measured, f"{expected_bytes:,}", other_text_note or note)


def _name_counted_text(roundtrip: RoundtripReport) -> tuple[str, str]:
    """Of which text the bytes are, and the reason why they are the wrong ones, "" if they aren't.

    Bytes count of the text as nmt_nfkc leaves it, whatever the tokenizer. Where tokens decode to another text, such as
    one in folded case (#1578, #1604), only that text's bytes are known.
    """
    if not roundtrip.n_mismatch:
        return "normalized text", ""
    is_folded = roundtrip.n_mismatch == roundtrip.n_case_only
    documents = format_count(roundtrip.n_mismatch, "document")
    note = f"in {documents} the bytes are of what the tokens decode to, not of the normalized text"
    return ("case-folded text" if is_folded else "other text"), f"{note}; fetch refuses such tokens"


@check("M-b", "the tokens decode to the text", required=True)
def _check_decoding(context: EvaluationContext) -> Outcome:
    """Every document's tokens decode to its text. Folded case is disputed; any other loss fails."""
    roundtrip, transform = context.val_data.roundtrip, context.val_data.manifest["transform"]
    measured = f"{roundtrip.n_mismatch:,} of {roundtrip.n_documents:,} differ"
    if roundtrip.n_mismatch and roundtrip.n_mismatch == roundtrip.n_case_only:
        return Outcome(UNRULED, measured, "0", "texts differ in case alone: casefold is unruled (#1604)")
    note = f"tokens don't decode to their texts (transform {transform}); see document {roundtrip.first_failure}"
    return pass_or_fail(roundtrip.n_mismatch == 0, measured, "0", note)


@check("M-c", "the tokens' bytes add up to the text's", required=True)
def _check_byte_counts(context: EvaluationContext) -> Outcome:
    """Each document's tokens are charged for the UTF-8 bytes of its text.

    The published CaseOps sidecar counts the raw texts (#1729), a little more than what the normalizer leaves of them.
    """
    roundtrip, manifest = context.val_data.roundtrip, context.val_data.manifest
    counted_text, other_text_note = _name_counted_text(roundtrip)
    measured = (
        f"{roundtrip.token_bytes:,} bytes of {counted_text}; {format_count(roundtrip.n_miscounted, 'document')} off"
    )
    limit, surplus_bytes = f"{roundtrip.text_bytes:,}", roundtrip.token_bytes - roundtrip.text_bytes
    is_published_caseops = manifest["comparable_with_fineweb"] and manifest["transform"] == "caseops"
    is_small_surplus = 0 <= surplus_bytes <= _MAX_DROPPED_FRAC * roundtrip.text_bytes
    if other_text_note:
        return Outcome(FAIL, measured, limit, other_text_note)
    if roundtrip.n_miscounted and is_published_caseops and is_small_surplus:
        note = f"the published sidecar counts the raw texts (#1729), {surplus_bytes:,} bytes that the normalizer drops"
        return Outcome(PASS, measured, limit, note)
    note = f"a document's token bytes differ from its text's bytes; see document {roundtrip.first_failure}"
    return pass_or_fail(roundtrip.n_miscounted == 0, measured, limit, note)


@check("M-d", "all of val is covered, its shards unchanged", required=True)
def _check_coverage(context: EvaluationContext) -> Outcome:
    """The scored split is the one that fetch wrote, and whole. Opening it checked the sha256 of its shards."""
    val, manifest = context.val_data.val, context.val_data.manifest
    val_record = manifest["splits"]["val"]
    recorded = (val_record["documents"], val_record["tokens"], val_record["sha256"])
    is_complete = recorded == (len(val.documents), val.n_tokens, context.val_data.index_sha256)
    is_complete = is_complete and context.metrics["val_tokens"] == val.n_tokens - 1
    if manifest["comparable_with_fineweb"]:
        is_complete = is_complete and len(val.documents) == _CONTEST_VAL_DOCUMENTS
    measured = f"{format_count(len(val.documents), 'document')}, {format_count(val.n_tokens, 'token')}"
    limit = f"{val_record['documents']:,}, {val_record['tokens']:,}"
    return pass_or_fail(is_complete, measured, limit, "not all of val was scored (#1854)")


@check("M-e", "the headline equals the ledger's score", required=True)
def _check_headline(context: EvaluationContext) -> Outcome:
    """bpb and loss computed again from the saved ledger."""
    (rows, meta), metrics = context.saved_ledger, context.metrics
    score = bpb.compute_score(rows)
    deviation = max(
        abs(score.bpb - metrics["val_bpb"]),
        abs(score.loss - metrics["val_loss"]),
        abs(score.bpb - metrics[f"val_bpb_{meta['mode']}"]),
        abs(score.bpb - context.headline_result.score.bpb),
    )
    measured, limit = f"off by {deviation:.1e} bpb", f"{_RECOMPUTE_TOL:g}"
    return pass_or_fail(deviation <= _RECOMPUTE_TOL, measured, limit, "the headline differs from the ledger's score")
