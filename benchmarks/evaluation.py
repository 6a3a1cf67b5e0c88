"""Scoring and learning at test time, the record's method against ours. ``python benchmarks/evaluation.py --help``

The record's method is written here from its description (record-stack 1.7, 2.1, 4.4). Scoring: a compiled forward gives
the logits of every position of 32 whole windows, and a cross-entropy outside it takes the last ``stride`` of each.
Learning: eager, an optimiser that walks over tensors. Ours is ``golf.method`` and ``golf.ttt.prequant`` as they are.

A profile gives shape, plan and batches; each side does what one of the profile's ranks does in a chunk, and no
reductions: the record's one a tensor against ours in one are not in these figures. Weights and tokens are random,
unless --weights names a tensor file. The sides take turns; the fastest turn of each counts, and compiling counts in
none. On a CPU seconds are those of the process, as other work may share the cores: run it with OMP_NUM_THREADS=1.
"""

import argparse
import dataclasses
import itertools
import math
import time

import hardware
import numpy as np
import torch
import torch.nn.functional as F

from golf.ground import params, store
from golf.ground.runtime import Runtime
from golf.method import Method
from golf.model.gpt import GPT
from golf.score.sealed import Sealed
from golf.score.windows import plan
from golf.ttt import prequant
from golf.ttt.score_first import cosine

ROWS = 32  # windows that the record scores at a time
AGREE = 1e-4  # nats by which the sides' means may differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="profiles/laptop.yaml")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--eager", action="store_true", help="compile nothing, as the laptop's profile does")
    parser.add_argument("--weights", help="a tensor file of the profile's model; without it they are random")
    parser.add_argument("--chunks", type=int, default=4, help="of the stream, of which the last is only scored (4)")
    parser.add_argument("--repeat", type=int, default=3, help="turns of each side (3)")
    parser.add_argument("--json", help="also write the figures here")
    asked = parser.parse_args()
    bench = Bench(asked)
    rows = {name: bench.compare(*getattr(bench, name)()) for name in ("sliding", "ttt", "prequant")}
    for name, row in rows.items():
        print(
            f"{name:<9} record {row['record_s']:.3f} s, ours {row['ours_s']:.3f} s, ratio {row['ratio']:.2f}, "
            f"{row['record_nats']:.5f} and {row['ours_nats']:.5f} nats{'' if row['agree'] else ': THEY DIFFER'}"
        )
    if asked.json:
        about = {key: value for key, value in vars(asked).items() if key != "json"}
        store.write_json(asked.json, hardware.describe(bench.here.device) | about | {"ways": rows})


