"""Short passes over a slice with one thing left out or changed, in a fresh sitting: C1-c, C3-c, C3-d, C3-e.

A slice is three chunks of a few hundred tokens; where there are several documents, its second chunk starts one.
"""

from dataclasses import dataclass

import numpy as np

from golf.compliance.check_result import NOT_RUN, CheckResult, pass_or_fail
from golf.compliance.probes import EXACT_TOL_NATS, choose_tolerance
from golf.inference.interface import ScoredChunk

_N_CHUNKS = 3
_INDEPENDENT = "independent"  # what a method says of documents when nothing of one may reach the next


@dataclass(frozen=True)
class ProbeSlice:
    """tokens [n], the first a document's start; chunk: targets of each of its chunks."""

    tokens: np.ndarray
    chunk_tokens: int

    @classmethod
    def sample(cls, tokens: np.ndarray, bos: int, context_length: int, rng: np.random.Generator) -> "ProbeSlice":
        """A window of ``context`` a chunk; where the stream is shorter, all of it in three."""
        chunk_tokens = min(context_length, (len(tokens) - 1) // _N_CHUNKS)
        starts = np.flatnonzero(tokens == bos)
        starts = starts[(starts >= chunk_tokens) & (starts < len(tokens) - 2 * chunk_tokens)]
        begin = int(rng.choice(starts)) - chunk_tokens if len(starts) else 0
        slice_tokens = tokens[begin : begin + _N_CHUNKS * chunk_tokens + 1].copy()
        slice_tokens[0] = bos
        return cls(slice_tokens, chunk_tokens)


def _score_slice(session, probe_slice: ProbeSlice, settings: dict, *, updated_chunks=range(_N_CHUNKS)) -> np.ndarray:
    """nll of a pass over the slice that makes only the ``updates`` named by their chunk."""
    session.reset(**settings | {"n_chunks": _N_CHUNKS})
    chunk_nlls = []
    for index in range(_N_CHUNKS):
        begin, end = index * probe_slice.chunk_tokens, (index + 1) * probe_slice.chunk_tokens
        chunk_nlls.append(session.score(probe_slice.tokens[: begin + 1], probe_slice.tokens[begin + 1 : end + 1]))
        if index in updated_chunks:
            is_last = index == _N_CHUNKS - 1
            session.update(ScoredChunk(index, probe_slice.tokens[begin : end + 1].copy(), is_last, f"ablation {index}"))
    return np.concatenate(chunk_nlls)


def check_ablations(session, probe_slice: ProbeSlice, settings: dict, expected_state: str) -> list[CheckResult]:
    """manner: what ``begin`` was told in the headline's pass; begun: the hash of the method's state after it."""
    if probe_slice.chunk_tokens == 0:
        return skip_checks(f"the text has no {_N_CHUNKS} targets")
    session.reset(**settings)
    initial_state = session.initial_state_hash
    full_nll = _score_slice(session, probe_slice, settings)
    nll_without_second_update = _score_slice(session, probe_slice, settings, updated_chunks=(0,))
    nll_without_updates = _score_slice(session, probe_slice, settings, updated_chunks=())
    fixed_nll = _score_slice(session, probe_slice, settings | {"ttt_cfg": None}, updated_chunks=())
    diff_before = max_abs_diff(
        full_nll[: 2 * probe_slice.chunk_tokens], nll_without_second_update[: 2 * probe_slice.chunk_tokens]
    )
    diff_after = max_abs_diff(
        full_nll[2 * probe_slice.chunk_tokens :], nll_without_second_update[2 * probe_slice.chunk_tokens :]
    )
    fixed_diff = max_abs_diff(nll_without_updates, fixed_nll)
    return [
        _check_document_independence(session, probe_slice, settings, full_nll),
        pass_or_fail(
            "C3-c",
            diff_before <= choose_tolerance(session),
            f"{diff_before:.1e} nats before the update left out, {diff_after:.1e} after it",
            f"{choose_tolerance(session):g} before",
            "an update changes scores that were made before it",
        ),
        pass_or_fail(
            "C3-d",
            initial_state == expected_state,
            f"{expected_state[:8]} when it counted, {initial_state[:8]} opened anew",
            "equal",
            "the first score was not made in the state of the artifact as loaded",
        ),
        pass_or_fail(
            "C3-e",
            fixed_diff <= EXACT_TOL_NATS,
            f"{fixed_diff:.1e} nats between no update and no plan",
            f"{EXACT_TOL_NATS:g}",
            "without any update it does not score as the fixed predictor",
        ),
    ]


def skip_checks(note: str) -> list[CheckResult]:
    """The same rows where nothing was left out."""
    return [CheckResult(check, NOT_RUN, note=note) for check in ("C1-c", "C3-c", "C3-d", "C3-e")]


def _check_document_independence(session, probe_slice: ProbeSlice, settings: dict, full_nll: np.ndarray) -> CheckResult:
    """C1-c: where documents are said to be independent, another text before one changes no score in it."""
    starts = np.flatnonzero(probe_slice.tokens == probe_slice.tokens[0])
    second_start = int(starts[np.argmin(np.abs(starts - probe_slice.chunk_tokens))])
    changed_tokens = probe_slice.tokens.copy()
    changed_tokens[1:second_start] = changed_tokens[1:second_start][::-1]
    if (changed_tokens == probe_slice.tokens).all() or second_start == len(full_nll):
        return CheckResult("C1-c", NOT_RUN, note="the slice holds one document")
    diff = max_abs_diff(
        _score_slice(session, ProbeSlice(changed_tokens, probe_slice.chunk_tokens), settings)[second_start:],
        full_nll[second_start:],
    )
    if session.info["documents"] != _INDEPENDENT:
        note = "the method does not say that documents are independent; windows over their ends are merged (#1493)"
        return CheckResult("C1-c", NOT_RUN, f"{diff:.1e} nats", "", note)
    note = "a document's scores depend on the one before"
    return pass_or_fail(
        "C1-c", diff <= choose_tolerance(session), f"{diff:.1e} nats", f"{choose_tolerance(session):g}", note
    )


def max_abs_diff(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two runs of scores, 0 where they are equal; what is not a number counts as infinite."""
    unequal = a != b
    diffs = np.abs(a[unequal].astype(np.float64) - b[unequal].astype(np.float64))
    return float("inf") if np.isnan(diffs).any() else float(diffs.max(initial=0.0))
