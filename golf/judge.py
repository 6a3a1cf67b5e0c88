"""The judge: runs a method over a held-out stream in each way of scoring, and adds up what the ledgers say."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf.codec.container import Header
from golf.data.shards import Split
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.ground import schema, store
from golf.ground.errors import BadArtifact
from golf.ground.params import Ttt
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
class Stream:
    """A held-out split as the judge sees it: tokens uint16 [N], bytes of each target int64 [N - 1]."""

    tokens: np.ndarray
    bytes: np.ndarray
    bos: int

    @classmethod
    def of(cls, split: Split, tokenizer: Tokenizer) -> "Stream":
        """Raises BadArtifact when the split was written with another tokenizer: its bytes would be miscounted."""
        if split.tokenizer_sha256 != tokenizer.sha256:
            problem = f"was tokenised with {split.tokenizer_sha256[:12]}, tokenizer.model is {tokenizer.sha256[:12]}"
            raise BadArtifact(f"artifacts/fetch/{split.name}", problem, "run fetch again")
        tokens = split.all()
        n_bytes = ByteTable.of(tokenizer).count(tokens)
        if n_bytes.sum(dtype=np.int64) != split.bytes:
            problem = f"its tokens stand for {n_bytes.sum():,} bytes, its index says {split.bytes:,}"
            raise BadArtifact(f"artifacts/fetch/{split.name}", problem, "run fetch again")
        return cls(tokens, n_bytes, split.bos)

    @property
    def targets(self) -> int:
        return len(self.tokens) - 1


@dataclass(frozen=True)
class Judged:
    """One way of scoring: its ledger, its score, its own seconds, and when it ended."""

    ledger: Ledger
    score: Score
    seconds: float
    ended: float


def judge(
    method, stream: Stream, way: str, *, plan, stride: int, context: int, quiet: bool, stage: str, limit_s=None
) -> Judged:
    """One pass in one way. plain: windows of ``context``; sliding: every ``stride``; ttt: by the plan, and it learns.

    A pass without learning is cut into the plan's chunks too. limit_s: what the pass is allowed, for the progress line.
    """
    began = time.perf_counter()
    chunks = -(-stream.targets // plan.chunk_tokens)  # rounded up
    strides = {"plain": context, "sliding": stride, "ttt": plan.stride}
    method.begin(stride=strides[way], plan=plan if way == "ttt" else None, chunks=chunks)
    line = Progress(stage, stream.targets, f"targets {way}", limit_s=limit_s, quiet=quiet)
    ledger = passes.complete(
        method, stream.tokens, stream.bytes, Ledger(way, stream.bos), chunk_tokens=plan.chunk_tokens, line=line
    )
    score = bpb.score(ledger.columns())
    line.done(f"{way}: {score.bpb:.4f} bpb over {score.tokens:,} targets, {score.bytes:,} bytes")
    return Judged(ledger, score, time.perf_counter() - began, time.time())


def judge_all(method, stream: Stream, *, headline: str, **how) -> dict[str, Judged]:
    """Every way, the headline first, so that its clock carries every compilation."""
    order = [headline, *(way for way in WAYS if way != headline)]
    return {way: judge(method, stream, way, **how) for way in order}


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
        "implied_bytes": named.implied_bytes,
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


@dataclass(frozen=True)
class Plan:
    """plan.json: the parameters of score-first adaptation and the splits that they were tried on."""

    ttt: Ttt
    splits_seen: tuple[str, ...]


def read_plan(path) -> Plan:
    """Raises BadArtifact naming what is wrong in it."""
    made, problems = schema.build(Plan, store.read_json(path), "")
    if problems:
        raise BadArtifact(path, "; ".join(problems), store.RERUN)
    return made


def told(path, *keys: str) -> dict:
    """What an earlier stage says of itself in a small JSON file. Raises BadArtifact naming the keys that it lacks."""
    found = store.read_json(path)
    missing = [key for key in keys if key not in found]
    if missing:
        raise BadArtifact(path, f"lacks {', '.join(missing)}", store.RERUN)
    return found


def clocks(train, *others) -> dict[str, float | None]:
    """Seconds that count as training, over all stages that touch training text, and their limit (None: no limit)."""
    first = told(train, "train_seconds", "limit_seconds")
    total = first["train_seconds"] + sum(told(path, "train_seconds")["train_seconds"] for path in others)
    return {"train_seconds": round(total, 3), "train_limit_seconds": first["limit_seconds"]}


def weighed(path, header: Header, sizes: dict, plan: Plan) -> Shape:
    """The artifact's shape, once it is known to be the file that was weighed and the plan to be one for it.

    Raises BadArtifact naming the file when its bytes or its splits are not those of sizes.json, or the plan does not
    fit its context.
    """
    payload = Path(path).stat().st_size
    if payload != sizes["payload_bytes"] or list(header.seen) != list(sizes["splits_seen"]):
        problem = (
            f"is not the file that compress weighed: {payload:,} bytes that saw {', '.join(header.seen)}, sizes.json "
            f"says {sizes['payload_bytes']:,} that saw {', '.join(sizes['splits_seen'])}"
        )
        raise BadArtifact(path, problem, "run compress again")
    context = header.model.context
    for key in ("chunk_tokens", "batch_tokens"):
        if getattr(plan.ttt, key) % context:
            problem = f"belongs to another configuration: its context {context} does not divide the plan's {key}"
            raise BadArtifact(path, problem, "run dvc repro")
    return header.model


def save_ledgers(judged: dict[str, Judged], folder, **meta) -> None:
    """``<way>.safetensors`` for each way."""
    for way, each in judged.items():
        each.ledger.save(Path(folder) / f"{way}.safetensors", **meta)
