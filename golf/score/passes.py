"""One left-to-right pass over a stream: score a chunk, seal it, hand it out, only then let the method learn from it."""

import time
from collections.abc import Iterator

import numpy as np

from golf.ground.progress import Progress
from golf.score.ledger import UNSEEN, Ledger
from golf.score.sealed import Sealed


def run(
    method, stream: np.ndarray, n_bytes: np.ndarray, ledger: Ledger, *, chunk_tokens: int, line: Progress
) -> Iterator[Sealed]:
    """Every token of ``stream`` [N] after its first, once, in order; yields each chunk once its scores are sealed.

    method: ``score(prefix, chunk)`` gives nats, ``update(sealed)`` may learn. It is handed copies that hold nothing
    beyond the chunk; its ``state``, where it has one, is the hash of what it was before the score, and is sealed too.
    n_bytes [N - 1]: bytes of each target. Exhaust the iterator, or the last update is not made.
    """
    targets = len(stream) - 1
    seen = np.zeros_like(stream)  # what a method can reach through its prefix is what it was given before
    seen[0] = stream[0]
    nats = total = 0
    began = time.perf_counter()
    for begin in range(0, targets, chunk_tokens):
        end = min(targets, begin + chunk_tokens)
        chunk = stream[begin + 1 : end + 1].copy()
        nll = method.score(seen[: begin + 1], chunk)
        state = bytes.fromhex(getattr(method, "state", "")) or UNSEEN
        sealed = ledger.seal(stream[begin : end + 1], nll, n_bytes[begin:end], last=end == targets, state=state)
        seen[begin + 1 : end + 1] = chunk
        nats, total = nats + nll.sum(dtype=np.float64), total + n_bytes[begin:end].sum(dtype=np.int64)
        speed = f"{end / (time.perf_counter() - began):,.0f} tok/s"
        line.update(end, bpb_so_far=f"{nats / np.log(2) / max(total, 1):.4f}", at=speed)
        yield sealed
        method.update(sealed)


def complete(method, stream, n_bytes, ledger: Ledger, *, chunk_tokens: int, line: Progress) -> Ledger:
    """The whole pass; the ledger when it has ended."""
    for _ in run(method, stream, n_bytes, ledger, chunk_tokens=chunk_tokens, line=line):
        pass
    return ledger
