"""One left-to-right pass over a stream: score a chunk, seal it, hand it out, only then let the method learn from it."""

import time
from collections.abc import Iterator

import numpy as np

from golf.evaluation.ledger import NO_STATE_HASH, Ledger
from golf.inference.interface import ScoredChunk
from golf.pipeline.progress import Progress


def score_stream(
    predictor, tokens: np.ndarray, n_bytes: np.ndarray, ledger: Ledger, *, chunk_tokens: int, progress: Progress
) -> Iterator[ScoredChunk]:
    """Every token of ``stream`` [N] after its first, once, in order; yields each chunk once its scores are sealed.

    method: ``score(prefix, chunk)`` gives nats, ``update(sealed)`` may learn. It is handed copies that hold nothing
    beyond the chunk; its ``state``, where it has one, is the hash of what it was before the score, and is sealed too.
    n_bytes [N - 1]: bytes of each target. Exhaust the iterator, or the last update is not made.
    """
    n_targets = len(tokens) - 1
    prefix_buffer = np.zeros_like(tokens)  # what a method can reach through its prefix is what it was given before
    prefix_buffer[0] = tokens[0]
    total_nats = total_bytes = 0
    start = time.perf_counter()
    for begin in range(0, n_targets, chunk_tokens):
        end = min(n_targets, begin + chunk_tokens)
        chunk = tokens[begin + 1 : end + 1].copy()
        nll = predictor.score(prefix_buffer[: begin + 1], chunk)
        state_hash = bytes.fromhex(getattr(predictor, "state_hash", "")) or NO_STATE_HASH
        scored_chunk = ledger.append(
            tokens[begin : end + 1], nll, n_bytes[begin:end], is_last=end == n_targets, state_hash=state_hash
        )
        prefix_buffer[begin + 1 : end + 1] = chunk
        total_nats, total_bytes = (
            total_nats + nll.sum(dtype=np.float64),
            total_bytes + n_bytes[begin:end].sum(dtype=np.int64),
        )
        speed = f"{end / (time.perf_counter() - start):,.0f} tok/s"
        progress.update(end, bpb_so_far=f"{total_nats / np.log(2) / max(total_bytes, 1):.4f}", at=speed)
        yield scored_chunk
        predictor.update(scored_chunk)


def score_whole_stream(predictor, tokens, n_bytes, ledger: Ledger, *, chunk_tokens: int, progress: Progress) -> Ledger:
    """The whole pass; the ledger when it has ended."""
    for _ in score_stream(predictor, tokens, n_bytes, ledger, chunk_tokens=chunk_tokens, progress=progress):
        pass
    return ledger
