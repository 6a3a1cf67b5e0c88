"""Compare scoring and test-time training with a baseline. ``python benchmarks/evaluation.py --help``

The baseline is the evaluation of PRs #1493 and #1485 (docs/references.md#sliding-window), written here from its
description. Scoring: a compiled forward pass gives the logits of every position of 32 full windows, and a cross-entropy
outside it takes the last ``stride`` positions of each. Training: eager, with an optimizer that loops over tensors. Ours
is ``golf.inference.predictor`` and ``golf.training.prequant_ttt``.

A profile gives model, chunks and batches. Each side does the work of one rank of the profile, without reductions: the
baseline's one reduction per tensor and our single one are not measured. Weights and tokens are random, unless --weights
names a tensor file. The sides alternate, the fastest repetition of each counts, and compilation is not timed. On a CPU
the process time is measured, because other work may share the cores: run it with OMP_NUM_THREADS=1.
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

from golf.artifacts import io
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.distributed.context import DistContext
from golf.inference.interface import ScoredChunk
from golf.inference.predictor import GolfPredictor
from golf.inference.score_first_sgd import cosine_decay
from golf.inference.windows import list_windows
from golf.model.gpt import GPT
from golf.training import prequant_ttt

BASELINE_BATCH_WINDOWS = 32  # windows that the baseline scores at a time
MAX_NATS_DIFFERENCE = 1e-4  # between the means of the sides, in nats per token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="profiles/laptop.yaml")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--eager", action="store_true", help="do not compile, as in the laptop profile")
    parser.add_argument("--weights", help="a tensor file of the profile's model (random weights)")
    parser.add_argument("--chunks", type=int, default=4, help="in the stream; the last one is only scored (4)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each side (3)")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    benchmark = EvaluationBenchmark(args)
    rows = {name: benchmark.compare(*getattr(benchmark, name)()) for name in ("sliding", "ttt", "prequant")}
    for name, row in rows.items():
        print(
            f"{name:<9} baseline {row['baseline_s']:.3f} s, ours {row['ours_s']:.3f} s, ratio {row['ratio']:.2f}, "
            f"{row['baseline_nats']:.5f} and {row['ours_nats']:.5f} nats{'' if row['agree'] else ': THE SCORES DIFFER'}"
        )
    if args.json:
        metadata = {key: value for key, value in vars(args).items() if key != "json"}
        io.write_json(args.json, hardware.describe_machine(benchmark.ctx.device) | metadata | {"modes": rows})


class EvaluationBenchmark:
    """Both sides on one stream, each with its own model."""

    def __init__(self, args):
        cfg, self.n_repeats = loader.load_config(args.profile), args.repeat
        ttt_cfg = dataclasses.replace(cfg.ttt, method="score_first", freeze_blocks=0)  # the baseline learns all weights
        ttt = TTTPlan.from_sections(ttt_cfg, cfg.lora, cfg.phased)
        ranks, rng = ttt.ranks, torch.Generator().manual_seed(0)
        device, dtype = torch.device(args.device), getattr(torch, args.dtype)
        self.ctx = DistContext(0, 1, device, dtype, not args.eager, "sdpa")
        self.model_cfg, self.stride, context = cfg.model, ttt.stride, cfg.model.context_length
        self.ttt_cfg = dataclasses.replace(
            ttt, ranks=1, chunk_tokens=ttt.chunk_tokens // ranks, batch_tokens=ttt.batch_tokens // ranks
        )
        self.prequant_cfg = dataclasses.replace(
            cfg.prequant, sync="sequential", batch_tokens=max(cfg.prequant.batch_tokens // ranks, context)
        )
        self.state_dict = (
            random_state_dict(self.model_cfg, rng) if args.weights is None else io.load_tensors(args.weights)[0]
        )
        n_tokens = args.chunks * self.ttt_cfg.chunk_tokens + 1
        self.tokens = torch.randint(self.model_cfg.vocab_size, (n_tokens,), generator=rng).numpy().astype(np.uint16)
        self.predictor = GolfPredictor(self.build_model(), self.ctx, eval_batch_tokens=cfg.evaluate.eval_batch_tokens)
        self.baseline = BaselinePredictor(self.build_model(), self.ctx)

    def build_model(self) -> GPT:
        model = GPT(self.model_cfg)
        model.load_state_dict(self.state_dict)
        return model.to(self.ctx.device)

    def sliding(self):
        return self.make_scoring_runs(ttt_cfg=None)

    def ttt(self):
        return self.make_scoring_runs(ttt_cfg=self.ttt_cfg)

    def make_scoring_runs(self, ttt_cfg):
        """The two sides as functions that return (mean nats per token, seconds)."""
        chunk_tokens = self.ttt_cfg.chunk_tokens
        chunk_bounds = list(itertools.pairwise(range(0, len(self.tokens), chunk_tokens)))

        def run(predictor):
            predictor.reset(stride=self.stride, ttt_cfg=ttt_cfg, n_chunks=len(chunk_bounds))
            start_s, nats = self.synchronized_time(), 0.0
            for index, (low, high) in enumerate(chunk_bounds):
                nll = predictor.score(self.tokens[: low + 1], self.tokens[low + 1 : high + 1])
                nats += nll.sum(dtype=np.float64)
                predictor.update(ScoredChunk(index, self.tokens[low : high + 1], index == len(chunk_bounds) - 1, ""))
            return float(nats / (len(self.tokens) - 1)), self.synchronized_time() - start_s

        return lambda: run(self.baseline), lambda: run(self.predictor)

    def prequant(self):
        """An epoch at the first learning rate; weights and moments carry over between repetitions."""
        context, lr = self.model_cfg.context_length, self.prequant_cfg.lr
        windows = torch.from_numpy(self.tokens.astype(np.int64)).unfold(0, context + 1, context)
        models = [self.build_model(), self.build_model()]
        for model in models:
            for block in model.blocks[: self.prequant_cfg.freeze_blocks]:
                block.requires_grad_(False)
        baseline, ours = (
            BaselineAdamW(models[0], self.prequant_cfg, self.ctx),
            prequant_ttt.PrequantTrainer(models[1], self.prequant_cfg, self.ctx),
        )
        ours.warm_up(windows)

        def run(trainer):
            start_s = self.synchronized_time()
            nats = trainer.train_epoch(windows, lr)
            return nats / windows[:, 1:].numel(), self.synchronized_time() - start_s

        return lambda: run(baseline), lambda: run(ours)

    def synchronized_time(self) -> float:
        self.ctx.synchronize()
        return time.process_time() if self.ctx.device.type == "cpu" else time.perf_counter()

    def compare(self, baseline, ours) -> dict:
        row = {"baseline_nats": baseline()[0], "ours_nats": ours()[0], "baseline_s": math.inf, "ours_s": math.inf}
        for _ in range(self.n_repeats):
            for name, run in (("baseline_s", baseline), ("ours_s", ours)):
                row[name] = min(row[name], run()[1])
        is_equal = abs(row["baseline_nats"] - row["ours_nats"]) <= MAX_NATS_DIFFERENCE
        return row | {"ratio": row["baseline_s"] / row["ours_s"], "agree": is_equal}


class BaselinePredictor:
    """Scoring and score-first training as in PR #1493, with the methods of ``GolfPredictor``."""

    def __init__(self, model: GPT, ctx: DistContext):
        self.model, self.ctx, self.context = model, ctx, model.cfg.context_length
        self.initial_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.compiled_logits = ctx.maybe_compile(self.all_logits)

    def all_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        with self.ctx.autocast():
            return self.model.logits(self.model(inputs, recurrent=True)).to(self.ctx.dtype)  # the graph returns bf16

    def reset(self, *, stride: int, ttt_cfg, memory_cfg=None, n_chunks: int, order: str = "stream") -> None:
        self.model.load_state_dict(self.initial_weights)
        self.stride, self.ttt_cfg, self.n_chunks = stride, ttt_cfg, n_chunks
        self.optimizer = ttt_cfg and torch.optim.SGD(self.model.parameters(), lr=ttt_cfg.lr, momentum=ttt_cfg.momentum)

    @torch.no_grad()
    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        start, context = len(prefix) - 1, self.context
        stream = np.concatenate([prefix, chunk]).astype(np.int64)
        nats = torch.zeros(len(chunk), device=self.ctx.device)
        windows = list_windows(start, start + len(chunk), context_length=context, stride=self.stride)
        for i in range(0, len(windows), BASELINE_BATCH_WINDOWS):
            batch = windows[i : i + BASELINE_BATCH_WINDOWS]
            x, y = np.zeros((2, BASELINE_BATCH_WINDOWS if self.ctx.compile else len(batch), context), dtype=np.int64)
            for row, window in enumerate(batch):
                window_tokens = stream[window.start : window.start + context + 1]
                x[row, : len(window_tokens) - 1], y[row, : len(window_tokens) - 1] = (
                    window_tokens[:-1],
                    window_tokens[1:],
                )
            x, y = (torch.from_numpy(array).to(self.ctx.device) for array in (x, y))
            nll = F.cross_entropy(self.compiled_logits(x).flatten(0, 1).float(), y.flatten(), reduction="none").view_as(
                y
            )
            for row, window in enumerate(batch):
                nats[window.score_from - start : window.score_to - start] = nll[
                    row, window.score_from - window.start : window.score_to - window.start
                ]
        return nats.cpu().numpy()

    def update(self, scored_chunk: ScoredChunk) -> None:
        if self.optimizer is None or scored_chunk.is_last:
            return
        tokens = torch.from_numpy(scored_chunk.tokens.astype(np.int64)).to(self.ctx.device)
        x, y = tokens[:-1].view(-1, self.context), tokens[1:].view(-1, self.context)
        batch_rows = self.ttt_cfg.batch_tokens // self.context
        lr = self.ttt_cfg.lr * cosine_decay(scored_chunk.index, self.n_chunks)
        for _ in range(self.ttt_cfg.epochs):
            for batch in zip(x.split(batch_rows), y.split(batch_rows), strict=True):
                eager_step(self.model, self.optimizer, *batch, lr, self.ttt_cfg.grad_clip, self.ctx)


