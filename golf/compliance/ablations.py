"""Ablations: short passes over a slice, each with one thing left out or changed, in a session of their own.

They measure what C1-c, C3-c, C3-d and C3-e check. A slice is three chunks of at most one context each; when the stream
has several documents, the slice's second chunk starts one.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.sandbox.session import SandboxSession
from golf.inference.interface import ScoredChunk

__all__ = ["N_SLICE_CHUNKS", "AblationResult", "ProbeSlice", "compute_max_abs_diff", "run_ablations"]

N_SLICE_CHUNKS = 3


@dataclass(frozen=True)
class ProbeSlice:
    """tokens [n], the first a document's start; chunk_tokens: targets of each of its chunks."""

    tokens: np.ndarray
    chunk_tokens: int

    @classmethod
    def sample(cls, tokens: np.ndarray, bos: int, context_length: int, rng: np.random.Generator) -> "ProbeSlice":
        """Return a slice with one context a chunk, or all of a shorter stream in three chunks."""
        chunk_tokens = min(context_length, (len(tokens) - 1) // N_SLICE_CHUNKS)
        starts = np.flatnonzero(tokens == bos)
        starts = starts[(starts >= chunk_tokens) & (starts < len(tokens) - 2 * chunk_tokens)]
        begin = int(rng.choice(starts)) - chunk_tokens if len(starts) else 0
        slice_tokens = tokens[begin : begin + N_SLICE_CHUNKS * chunk_tokens + 1].copy()
        slice_tokens[0] = bos
        return cls(slice_tokens, chunk_tokens)


@dataclass(frozen=True)
class AblationResult:
    """Largest differences over targets, in nats, and state hashes that the ablations measured.

    diff_before, diff_after: with and without the second update, over targets before and after it (C3-c).
    state_hash: of the newly opened predictor after reset; counted_state_hash: as in the headline's session (C3-d).
    fixed_diff: between a pass without updates and one without a TTT config; and at the first target, where a memory is
    empty, between the former and one without a memory too (C3-e).
    learned_diff: between a pass with all updates and one without any; above 0 for a predictor that learns.
    document_diff: within a document when the document before it changes; None when the slice holds one document (C1-c).
    """

    diff_before: float
    diff_after: float
    state_hash: str
    counted_state_hash: str
    fixed_diff: float
    learned_diff: float
    document_diff: float | None


def run_ablations(
    session: SandboxSession, probe_slice: ProbeSlice, settings: PassSettings, counted_state_hash: str
) -> AblationResult | None:
    """Run the ablations; return None when the stream has fewer targets than a slice has chunks.

    settings: of the headline's pass. counted_state_hash: the state's after its ``reset``.
    """
    if probe_slice.chunk_tokens == 0:
        return None
    settings.begin_pass(session)
    state_hash = session.initial_state_hash
    # Half a context, with the other half seen before it: small strides would make the slice cost as much as a pass.
    settings = dataclasses.replace(settings, stride=max(settings.stride, probe_slice.chunk_tokens // 2))
    full_nll = _score_slice(session, probe_slice, settings)
    without_second_update = _score_slice(session, probe_slice, settings, updated_chunks=(0,))
    without_updates = _score_slice(session, probe_slice, settings, updated_chunks=())
    without_ttt = _score_slice(session, probe_slice, dataclasses.replace(settings, ttt_cfg=None), updated_chunks=())
    without_memory = dataclasses.replace(settings, ttt_cfg=None, memory_cfg=None)
    model_alone = _score_slice(session, probe_slice, without_memory, updated_chunks=())
    second_update = 2 * probe_slice.chunk_tokens
    return AblationResult(
        diff_before=compute_max_abs_diff(full_nll[:second_update], without_second_update[:second_update]),
        diff_after=compute_max_abs_diff(full_nll[second_update:], without_second_update[second_update:]),
        state_hash=state_hash,
        counted_state_hash=counted_state_hash,
        fixed_diff=max(
            compute_max_abs_diff(without_updates, without_ttt),
            compute_max_abs_diff(without_updates[:1], model_alone[:1]),
        ),
        learned_diff=compute_max_abs_diff(full_nll, without_updates),
        document_diff=_measure_document_dependence(session, probe_slice, settings, full_nll),
    )


def _score_slice(
    session: SandboxSession,
    probe_slice: ProbeSlice,
    settings: PassSettings,
    *,
    updated_chunks: Collection[int] = range(N_SLICE_CHUNKS),
) -> np.ndarray:
    """nll of a pass over the slice with updates on ``updated_chunks`` only."""
    dataclasses.replace(settings, n_chunks=N_SLICE_CHUNKS).begin_pass(session)
    chunk_nlls = []
    for index in range(N_SLICE_CHUNKS):
        begin, end = index * probe_slice.chunk_tokens, (index + 1) * probe_slice.chunk_tokens
        chunk_nlls.append(session.score(probe_slice.tokens[: begin + 1], probe_slice.tokens[begin + 1 : end + 1]))
        if index in updated_chunks:
            is_last = index == N_SLICE_CHUNKS - 1
            session.update(ScoredChunk(index, probe_slice.tokens[begin : end + 1].copy(), is_last, f"ablation {index}"))
    return np.concatenate(chunk_nlls)


def _measure_document_dependence(
    session: SandboxSession, probe_slice: ProbeSlice, settings: PassSettings, full_nll: np.ndarray
) -> float | None:
    """Reverse the tokens before the slice's second document; the largest change of a score from there on."""
    starts = np.flatnonzero(probe_slice.tokens == probe_slice.tokens[0])
    second_start = int(starts[np.argmin(np.abs(starts - probe_slice.chunk_tokens))])
    changed_tokens = probe_slice.tokens.copy()
    changed_tokens[1:second_start] = changed_tokens[1:second_start][::-1]
    if (changed_tokens == probe_slice.tokens).all() or second_start == len(full_nll):
        return None
    changed_nll = _score_slice(session, ProbeSlice(changed_tokens, probe_slice.chunk_tokens), settings)
    return compute_max_abs_diff(changed_nll[second_start:], full_nll[second_start:])


def compute_max_abs_diff(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of two arrays of scores: 0 where they are equal, infinite where one is NaN."""
    unequal = a != b
    diffs = np.abs(a[unequal].astype(np.float64) - b[unequal].astype(np.float64))
    return float("inf") if np.isnan(diffs).any() else float(diffs.max(initial=0.0))
