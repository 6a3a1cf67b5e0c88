"""Fit the memory to dev and show what its parts are worth. ``PYTHONPATH=. python benchmarks/memory.py --help``

Scores dev twice with the full-precision weights of a finished run, in sliding windows: by the model alone, and with the
neural cache of params.yaml. Every mixture with the n-gram memory is then computed from the second scores: the settings
of params.yaml; those fitted on dev by gradient (escape weights, recency exponent); the same without one order each;
other values of max_successors; from the first scores, without the cache; and the n-grams alone, over a uniform
distribution in place of the model. A paired interval over dev's documents stands beside each difference from the model
alone.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from golf.artifacts import io
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.config.sections import MemoryConfig
from golf.data import split_reader
from golf.data.eval_stream import EvalStream
from golf.data.tokenizer import Tokenizer
from golf.distributed.context import DistContext
from golf.errors import ConfigError
from golf.evaluation import bpb, scoring_loop, significance
from golf.evaluation.ledger import LedgerData
from golf.inference.ngram_memory import NgramMemory
from golf.inference.predictor import GolfPredictor
from golf.model import checkpoint

DEFAULT_JSON = "benchmarks/results/memory.json"
_STEPS, _RATE = 150, 0.15  # of Adam, on the logarithms
_WINDOWS = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class ContextStatistics:
    """What the memory knows at each of N targets in K contexts, oldest order first.

    counts, distinct [N, K]: kept successors, and how many differ. hits [N, K, W]: whether the successor of this age is
    the target.
    """

    counts: torch.Tensor
    distinct: torch.Tensor
    hits: torch.Tensor

    def mix(
        self, model_probs: torch.Tensor, escape_weights: torch.Tensor, recency_exponent: torch.Tensor
    ) -> torch.Tensor:
        """The mixture's probability of each target, float64 [N]: the formula of NgramMemory, differentiable."""
        ages = torch.arange(self.hits.shape[-1], dtype=torch.float64)
        weights = (ages + 1) ** -recency_exponent
        sums = ((ages < self.counts[..., None]) * weights).sum(-1)
        estimates = (self.hits * weights).sum(-1) / sums.clamp_min(1e-300)
        trust = self.counts / (self.counts + escape_weights * self.distinct).clamp_min(1e-300)
        probs = model_probs
        for order in range(self.counts.shape[1]):
            probs = trust[:, order] * estimates[:, order] + (1 - trust[:, order]) * probs
        return probs


def collect_statistics(tokens: np.ndarray, orders: Sequence[int], max_successors: int) -> ContextStatistics:
    """Run a memory over the whole stream, uint16 [N + 1]."""
    memory = NgramMemory(
        MemoryConfig(
            scope="stream",
            orders=tuple(orders),
            escape_weights=(1.0,) * len(orders),
            max_successors=max_successors,
            recency_exponent=0,
            cache_tokens=None,
            cache_theta=0,
            cache_decay_tokens=1,
            cache_exponent=1,
            cache_escape_weight=1,
            tilt_order=None,
            tilt_beta=0,
            tilt_threshold=0,
            hedge=(),
            hedge_rate=0,
        )
    )
    shape = len(tokens) - 1, len(orders)
    counts, distinct, hits = np.zeros(shape), np.zeros(shape), np.zeros((*shape, max_successors), bool)
    for row, contexts in enumerate(memory.iter_contexts(tokens.astype("<u2").tobytes()), -1):  # -1: nothing before it
        for order, (_, successors, _) in enumerate(reversed(contexts)):
            counts[row, order], distinct[row, order] = len(successors), len(set(successors))
            hits[row, order, : len(successors)] = [token == tokens[row + 1] for token in successors]
    return ContextStatistics(*map(torch.from_numpy, (counts, distinct, hits)))


def fit(statistics: ContextStatistics, model_probs: torch.Tensor, cfg: MemoryConfig) -> MemoryConfig:
    """The escape weights and recency exponent of the smallest mean nll, from those of ``cfg`` on."""
    logs = (
        torch.tensor([*cfg.escape_weights, max(cfg.recency_exponent, 0.01)], dtype=torch.float64).log().requires_grad_()
    )
    optimizer = torch.optim.Adam([logs], lr=_RATE)
    for _ in range(_STEPS):
        loss = -statistics.mix(model_probs, logs[:-1].exp(), logs[-1].exp()).log().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    *escape_weights, recency_exponent = logs.detach().exp().tolist()
    return dataclasses.replace(cfg, escape_weights=tuple(escape_weights), recency_exponent=recency_exponent)


