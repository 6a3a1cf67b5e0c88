"""One of two ranks: score a stream in every mode. Arguments: rendezvous file, rank.

It writes each ledger to <rendezvous>.<mode>.<rank>.
"""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.distributed as dist

from golf.distributed import context
from golf.evaluation import scoring_loop
from golf.evaluation.ledger import Ledger
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.ttt_settings import make_ttt_settings

_TTT_CONFIG = make_ttt_settings(epochs=2, batch_tokens=96)  # 3 windows for 2 ranks
_STREAM = np.random.default_rng(0).integers(0, 260, 400).astype(np.uint16)
_STREAM[[0, 70, 210]] = 1  # documents start
_TARGETS = ("q", "k", "v", "o", "mlp", "head")
_LORA = {"rank": 2, "alpha": 4.0, "beta1": 0.0, "beta2": 0.99, "weight_decay": 0.5, "seed": 1}
_LORA_CONFIG = SimpleNamespace(**_LORA, **dict.fromkeys(_TARGETS, True))
_PHASED_CONFIG = SimpleNamespace(phases=1, prefix_documents=2, chunk_tokens=96, lora_lr=0.003)
_MEMORY = {"scope": "document", "orders": (1, 3), "escape_weights": (2.0, 0.5), "max_successors": 4}
_MEMORY |= {
    "recency_exponent": 1.4,
    "cache_tokens": 150,
    "cache_theta": 8.0,
    "cache_decay_tokens": 60.0,
    "cache_exponent": 0.4,
}
_MEMORY |= {"cache_escape_weight": 2.0, "tilt_order": 1, "tilt_beta": 2.625, "tilt_threshold": 0.5}
_MEMORY_CONFIG = SimpleNamespace(**_MEMORY, hedge=(0.5, 1.0), hedge_rate=0.35)
_ADAPTERS = SimpleNamespace(**vars(_TTT_CONFIG) | {"method": "lora", "lora": _LORA_CONFIG, "lr": 0.003})
_PHASES = SimpleNamespace(**vars(_ADAPTERS) | {"method": "phased", "phased": _PHASED_CONFIG, "lr": 0.05})
MODES = {
    "plain": {"stride": 32},
    "sliding": {"stride": 8},
    "ttt": {"stride": 8, "ttt_cfg": _TTT_CONFIG},
    "documents": {"stride": 8, "ttt_cfg": _ADAPTERS, "memory_cfg": _MEMORY_CONFIG, "order": "documents"},
    "phased": {"stride": 8, "ttt_cfg": _PHASES},
}


def score(mode: str, ctx: context.DistContext) -> Ledger:
    """The ledger of a pass over the stream in chunks of three windows, of which the last is short."""
    generator, model = torch.Generator().manual_seed(0), GPT(TINY_MODEL_CONFIG)
    model.init_weights(generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    settings = MODES[mode]
    predictor = GolfPredictor(model, ctx, eval_batch_tokens=128).reset(**settings, n_chunks=5)
    progress = Progress("t", 1, "x", quiet=True)
    ledger = Ledger(mode, bos=1)
    options = {"chunk_tokens": 96, "order": settings.get("order", "stream"), "progress": progress}
    scoring_loop.score_stream(predictor, _STREAM, np.ones(399), ledger, **options)
    return ledger


def main(rendezvous: str, rank: int) -> None:
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    for mode in MODES:
        score(mode, dataclasses.replace(context.single_process(), rank=rank, world_size=2)).save(
            f"{rendezvous}.{mode}.{rank}"
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
