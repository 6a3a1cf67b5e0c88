"""The optimisers' step against the record's form of it. ``python benchmarks/optimizer.py --help``

The record's form (record-stack 1.4 and 5.1, item 8) is written here from its description: gradients clipped, momentum
and Newton–Schulz a matrix at a time, all updates in one flat bf16 buffer, and from there into the weights; fused AdamW
for the rest. Both sides get the same gradients, by turns, in one process of one rank: what travels between ranks is in
neither figure. Milliseconds of a step.
"""

import argparse
import dataclasses
import math
import platform
import time

import torch

from golf.ground import machine, params, store
from golf.model.gpt import GPT
from golf.train import muon, schedule
from golf.train.optimizer import Optimisers, groups

FILE = "benchmarks/results/optimizer.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profiles", nargs="*", default=["laptop", "record"], help="of profiles/; laptop and record")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"], help="of our side")
    parser.add_argument("--repeat", type=int, default=10, help="turns of each side; the fastest counts (10)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides, on a CPU")
    parser.add_argument("--json", default=FILE, help=f"where the figures go ({FILE})")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = [compare(name, asked) for name in asked.profiles]
    print(f"{rows[0]['machine']}, {asked.threads} threads, fastest of {asked.repeat}")
    print(f"{'shapes':<10}{'matrices':>9}{'record ms':>11}{'ours ms':>9}{'ratio':>7}{'apart':>9}")
    for row in rows:
        print(
            f"{row['profile']:<10}{row['matrices']:>9}{row['record_ms']:>11.2f}{row['ours_ms']:>9.2f}{row['ratio']:>7.2f}"
            f"{row['apart']:>9.4f}"
        )
    store.write_json(asked.json, {"repeat": asked.repeat, "torch": torch.__version__, "rows": rows})


def compare(name: str, asked) -> dict:
    """One row of the table. apart: distance of both sides' weights after two steps, over the way they went."""
    tree = params.read(f"profiles/{name}.yaml")
    train = dataclasses.replace(
        tree.train, device=asked.device, compile=asked.compile, dtype="bfloat16", attention="sdpa", ranks=1
    )
    here = machine.setup(train, "train")
    models = [GPT(tree.model).initialise(torch.Generator().manual_seed(0)).to(here.device) for _ in range(3)]
    start, theirs, ours = models
    record, optimisers = Record(theirs, train, here), Optimisers(ours, train, here)
    loss = torch.zeros((), device=here.device)
    sides = {
        "record": (theirs, lambda number: record.step(number)),
        "ours": (ours, lambda number: optimisers.step(number, 1.0, loss)),
    }
    best, apart = dict.fromkeys(sides, math.inf), None
    for number in range(asked.repeat + 2):  # the first two compile and fill the caches
        for side, (model, step) in sides.items():
            with_gradients(model, number)
            seconds = timed(lambda step=step: step(number), here)  # noqa: B023, called at once
            best[side] = min(best[side], seconds) if number > 1 else math.inf
        if number == 1:
            apart = distance(theirs, ours) / distance(theirs, start)
    return {
        "profile": name,
        "machine": torch.cuda.get_device_name(here.device) if here.device.type == "cuda" else processor(),
        "device": str(here.device),
        "threads": asked.threads,
        "compiled": here.compile,
        "matrices": len(groups(ours)["matrix"]),
        "record_ms": 1e3 * best["record"],
        "ours_ms": 1e3 * best["ours"],
        "ratio": best["record"] / best["ours"],
        "apart": apart,
    }


class Record:
    """PR #1493's optimisers on one rank: Muon a matrix at a time."""

    def __init__(self, model: GPT, train, here):
        found = groups(model)
        self.train, self.all = train, list(model.parameters())
        self.matrices = list(found["matrix"].values())
        self.buffers = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.flat = torch.zeros(sum(m.numel() for m in self.matrices), dtype=torch.bfloat16, device=here.device)
        self.iterate = here.compiled(newton_schulz)
        embed, scalar = list(found["embed"].values()), list(found["scalar"].values())
        self.adam = torch.optim.AdamW(
            [
                {"params": embed, "lr": train.embed_lr, "weight_decay": train.embed_decay},
                {"params": scalar, "lr": train.scalar_lr, "weight_decay": train.scalar_decay},
            ],
            betas=(train.beta1, train.beta2),
            eps=train.eps,
            fused=True,
        )

    @torch.no_grad()
    def step(self, number: int) -> None:
        train = self.train
        torch.nn.utils.clip_grad_norm_(self.all, train.clip or math.inf)
        momentum = schedule.momentum(number, start=train.momentum_start, end=train.momentum, steps=train.momentum_steps)
        slots = self.flat.split([matrix.numel() for matrix in self.matrices])
        for matrix, buffer, slot in zip(self.matrices, self.buffers, slots, strict=True):
            buffer.mul_(momentum).add_(matrix.grad)
            u = matrix.grad.add(buffer, alpha=momentum)
            u = u / u.norm(dim=1, keepdim=True).clamp_min(1e-7)
            o = self.iterate(u.bfloat16(), train.newton_schulz)
            slot.copy_((o * max(1, o.shape[0] / o.shape[1]) ** 0.5).reshape(-1))
        for matrix, slot in zip(self.matrices, slots, strict=True):
            matrix.mul_(1 - train.matrix_lr * train.matrix_decay).add_(slot.view_as(matrix), alpha=-train.matrix_lr)
        self.adam.step()


def newton_schulz(u: torch.Tensor, steps: int) -> torch.Tensor:
    a, b, c = muon.COEFFICIENTS["quintic"][0]
    tall = u.shape[0] > u.shape[1]
    x = u.T if tall else u
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def with_gradients(model: GPT, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.device)


def timed(step, here) -> float:
    here.finish()
    start = time.perf_counter()
    step()
    here.finish()
    return time.perf_counter() - start


def distance(one: GPT, other: GPT) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return math.sqrt(sum((a - b).double().square().sum().item() for a, b in pairs))


def processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
