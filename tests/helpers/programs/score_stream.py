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

_TTT_CONFIG = SimpleNamespace(lr=0.05, momentum=0.9, epochs=2, grad_clip=1.0, batch_tokens=96)  # 3 windows for 2 ranks
_STREAM = np.random.default_rng(0).integers(0, 260, 400).astype(np.uint16)
MODES = {"plain": (32, None), "sliding": (8, None), "ttt": (8, _TTT_CONFIG)}


def score(mode: str, ctx: context.DistContext) -> Ledger:
    """The ledger of a pass over the stream in chunks of three windows, of which the last is short."""
    generator, model = torch.Generator().manual_seed(0), GPT(TINY_MODEL_CONFIG)
    model.init_weights(generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    stride, ttt_cfg = MODES[mode]
    predictor = GolfPredictor(model, ctx, eval_batch_tokens=128).reset(stride=stride, ttt_cfg=ttt_cfg, n_chunks=5)
    progress = Progress("t", 1, "x", quiet=True)
    ledger = Ledger(mode, bos=1)
    for _ in scoring_loop.score_stream(predictor, _STREAM, np.ones(399), ledger, chunk_tokens=96, progress=progress):
        pass
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
