"""The judge: runs a method over a held-out stream in each way of scoring, and adds up what the ledgers say."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.data.stream import Stream
from golf.ground.progress import Progress
from golf.ground.runtime import Runtime
from golf.ground.shape import Shape
from golf.model.gpt import GPT
from golf.score import bpb, passes
from golf.score.bpb import Score
from golf.score.ledger import Ledger
from golf.score.scorer import Scorer

WAYS = ("plain", "sliding", "ttt")


@dataclass(frozen=True)
class Judged:
    """One way of scoring: its ledger, its score, its own seconds, when it ended, and seconds of audits in between."""

    ledger: Ledger
    score: Score
    seconds: float
    ended: float
    paused: float


def judge(
    method,
    stream: Stream,
    way: str,
    *,
    plan,
    stride: int,
    context: int,
    quiet: bool,
    stage: str,
    limit_s=None,
    used_s=0.0,
    audit=None,
    caveat="",
) -> Judged:
    """One pass in one way. plain: windows of ``context``; sliding: every ``stride``; ttt: by the plan, and it learns.

    A pass without learning is cut into the plan's chunks too. limit_s, used_s: seconds that are allowed and
    that were used before, for the progress line.
    audit: called with each sealed chunk and its nll before the method may learn from it; its time is no scoring time.
    caveat: what must stand beside the score.
    """
    began, paused = time.perf_counter(), 0.0
    method.begin(**manner(way, stream.targets, plan=plan, stride=stride, context=context))
    name = f"{stage} invalid" if caveat else stage
    line = Progress(name, stream.targets, f"targets {way}", limit_s=limit_s, quiet=quiet)
    line.started -= used_s
    ledger = Ledger(way, stream.bos)
    for sealed in passes.run(method, stream.tokens, stream.bytes, ledger, chunk_tokens=plan.chunk_tokens, line=line):
        if audit is not None:
            stopped = time.perf_counter()
            audit(sealed, ledger.nll[-1])
            paused += time.perf_counter() - stopped
    score = bpb.score(ledger.columns())
    line.done(f"{way}: {score.bpb:.4f} bpb over {score.tokens:,} targets, {score.bytes:,} bytes{caveat}")
    return Judged(ledger, score, time.perf_counter() - began - paused, time.time(), paused)


def manner(way: str, targets: int, *, plan, stride: int, context: int) -> dict:
    """What a method's ``begin`` is told of a pass in one way over so many targets."""
    strides = {"plain": context, "sliding": stride, "ttt": plan.stride}
    chunks = -(-targets // plan.chunk_tokens)  # rounded up
    return {"stride": strides[way], "plan": plan if way == "ttt" else None, "chunks": chunks}


def figures(judged: dict[str, Judged], headline: str) -> dict:
    """The metrics of a judgement: every bpb with its standard error over documents, the headline's counts."""
    named = judged[headline].score
    tree = {"headline": headline, "val_bpb": named.bpb}
    for way in WAYS:
        tree[f"val_bpb_{way}"] = judged[way].score.bpb
        tree[f"val_bpb_{way}_se"] = judged[way].score.standard_error
    return tree | {
        "val_loss": named.loss,
        "val_tokens": named.tokens,
        "val_bytes": named.bytes,
        "implied_bytes": round(named.implied_bytes, 3),
        **{f"seconds_{way}": round(judged[way].seconds, 3) for way in WAYS},
    }


def bpb_so_far(judged: dict[str, Judged]) -> list[dict]:
    """One row a place of the stream, one column a way."""
    curves = {way: bpb.so_far(each.ledger.columns()) for way, each in judged.items()}
    ways = [way for way in WAYS if way in curves]
    return [
        {"tokens": rows[0]["tokens"], **{way: row["bpb"] for way, row in zip(ways, rows, strict=True)}}
        for rows in zip(*(curves[way] for way in ways), strict=True)
    ]


def loss_by_position(judged: dict[str, Judged]) -> list[dict]:
    """One row a stretch of positions in their documents, one column a way."""
    curves = {way: bpb.by_position(each.ledger.columns()) for way, each in judged.items()}
    ways = [way for way in WAYS if way in curves]
    return [
        {"position": rows[0]["position"], **{way: row["loss"] for way, row in zip(ways, rows, strict=True)}}
        for rows in zip(*(curves[way] for way in ways), strict=True)
    ]


def plain_bpb(stream: Stream, shape: Shape, here: Runtime, *, score_tokens: int):
    """A function from a state dict to its plain bpb on ``stream``; one model serves all."""
    model = GPT(shape, here.attention).to(here.device)
    scorers = {looped: Scorer(model, here, score_tokens=score_tokens, looped=looped) for looped in (True, False)}

    def measure(weights, looped: bool = True) -> float:
        model.load_state_dict(weights)
        nll = scorers[looped].score(stream.tokens[:1], stream.tokens[1:], stride=shape.context)
        return float(nll.sum(dtype=np.float64) / np.log(2) / stream.bytes.sum(dtype=np.int64))

    return measure


def save_ledgers(judged: dict[str, Judged], folder, caveats: dict[str, str], **meta) -> None:
    """``<way>.safetensors`` for each way, with what must stand beside its score as "verdict" in its meta."""
    for way, each in judged.items():
        beside = {"verdict": caveats[way].strip(" ()")} if caveats[way] else {}
        each.ledger.save(Path(folder) / f"{way}.safetensors", **meta, **beside)
