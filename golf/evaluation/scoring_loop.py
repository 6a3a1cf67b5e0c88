"""One left-to-right pass over a stream: score a chunk, seal it in the ledger, then let the predictor learn from it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golf.config.adaptation import TTTPlan
from golf.config.sections import MemoryConfig
from golf.data.eval_stream import EvalStream
from golf.evaluation import bpb
from golf.evaluation.bpb import BpbScore
from golf.evaluation.chunks import list_chunk_ends
from golf.evaluation.ledger import Ledger
from golf.evaluation.pass_settings import PassSettings
from golf.evaluation.timer import EvalTimer
from golf.inference.interface import ScoredChunk, ScoringSession
from golf.pipeline.progress import Progress

__all__ = ["MODES", "ModeResult", "evaluate_mode", "score_stream"]

MODES = ("plain", "sliding", "ttt")


@dataclass(frozen=True)
class ModeResult:
    """One pass: its settings, ledger and score, the seconds it took, and the timer's reading at its last score."""

    settings: PassSettings
    ledger: Ledger
    score: BpbScore
    seconds: float
    finished_s: float


def evaluate_mode(
    predictor: ScoringSession,
    stream: EvalStream,
    mode: str,
    *,
    ttt_cfg: TTTPlan,
    memory_cfg: MemoryConfig | None = None,
    stride: int,
    context_length: int,
    chunk_tokens: int | None = None,
    quiet: bool,
    stage: str,
    timer: EvalTimer | None = None,
    disclaimer: str = "",
    order: str = "stream",
) -> ModeResult:
    """Score all of ``stream`` in one mode.

    plain: windows of ``context_length``; sliding: a window every ``stride`` tokens; ttt: as ``ttt_cfg`` says, and the
    predictor may learn and use the memory of ``memory_cfg``. chunk_tokens: targets of a chunk, at most; None is
    ``ttt_cfg.chunk_tokens``. order: how chunks are cut (``chunks.list_chunk_ends``).
    timer: None starts one here. disclaimer: printed in parentheses beside the score.
    Raises DivergenceError when a score is not finite.
    """
    chunk_tokens, timer = chunk_tokens or ttt_cfg.chunk_tokens, timer or EvalTimer()
    begin_s = timer.counted_s()
    settings = PassSettings.for_mode(
        mode,
        n_chunks=len(list_chunk_ends(stream.tokens, chunk_tokens, order)),
        ttt_cfg=ttt_cfg,
        memory_cfg=memory_cfg,
        stride=stride,
        context_length=context_length,
        order=order,
    )
    settings.begin_pass(predictor)
    name = f"{stage} invalid" if disclaimer else stage
    progress = Progress(
        name, stream.n_targets, f"targets {mode}", limit_s=timer.limit_s, clock=timer.counted_s, quiet=quiet
    )
    ledger = Ledger(mode, stream.bos)
    finished_s = begin_s

    def note_time(scored_chunk: ScoredChunk) -> None:
        nonlocal finished_s
        finished_s = timer.counted_s()
        if scored_chunk.is_last:
            timer.lift_limit()  # the update that follows is no part of the score

    score_stream(
        predictor,
        stream.tokens,
        stream.target_bytes,
        ledger,
        chunk_tokens=chunk_tokens,
        order=order,
        progress=progress,
        on_sealed=note_time,
    )
    score = bpb.compute_score(ledger.to_data())
    suffix = f" ({disclaimer})" if disclaimer else ""
    progress.finish(f"{mode}: {score.bpb:.4f} bpb over {score.n_tokens:,} targets, {score.n_bytes:,} bytes{suffix}")
    return ModeResult(settings, ledger, score, finished_s - begin_s, finished_s)


def score_stream(
    predictor: ScoringSession,
    tokens: np.ndarray,
    target_bytes: np.ndarray,
    ledger: Ledger,
    *,
    chunk_tokens: int,
    progress: Progress,
    order: str = "stream",
    on_sealed: Callable[[ScoredChunk], None] | None = None,
) -> None:
    """Score every token of ``tokens`` [N] after its first, once and in order; the predictor learns from each chunk.

    target_bytes: [N - 1], the bytes of text that each target stands for.
    chunk_tokens, order: of the chunks, see ``chunks.list_chunk_ends``.
    on_sealed: called with each chunk once it is sealed, before the predictor learns from it.
    The predictor gets copies that hold nothing beyond the chunk.
    Raises DivergenceError when a score is not finite.
    """
    n_targets = len(tokens) - 1
    prefix_buffer = np.zeros_like(tokens)  # the array behind a prefix holds no token that was not scored before
    prefix_buffer[0] = tokens[0]
    total_nats, total_bytes = 0.0, 0
    begin_s = progress.elapsed_s()
    chunk_ends = list_chunk_ends(tokens, chunk_tokens, order)
    for begin, end in zip([0, *chunk_ends], chunk_ends, strict=False):
        chunk = tokens[begin + 1 : end + 1].copy()
        nll = predictor.score(prefix_buffer[: begin + 1], chunk)
        scored_chunk = ledger.append(tokens[begin : end + 1], nll, target_bytes[begin:end], is_last=end == n_targets)
        prefix_buffer[begin + 1 : end + 1] = chunk
        total_nats += float(nll.sum(dtype=np.float64))
        total_bytes += int(target_bytes[begin:end].sum(dtype=np.int64))
        speed = f"{end / max(progress.elapsed_s() - begin_s, 1e-9):,.0f} tok/s"
        progress.update(end, running_bpb=f"{total_nats / np.log(2) / max(total_bytes, 1):.4f}", at=speed)
        if on_sealed is not None:
            on_sealed(scored_chunk)
        predictor.update(scored_chunk)