class MemoryBenchmark:
    """Mixtures over the scores of the model, and of the model with its neural cache.

    rows: what was measured, in order.
    """

    def __init__(self, scores: LedgerData, cached_scores: LedgerData, tokens: np.ndarray) -> None:
        self.scores, self.tokens = scores, tokens
        self.model_probs, self.cached_probs = (
            torch.from_numpy(np.exp(-each.nll.astype(np.float64))) for each in (scores, cached_scores)
        )
        self.rows: list[dict] = []

    def add(self, name: str, cfg: MemoryConfig | None, base_probs: torch.Tensor | None = None) -> None:
        """Print and keep one row; ``cfg`` None: no n-grams. base_probs: None: those of the model with its cache."""
        probs = self.cached_probs if base_probs is None else base_probs
        if cfg is not None:
            statistics = collect_statistics(self.tokens, cfg.orders, cfg.max_successors)
            escape_weights = torch.tensor(cfg.escape_weights, dtype=torch.float64)
            probs = statistics.mix(probs, escape_weights, torch.tensor(cfg.recency_exponent, dtype=torch.float64))
        mixed = dataclasses.replace(self.scores, nll=-np.log(probs.numpy()))
        score = bpb.compute_score(mixed).bpb
        difference = significance.compute_paired_difference([self.scores], [mixed]).bpb_difference
        row = {"name": name, "bpb": score, "difference": difference.value, "half_width": difference.half_width}
        self.rows.append(row | ({} if cfg is None else {"memory": dataclasses.asdict(cfg)}))
        half_width = "" if difference.half_width is None else f" ± {difference.half_width:.4f}"
        print(f"{name:<28}{score:>9.4f}{difference.value:>+9.4f}{half_width}", flush=True)

    def run(self, cfg: MemoryConfig, vocab_size: int) -> None:
        """All rows, with ``cfg`` as the settings of params.yaml. Raises ConfigError when it has no memory."""
        if not cfg.orders:
            raise ConfigError("memory.orders: is empty, so there is nothing to fit; give the orders to start from")
        self.add("model alone", None, self.model_probs)
        if cfg.cache_tokens is not None:
            self.add("neural cache alone", None)
        self.add("params.yaml", cfg)
        fitted = self._fit(cfg)
        self.add("fitted", fitted)
        for order in cfg.orders:
            rest = [pair for pair in zip(fitted.orders, fitted.escape_weights, strict=True) if pair[0] != order]
            orders, escape_weights = zip(*rest, strict=True)
            self.add(f"fitted, without order {order}", self._fit(dataclasses.replace(
                fitted, orders=orders, escape_weights=escape_weights
            )))  # fmt: skip
        for window in _WINDOWS:
            self.add(f"fitted, window {window}", self._fit(dataclasses.replace(fitted, max_successors=window)))
        if cfg.cache_tokens is not None:
            self.add("fitted, without the cache", self._fit(cfg, self.model_probs), self.model_probs)
        uniform = torch.full_like(self.model_probs, 1 / vocab_size)
        self.add("n-grams alone", fitted, uniform)

    def _fit(self, cfg: MemoryConfig, base_probs: torch.Tensor | None = None) -> MemoryConfig:
        probs = self.cached_probs if base_probs is None else base_probs
        return fit(collect_statistics(self.tokens, cfg.orders, cfg.max_successors), probs, cfg)


def score_dev(run: str, cfg: loader.Config) -> tuple[LedgerData, LedgerData, np.ndarray]:
    """dev's ledgers in sliding windows, by the model alone and with the neural cache, and its tokens."""
    artifacts = f"{run}/artifacts"
    split = split_reader.open_split(f"{artifacts}/fetch/dev", cfg.model.vocab_size)
    stream = EvalStream.from_split(split, Tokenizer.open(f"{artifacts}/fetch/tokenizer.model"))
    ctx = DistContext(0, 1, torch.device("cpu"), torch.bfloat16, False, "sdpa")
    weights, _ = checkpoint.load(f"{artifacts}/ema/model.safetensors", cfg.model)
    predictor = GolfPredictor(
        checkpoint.build_model(cfg.model, weights, ctx), ctx, eval_batch_tokens=cfg.ttt.eval_batch_tokens
    )
    ttt_cfg = TTTPlan.from_sections(dataclasses.replace(cfg.ttt, method="none"), cfg.lora, cfg.phased)
    options = {"ttt_cfg": ttt_cfg, "stride": cfg.ttt.stride, "context_length": cfg.model.context_length}
    ledgers = []
    for cache_tokens in dict.fromkeys((None, cfg.memory.cache_tokens)):  # one pass where there is no cache
        cache_cfg = dataclasses.replace(cfg.memory, orders=(), tilt_order=None, cache_tokens=cache_tokens)
        result = scoring_loop.evaluate_mode(
            predictor, stream, "ttt", **options, memory_cfg=cache_cfg, quiet=False, stage="memory"
        )
        ledgers.append(result.ledger.to_data())
    return ledgers[0], ledgers[-1], stream.tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default=".", help="folder with params.yaml and artifacts/ of a finished run (.)")
    parser.add_argument("--json", default=DEFAULT_JSON, help=f"file for the measurements ({DEFAULT_JSON})")
    args = parser.parse_args()
    cfg = loader.load_config(Path(args.run) / "params.yaml")
    benchmark = MemoryBenchmark(*score_dev(args.run, cfg))
    benchmark.run(cfg.memory, cfg.model.vocab_size)
    io.write_json(args.json, {"torch": torch.__version__, "rows": benchmark.rows})


if __name__ == "__main__":
    main()
