"""The judge: runs a method over a held-out stream in each way of scoring, and adds up what the ledgers say."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.config.model import ModelConfig
from golf.data.eval_stream import EvalStream
from golf.distributed.context import DistContext
from golf.evaluation import bpb, scoring_loop
from golf.evaluation.bpb import BpbScore
from golf.evaluation.ledger import Ledger
from golf.inference.scorer import Scorer
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress

MODES = ("plain", "sliding", "ttt")


@dataclass(frozen=True)
class ModeResult:
    """One way of scoring: its ledger, its score, its own seconds, when it ended, and seconds of audits in between."""

    ledger: Ledger
    score: BpbScore
    seconds: float
    ended_at: float
    probe_seconds: float


def evaluate_mode(
    predictor,
    stream: EvalStream,
    mode: str,
    *,
    ttt_cfg,
    stride: int,
    context_length: int,
    quiet: bool,
    stage: str,
    limit_s=None,
    elapsed_s=0.0,
    probes=None,
    disclaimer="",
) -> ModeResult:
    """One pass in one way. plain: windows of ``context``; sliding: every ``stride``; ttt: by the plan, and it learns.

    A pass without learning is cut into the plan's chunks too. limit_s, used_s: seconds that are allowed and
    that were used before, for the progress line.
    audit: called with each sealed chunk and its nll before the method may learn from it; its time is no scoring time.
    caveat: what must stand beside the score.
    """
    start, probe_seconds = time.perf_counter(), 0.0
    predictor.reset(
        **make_pass_settings(mode, stream.n_targets, ttt_cfg=ttt_cfg, stride=stride, context_length=context_length)
    )
    name = f"{stage} invalid" if disclaimer else stage
    progress = Progress(name, stream.n_targets, f"targets {mode}", limit_s=limit_s, quiet=quiet)
    progress.started_at -= elapsed_s
    ledger = Ledger(mode, stream.bos)
    for scored_chunk in scoring_loop.score_stream(
        predictor, stream.tokens, stream.target_bytes, ledger, chunk_tokens=ttt_cfg.chunk_tokens, progress=progress
    ):
        if probes is not None:
            probe_start = time.perf_counter()
            probes(scored_chunk, ledger.nll[-1])
            probe_seconds += time.perf_counter() - probe_start
    score = bpb.compute_score(ledger.to_data())
    progress.finish(f"{mode}: {score.bpb:.4f} bpb over {score.tokens:,} targets, {score.bytes:,} bytes{disclaimer}")
    return ModeResult(ledger, score, time.perf_counter() - start - probe_seconds, time.time(), probe_seconds)


def make_pass_settings(mode: str, n_targets: int, *, ttt_cfg, stride: int, context_length: int) -> dict:
    """What a method's ``begin`` is told of a pass in one way over so many targets."""
    strides = {"plain": context_length, "sliding": stride, "ttt": ttt_cfg.stride}
    n_chunks = -(-n_targets // ttt_cfg.chunk_tokens)  # rounded up
    return {"stride": strides[mode], "ttt_cfg": ttt_cfg if mode == "ttt" else None, "n_chunks": n_chunks}


def collect_metrics(results: dict[str, ModeResult], headline: str) -> dict:
    """The metrics of a judgement: every bpb with its standard error over documents, the headline's counts."""
    headline_score = results[headline].score
    metrics = {"headline": headline, "val_bpb": headline_score.bpb}
    for mode in MODES:
        metrics[f"val_bpb_{mode}"] = results[mode].score.bpb
        metrics[f"val_bpb_{mode}_se"] = results[mode].score.standard_error
    return metrics | {
        "val_loss": headline_score.loss,
        "val_tokens": headline_score.tokens,
        "val_bytes": headline_score.bytes,
        "implied_bytes": round(headline_score.implied_bytes, 3),
        **{f"seconds_{way}": round(results[way].seconds, 3) for way in MODES},
    }


def tabulate_running_bpb(results: dict[str, ModeResult]) -> list[dict]:
    """One row a place of the stream, one column a way."""
    curves = {mode: bpb.compute_running_bpb(result.ledger.to_data()) for mode, result in results.items()}
    modes = [way for way in MODES if way in curves]
    return [
        {"tokens": rows[0]["tokens"], **{way: row["bpb"] for way, row in zip(modes, rows, strict=True)}}
        for rows in zip(*(curves[way] for way in modes), strict=True)
    ]


def tabulate_loss_by_position(results: dict[str, ModeResult]) -> list[dict]:
    """One row a stretch of positions in their documents, one column a way."""
    curves = {mode: bpb.compute_loss_by_position(result.ledger.to_data()) for mode, result in results.items()}
    modes = [way for way in MODES if way in curves]
    return [
        {"position": rows[0]["position"], **{way: row["loss"] for way, row in zip(modes, rows, strict=True)}}
        for rows in zip(*(curves[way] for way in modes), strict=True)
    ]


def make_plain_bpb_fn(stream: EvalStream, model_cfg: ModelConfig, ctx: DistContext, *, eval_batch_tokens: int):
    """A function from a state dict to its plain bpb on ``stream``; one model serves all."""
    model = GPT(model_cfg, ctx.attention).to(ctx.device)
    scorers = {
        recurrent: Scorer(model, ctx, eval_batch_tokens=eval_batch_tokens, recurrent=recurrent)
        for recurrent in (True, False)
    }

    def compute_plain_bpb(state_dict, recurrent: bool = True) -> float:
        model.load_state_dict(state_dict)
        nll = scorers[recurrent].score(stream.tokens[:1], stream.tokens[1:], stride=model_cfg.context_length)
        return float(nll.sum(dtype=np.float64) / np.log(2) / stream.target_bytes.sum(dtype=np.int64))

    return compute_plain_bpb


def save_ledgers(results: dict[str, ModeResult], folder, disclaimers: dict[str, str], **meta) -> None:
    """``<way>.safetensors`` for each way, with what must stand beside its score as "verdict" in its meta."""
    for mode, result in results.items():
        annotations = {"verdict": disclaimers[mode].strip(" ()")} if disclaimers[mode] else {}
        result.ledger.save(Path(folder) / f"{mode}.safetensors", **meta, **annotations)
