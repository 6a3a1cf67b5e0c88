"""One of two ranks: three optimizer steps in fp32 and in bf16. Arguments: rendezvous file, rank.

It writes weights to <rendezvous>.<dtype>.weights<rank> and state to <rendezvous>.<dtype>.state<rank>.
"""

import dataclasses
import sys

import torch
import torch.distributed as dist

from golf.artifacts import io
from golf.config import loader
from golf.distributed import context
from golf.model.gpt import GPT
from golf.training.optimizer import MuonAdamW
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def three_steps(ctx: context.DistContext) -> tuple[dict, dict, dict]:
    """Weights, norms and losses, and optimizer state after three steps; the ranks' gradients have the same sum."""
    cfg = dataclasses.replace(loader.load_config(ROOT / "profiles" / "laptop.yaml").train, normuon_beta2=0.95)
    model = GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0))
    optimizer = MuonAdamW(model, cfg, ctx)
    norms, losses = [], []
    for step in range(3):
        if step == 2:  # every rank continues from its own saved state
            saved = {name: tensor.clone() for name, tensor in optimizer.state_dict().items()}
            optimizer = MuonAdamW(model, cfg, ctx)
            optimizer.load_state_dict(saved)
        generators = [torch.Generator().manual_seed(10 * step + part) for part in range(2)]
        for parameter in model.parameters():
            parts = [torch.randn(parameter.shape, generator=generator) for generator in generators]
            parameter.grad = sum(parts[ctx.rank :: ctx.world_size])
        loss = torch.tensor(1.0 + ctx.rank)
        norms.append(optimizer.step(step, 1.0, loss).item())
        losses.append(loss.item())
    return model.state_dict(), {"norms": norms, "losses": losses}, optimizer.state_dict()


def main(rendezvous: str, rank: int) -> None:
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=2)
    for name, dtype in DTYPES.items():
        ctx = dataclasses.replace(context.single_process(dtype=dtype), rank=rank, world_size=2)
        weights, figures, state = three_steps(ctx)
        io.save_tensors(f"{rendezvous}.{name}.weights{rank}", weights, kind="weights", meta=figures)
        io.save_tensors(f"{rendezvous}.{name}.state{rank}", state, kind="state", meta={})
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
