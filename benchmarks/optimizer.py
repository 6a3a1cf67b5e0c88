"""Compare the optimizer step with a baseline, in milliseconds. ``python benchmarks/optimizer.py --help``

The baseline is the step of PR #1493 (docs/references.md#muon), written here from its description: clipped gradients,
momentum and Newton–Schulz for one matrix at a time, all updates in one flat bf16 buffer and from there into the
weights, and fused AdamW for the other parameters. Both sides get the same gradients, in alternation, in one process of
one rank, so communication between ranks is not measured.
"""

import argparse
import dataclasses
import math
import time

import hardware
import torch

from golf.artifacts import io
from golf.config import loader
from golf.distributed import device
from golf.model.attention_backends import resolve_attention
from golf.model.gpt import GPT
from golf.training import muon, schedule
from golf.training.optimizer import MuonAdamW, group_parameters

DEFAULT_JSON = "benchmarks/results/optimizer.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles", nargs="*", default=["laptop", "record"], help="names in profiles/ (laptop record)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"], help="our side")
    parser.add_argument("--repeat", type=int, default=10, help="repetitions of each side; the fastest counts (10)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides, on a CPU")
    parser.add_argument("--json", default=DEFAULT_JSON, help=f"file for the measurements ({DEFAULT_JSON})")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [compare(name, args) for name in args.profiles]
    print(f"{rows[0]['machine']}, {args.threads} threads, fastest of {args.repeat}")
    print(f"{'shapes':<10}{'matrices':>9}{'base ms':>11}{'ours ms':>9}{'ratio':>7}{'distance':>10}")
    for row in rows:
        print(
            f"{row['profile']:<10}{row['matrices']:>9}{row['baseline_ms']:>11.2f}{row['ours_ms']:>9.2f}{row['ratio']:>7.2f}"
            f"{row['relative_distance']:>10.4f}"
        )
    io.write_json(args.json, {"repeat": args.repeat, "torch": torch.__version__, "rows": rows})


def compare(name: str, args) -> dict:
    """One row of the table.

    relative_distance: between the weights of the two sides after two steps, divided by the distance that they moved.
    """
    cfg = loader.load_config(f"profiles/{name}.yaml")
    train_cfg = dataclasses.replace(
        cfg.train, device=args.device, compile=args.compile, dtype="bfloat16", attention="sdpa", ranks=1
    )
    ctx = device.init_context(train_cfg, "train", resolve_attention)
    models = [GPT(cfg.model).init_weights(torch.Generator().manual_seed(0)).to(ctx.device) for _ in range(3)]
    start, baseline_model, our_model = models
    baseline, optimizer = BaselineOptimizer(baseline_model, train_cfg, ctx), MuonAdamW(our_model, train_cfg, ctx)
    loss = torch.zeros((), device=ctx.device)
    sides = {
        "baseline": (baseline_model, baseline.step),
        "ours": (our_model, lambda number: optimizer.step(number, 1.0, loss)),
    }
    best_s, relative_distance = dict.fromkeys(sides, math.inf), None
    for number in range(args.repeat + 2):  # the first two compile and fill the caches
        for side, (model, step) in sides.items():
            set_random_grads(model, number)
            seconds = time_step(lambda step=step: step(number), ctx)  # noqa: B023, called at once
            best_s[side] = min(best_s[side], seconds) if number > 1 else math.inf
        if number == 1:
            relative_distance = weight_distance(baseline_model, our_model) / weight_distance(baseline_model, start)
    return {
        "profile": name,
        "machine": torch.cuda.get_device_name(ctx.device) if ctx.device.type == "cuda" else hardware.cpu_name(),
        "device": str(ctx.device),
        "threads": args.threads,
        "compiled": ctx.compile,
        "matrices": len(group_parameters(our_model)["matrix"]),
        "baseline_ms": 1e3 * best_s["baseline"],
        "ours_ms": 1e3 * best_s["ours"],
        "ratio": best_s["baseline"] / best_s["ours"],
        "relative_distance": relative_distance,
    }


class BaselineOptimizer:
    """The optimizers of PR #1493 on one rank: Muon for one matrix at a time, AdamW."""

    def __init__(self, model: GPT, cfg, ctx):
        params_by_group = group_parameters(model)
        self.cfg, self.parameters = cfg, list(model.parameters())
        self.matrices = list(params_by_group["matrix"].values())
        self.momentum_buffers = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.flat_updates = torch.zeros(sum(m.numel() for m in self.matrices), dtype=torch.bfloat16, device=ctx.device)
        self.compiled_newton_schulz = ctx.maybe_compile(newton_schulz)
        embed, scalar = list(params_by_group["embed"].values()), list(params_by_group["scalar"].values())
        self.adam = torch.optim.AdamW(
            [
                {"params": embed, "lr": cfg.embed_lr, "weight_decay": cfg.embed_weight_decay},
                {"params": scalar, "lr": cfg.scalar_lr, "weight_decay": cfg.scalar_weight_decay},
            ],
            betas=(cfg.beta1, cfg.beta2),
            eps=cfg.eps,
            fused=True,
        )

    @torch.no_grad()
    def step(self, number: int) -> None:
        cfg = self.cfg
        torch.nn.utils.clip_grad_norm_(self.parameters, cfg.grad_clip or math.inf)
        momentum = schedule.compute_muon_momentum(
            number, start=cfg.muon_momentum_start, end=cfg.muon_momentum, warmup_steps=cfg.muon_momentum_warmup_steps
        )
        slots = self.flat_updates.split([matrix.numel() for matrix in self.matrices])
        for matrix, buffer, slot in zip(self.matrices, self.momentum_buffers, slots, strict=True):
            buffer.mul_(momentum).add_(matrix.grad)
            u = matrix.grad.add(buffer, alpha=momentum)
            u = u / u.norm(dim=1, keepdim=True).clamp_min(1e-7)
            o = self.compiled_newton_schulz(u.bfloat16(), cfg.ns_steps)
            slot.copy_((o * max(1, o.shape[0] / o.shape[1]) ** 0.5).reshape(-1))
        for matrix, slot in zip(self.matrices, slots, strict=True):
            matrix.mul_(1 - cfg.muon_lr * cfg.muon_weight_decay).add_(slot.view_as(matrix), alpha=-cfg.muon_lr)
        self.adam.step()


def newton_schulz(u: torch.Tensor, steps: int) -> torch.Tensor:
    a, b, c = muon.NS_COEFFICIENTS["quintic"][0]
    tall = u.shape[0] > u.shape[1]
    x = u.T if tall else u
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def set_random_grads(model: GPT, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.device)


def time_step(step, ctx) -> float:
    ctx.synchronize()
    start = time.perf_counter()
    step()
    ctx.synchronize()
    return time.perf_counter() - start


def weight_distance(one: GPT, other: GPT) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return math.sqrt(sum((a - b).double().square().sum().item() for a, b in pairs))


if __name__ == "__main__":
    main()