class Bench:
    """Both sides on one stream, with a model each."""

    def __init__(self, asked):
        wanted, self.repeat = params.read(asked.profile), asked.repeat
        ranks, ttt, dice = wanted.ttt.ranks, wanted.ttt, torch.Generator().manual_seed(0)
        device, dtype = torch.device(asked.device), getattr(torch, asked.dtype)
        self.here = Runtime(0, 1, device, dtype, not asked.eager, "sdpa")
        self.shape, self.stride, context = wanted.model, ttt.stride, wanted.model.context
        self.plan = dataclasses.replace(
            ttt, ranks=1, chunk_tokens=ttt.chunk_tokens // ranks, batch_tokens=ttt.batch_tokens // ranks
        )
        self.early = dataclasses.replace(
            wanted.prequant, form="sequential", batch_tokens=max(wanted.prequant.batch_tokens // ranks, context)
        )
        self.state = random_state(self.shape, dice) if asked.weights is None else store.load_tensors(asked.weights)[0]
        count = asked.chunks * self.plan.chunk_tokens + 1
        self.stream = torch.randint(self.shape.vocabulary, (count,), generator=dice).numpy().astype(np.uint16)
        self.method = Method(self.model(), self.here, score_tokens=wanted.evaluate.score_tokens)
        self.record = Record(self.model(), self.here)

    def model(self) -> GPT:
        made = GPT(self.shape)
        made.load_state_dict(self.state)
        return made.to(self.here.device)

    def sliding(self):
        return self.passes(plan=None)

    def ttt(self):
        return self.passes(plan=self.plan)

    def passes(self, plan):
        """The two sides: functions from nothing to (mean nats, seconds)."""
        size = self.plan.chunk_tokens
        edges = list(itertools.pairwise(range(0, len(self.stream), size)))

        def side(method):
            method.begin(stride=self.stride, plan=plan, chunks=len(edges))
            began, nats = self.clock(), 0.0
            for index, (low, high) in enumerate(edges):
                nll = method.score(self.stream[: low + 1], self.stream[low + 1 : high + 1])
                nats += nll.sum(dtype=np.float64)
                method.update(Sealed(index, self.stream[low : high + 1], index == len(edges) - 1, ""))
            return float(nats / (len(self.stream) - 1)), self.clock() - began

        return lambda: side(self.record), lambda: side(self.method)

    def prequant(self):
        """An epoch at the first rate; weights and moments go on from turn to turn."""
        context, rate = self.shape.context, self.early.lr
        windows = torch.from_numpy(self.stream.astype(np.int64)).unfold(0, context + 1, context)
        models = [self.model(), self.model()]
        for model in models:
            for block in model.blocks[: self.early.freeze]:
                block.requires_grad_(False)
        record, ours = RecordAdamW(models[0], self.early, self.here), prequant.Learner(models[1], self.early, self.here)
        ours.warm_up(windows)

        def side(learner):
            began = self.clock()
            nats = learner.epoch(windows, rate)
            return nats / windows[:, 1:].numel(), self.clock() - began

        return lambda: side(record), lambda: side(ours)

    def clock(self) -> float:
        self.here.finish()
        return time.process_time() if self.here.device.type == "cpu" else time.perf_counter()

    def compare(self, record, ours) -> dict:
        row = {"record_nats": record()[0], "ours_nats": ours()[0], "record_s": math.inf, "ours_s": math.inf}
        for _ in range(self.repeat):
            for name, side in (("record_s", record), ("ours_s", ours)):
                row[name] = min(row[name], side()[1])
        agree = abs(row["record_nats"] - row["ours_nats"]) <= AGREE
        return row | {"ratio": row["record_s"] / row["ours_s"], "agree": agree}


class Record:
    """Scoring and score-first learning as PR #1493 has them, with the calls of golf.method.Method."""

    def __init__(self, model: GPT, here: Runtime):
        self.model, self.here, self.context = model, here, model.shape.context
        self.opened = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.logits = here.compiled(self.all_logits)

    def all_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        with self.here.autocast():
            return self.model.logits(self.model(inputs, looped=True)).to(self.here.dtype)  # bf16 leaves the graph

    def begin(self, *, stride: int, plan, chunks: int) -> None:
        self.model.load_state_dict(self.opened)
        self.stride, self.plan, self.chunks = stride, plan, chunks
        self.optimiser = plan and torch.optim.SGD(self.model.parameters(), lr=plan.lr, momentum=plan.momentum)

    @torch.no_grad()
    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        begin, context = len(prefix) - 1, self.context
        stream = np.concatenate([prefix, chunk]).astype(np.int64)
        nats = torch.zeros(len(chunk), device=self.here.device)
        windows = plan(begin, begin + len(chunk), context=context, stride=self.stride)
        for i in range(0, len(windows), ROWS):
            batch = windows[i : i + ROWS]
            x, y = np.zeros((2, ROWS if self.here.compile else len(batch), context), dtype=np.int64)
            for row, window in enumerate(batch):
                held = stream[window.start : window.start + context + 1]
                x[row, : len(held) - 1], y[row, : len(held) - 1] = held[:-1], held[1:]
            x, y = (torch.from_numpy(each).to(self.here.device) for each in (x, y))
            nll = F.cross_entropy(self.logits(x).flatten(0, 1).float(), y.flatten(), reduction="none").view_as(y)
            for row, window in enumerate(batch):
                nats[window.first - begin : window.stop - begin] = nll[
                    row, window.first - window.start : window.stop - window.start
                ]
        return nats.cpu().numpy()

    def update(self, sealed: Sealed) -> None:
        if self.optimiser is None or sealed.last:
            return
        tokens = torch.from_numpy(sealed.tokens.astype(np.int64)).to(self.here.device)
        x, y = tokens[:-1].view(-1, self.context), tokens[1:].view(-1, self.context)
        size = self.plan.batch_tokens // self.context
        rate = self.plan.lr * cosine(sealed.index, self.chunks)
        for _ in range(self.plan.epochs):
            for batch in zip(x.split(size), y.split(size), strict=True):
                eager_step(self.model, self.optimiser, *batch, rate, self.plan.clip, self.here)


class RecordAdamW:
    """Steps of PR #1485's epochs."""

    def __init__(self, model: GPT, wanted, here: Runtime):
        self.model, self.wanted, self.here = model, wanted, here
        learned = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.AdamW(learned, lr=wanted.lr, weight_decay=0.0)

    def epoch(self, windows: torch.Tensor, rate: float) -> float:
        nats = torch.zeros((), device=self.here.device)
        for batch in windows.split(self.wanted.batch_tokens // self.model.shape.context):
            x, y = (each.to(self.here.device) for each in (batch[:, :-1].contiguous(), batch[:, 1:].contiguous()))
            loss = eager_step(self.model, self.optimiser, x, y, rate, self.wanted.clip, self.here)
            nats += loss * y.numel()
        return nats.item()


def eager_step(model: GPT, optimiser, x, y, rate: float, clip: float, here: Runtime) -> torch.Tensor:
    """One step on the mean of a batch; the mean before it."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    with here.autocast():
        logits = model.logits(model(x, looped=True))
        loss = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_([w for w in model.parameters() if w.requires_grad], clip)
    optimiser.step()
    return loss.detach()


def random_state(shape, dice: torch.Generator) -> dict[str, torch.Tensor]:
    """Every weight off its start, so that all of them count."""
    model = GPT(shape).initialise(dice)
    return {
        name: tensor + torch.randn(tensor.shape, generator=dice) * 0.02 for name, tensor in model.state_dict().items()
    }


if __name__ == "__main__":
    main()