class BaselineAdamW:
    """The epochs of PR #1485."""

    def __init__(self, model: GPT, cfg, ctx: DistContext):
        self.model, self.cfg, self.ctx = model, cfg, ctx
        trainable = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, lr=cfg.lr, weight_decay=0.0)

    def train_epoch(self, windows: torch.Tensor, lr: float) -> float:
        nats = torch.zeros((), device=self.ctx.device)
        for batch in windows.split(self.cfg.batch_tokens // self.model.cfg.context_length):
            x, y = (tensor.to(self.ctx.device) for tensor in (batch[:, :-1].contiguous(), batch[:, 1:].contiguous()))
            loss = eager_step(self.model, self.optimizer, x, y, lr, self.cfg.grad_clip, self.ctx)
            nats += loss * y.numel()
        return nats.item()


def eager_step(model: GPT, optimizer, x, y, lr: float, grad_clip: float, ctx: DistContext) -> torch.Tensor:
    """One step on the mean loss of a batch, which is returned."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    with ctx.autocast():
        logits = model.logits(model(x, recurrent=True))
        loss = F.cross_entropy(logits.flatten(0, 1).float(), y.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_([w for w in model.parameters() if w.requires_grad], grad_clip)
    optimizer.step()
    return loss.detach()


def random_state_dict(model_cfg, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights none of which is zero or one, so that all of them have an effect."""
    model = GPT(model_cfg).init_weights(rng)
    return {
        name: tensor + torch.randn(tensor.shape, generator=rng) * 0.02 for name, tensor in model.state_dict().items()
    }


if __name__ == "__main__":
    main()
