"""``golf check-submission --json``: the reviews as JSON. docs/submission-review.md describes every key.

A key is never renamed or removed under the same ``version``; keys may be added.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from golf.submission.findings import CHECKS, SEVERITIES
from golf.submission.overview import FolderResult
from golf.submission.record_margin import GainTest, RecordMargin
from golf.submission.report import SubmissionReview

__all__ = ["render_json"]

_VERSION = 1
_NOTHING_FOUND, _UNREADABLE = "nothing found", "unreadable"


def render_json(results: Sequence[FolderResult]) -> str:
    """Return one object with all submissions and their total."""
    worst = Counter(_describe_worst(result) for result in results)
    total = {word: worst[word] for word in (*SEVERITIES[:3], _NOTHING_FOUND, _UNREADABLE)}
    document = {
        "version": _VERSION,
        "submissions": [_describe_result(result) for result in results],
        "total": {"submissions": len(results), **total},
    }
    return json.dumps(document, indent=2, ensure_ascii=True)


def _describe_worst(result: FolderResult) -> str:
    return _UNREADABLE if result.reviewed is None else result.reviewed.worst or _NOTHING_FOUND


def _describe_result(result: FolderResult) -> dict[str, Any]:
    folder = str(result.path)
    if result.reviewed is None:
        return {"folder": folder, "worst": _UNREADABLE, "error": result.error}
    reviewed = result.reviewed
    return {
        "folder": folder,
        "worst": _describe_worst(result),
        "counts": reviewed.counts,
        "track": "record" if reviewed.review.submission.is_record else "non-record",
        "headline": _describe_headline(reviewed),
        "findings": [
            {
                "severity": finding.severity,
                "check": check,
                "name": CHECKS[check].name,
                "text": finding.text,
                "where": finding.where,
                "rule": CHECKS[check].rule,
                "remedy": CHECKS[check].remedy,
            }
            for check, finding in reviewed.findings
        ],
        "checks": [
            {
                "check": outcome.check,
                "status": outcome.status,
                "measured": outcome.measured,
                "not_checked": outcome.not_checked,
                "notes": list(outcome.notes),
            }
            for outcome in reviewed.outcomes
        ],
        "statistics": _describe_margin(reviewed.margin),
    }


def _describe_headline(reviewed: SubmissionReview) -> dict[str, Any]:
    headline = reviewed.review.headline
    return {
        "claim": None if headline.claim is None else headline.claim.value,
        "key": headline.key,
        "borne_by": headline.kind,
        "logs": [
            {
                "log": row.log.label,
                "seed": row.log.seed,
                "pass": row.score.name,
                "bpb": None if row.score.bpb is None else row.score.bpb.value,
                "loss": None if row.score.loss is None else row.score.loss.value,
                "line": row.score.line,
            }
            for row in headline.rows
        ],
    }


def _describe_margin(margin: RecordMargin | None) -> dict[str, Any] | None:
    if margin is None:
        return None
    baseline = margin.baseline
    return {
        "source": "logs" if margin.is_logged else "claims",
        "mean_bpb": margin.ours.mean,
        "std_bpb": margin.ours.std,
        "n": margin.ours.n,
        "baseline": None if baseline is None else {"mean_bpb": baseline.mean, "std_bpb": baseline.std, "n": baseline.n},
        "nats_per_byte": _describe_test(margin.per_byte),
        "nats_per_token": _describe_test(margin.per_token),
    }


def _describe_test(test: GainTest | None) -> dict[str, float] | None:
    if test is None:
        return None
    return {
        "gain": test.gain,
        "t": test.t,
        "df": test.df,
        "p_above_zero": test.p_above_zero,
        "p_above_0.005": test.p_above_minimum,
    }
