"""One training step, ours against the record recipe's plain one. ``python benchmarks/train_step.py --help``

Both sides take whole steps of the configuration's batch by turns, on one rank, from the same weights and on the same
random tokens, before and after the loop is activated; averages of the weights included, data loading not. The record's
form is plain_step.py, which takes a rank's share of the batch at once; ours is what golf.train runs, as much at a time
as the profile says. One rank of eight would do an eighth of the matrix products of Newton–Schulz for an eighth of the
tokens, so the shares are those of a rank. MFU is golf/model/flops.py's count over the device's peak. One more step of
each is profiled, outside the timing, and told by groups of work (trace_groups.py): loss is what reads logits other than
the head's matrix products, which are matmul. On a CPU with OMP_NUM_THREADS=1 seconds are those of the process, as other
work may share the cores.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import hardware
import torch
import trace_groups as trace
from plain_step import PlainStep
from torch._inductor import config as inductor

from golf.ground import machine, params, store
from golf.model import flops
from golf.model.gpt import GPT
from golf.train import schedule
from golf.train.ema import Averages
from golf.train.optimizer import Optimisers
from golf.train.step import loss_function, one_step

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, default=Path("params.yaml"), help="a configuration (params.yaml)")
    parser.add_argument("--device", help="instead of the profile's: cpu or cuda")
    parser.add_argument("--tokens", type=int, help="of a step, instead of the profile's batch")
    parser.add_argument("--turns", type=int, default=3, help="of each side; the median counts (3)")
    parser.add_argument("--steps", type=int, default=2, help="a turn (2)")
    parser.add_argument("--eager", action="store_true", help="compile neither side")
    parser.add_argument("--ours-alone", action="store_true", help="leave the record's form out")
    parser.add_argument("--json", type=Path, help="instead of results/train_step.<profile>.<machine>.json")
    asked = parser.parse_args()
    for found in measure(asked):  # the loop's graphs take minutes to compile: what there is before them is kept
        store.write_json(asked.json or RESULTS / f"train_step.{found['profile']}.{found['slug']}.json", found)
    print(table(found))


def measure(asked) -> Iterator[dict]:
    """What main writes, after each row. Raises ParamsError or Unavailable as the train stage would."""
    chosen = params.read(asked.profile)
    wanted, shape = dataclasses.replace(chosen.train, ranks=1), chosen.model
    wanted = dataclasses.replace(wanted, device=asked.device or wanted.device)
    tokens = asked.tokens or wanted.batch_tokens
    # The record takes a rank's share at once.
    share = min(tokens, chosen.train.batch_tokens // chosen.train.ranks)
    wanted = dataclasses.replace(wanted, batch_tokens=tokens, micro_tokens=min(tokens, wanted.micro_tokens))
    if asked.eager:
        wanted = dataclasses.replace(wanted, compile="off")
    here = machine.setup(wanted, "train")
    inductor.cpp.enable_kernel_profile = True  # else a trace shows a CPU's fused loops without names
    peak, source = hardware.peak(here.device, here.dtype)
    found = {
        **hardware.describe(here.device),
        "profile": chosen.profile,
        "batch_tokens": wanted.batch_tokens,
        "micro_tokens": wanted.micro_tokens,
        "record_micro_tokens": share,
        "runtime": here.note,
        "clock": "process" if hardware.own_clock(here.device) else "wall",
        "peak_flops": peak,
        "peak_source": source,
        "rows": [],
    }
    for looped in (False, True) if shape.loop_passes > 1 else (False,):
        sides = {} if asked.ours_alone else {"record": (Record, dataclasses.replace(wanted, micro_tokens=share))}
        row = {"looped": looped} | compare(shape, sides | {"ours": (Ours, wanted)}, here, looped, asked)
        for it in (row[side] for side in ("record", "ours") if side in row):
            speed = it["tokens_per_second"]
            it["mfu"] = flops.utilisation(shape, looped=looped, tokens_per_second=speed, peak=peak)
        found["rows"].append(row)
        yield found


class Ours:
    """What the loop does in a step, but for its clock and its log."""

    def __init__(self, shape, state: dict, wanted, here):
        self.model, self.here = GPT(shape, here.attention).to(here.device), here
        self.model.load_state_dict(state)
        self.loss = here.compiled(loss_function(self.model, here))
        self.optimisers = Optimisers(self.model, wanted, here)
        self.averages = Averages(
            dict(self.model.named_parameters()), wanted.ema_decays, wanted.ema_traces, 0, wanted.ema_snapshot_every
        )

    def step(self, batch, number: int, looped: bool) -> torch.Tensor:
        loss, _ = one_step(self.model, self.loss, batch, self.optimisers, number, 1.0, looped, self.here)
        self.averages.update()
        return loss

    def marked(self) -> None:
        """From here on a trace can tell the optimisers' time, and the averages'."""
        self.optimisers.step = named(self.optimisers.step)
        self.averages.update = named(self.averages.update)


class Record:
    """The same around the record's form."""

    def __init__(self, shape, state: dict, wanted, here):
        self.plain, self.wanted = PlainStep(shape, state, wanted, here), wanted

    def step(self, batch, number: int, looped: bool) -> torch.Tensor:
        w = self.wanted
        momentum = schedule.momentum(number, start=w.momentum_start, end=w.momentum, steps=w.momentum_steps)
        return self.plain.step(batch, momentum, looped)

    def marked(self) -> None:
        self.plain.optimise = named(self.plain.optimise)


def named(function):
    def inside(*arguments):
        with torch.profiler.record_function(trace.OPTIMISER):
            return function(*arguments)

    return inside


def compare(shape, kinds: dict, here, looped: bool, asked) -> dict:
    """Figures of each side, and ratio: our tokens a second over the record's. kinds: name -> (class, params train)."""
    torch._dynamo.reset()
    generator = torch.Generator().manual_seed(0)
    state = GPT(shape).initialise(generator).state_dict()
    batch_tokens = kinds["ours"][1].batch_tokens
    rows = batch_tokens // shape.context
    ids = torch.randint(shape.vocabulary, (rows, shape.context + 1), generator=generator).to(here.device)
    batch = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    sides, seconds, held, peaks, losses = {}, {}, {}, {}, {}
    clock = time.process_time if hardware.own_clock(here.device) else time.perf_counter
    for name, (kind, wanted) in kinds.items():
        before = allocated(here)
        sides[name] = kind(shape, state, wanted, here)
        losses[name] = [sides[name].step(batch, number, looped).item() for number in range(2)]  # compiles
        held[name], seconds[name], peaks[name] = allocated(here) - before, [], 0
    for turn in range(asked.turns):
        for name, side in sides.items():
            if here.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(here.device)
            here.finish()
            start = clock()
            for number in range(asked.steps):
                side.step(batch, 2 + turn * asked.steps + number, looped)
            here.finish()
            seconds[name].append((clock() - start) / asked.steps)
            others = sum(held.values()) - held[name]
            if here.device.type == "cuda":
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated(here.device) - others)
    found = {name: figures(seconds[name], peaks[name], losses[name], batch_tokens) for name in sides}
    for name, side in sides.items():
        side.marked()

        def whole(side=side) -> None:
            side.step(batch, 2 + asked.turns * asked.steps, looped)
            here.finish()

        found[name]["groups_ms"] = trace.summary(trace.profiled(here.device, whole))
    if "record" in sides:
        found["ratio"] = found["record"]["seconds"] / found["ours"]["seconds"]
    return found


def allocated(here) -> int:
    return torch.cuda.memory_allocated(here.device) if here.device.type == "cuda" else 0


def figures(seconds: list[float], peak: int, losses: list[float], tokens: int) -> dict:
    """peak_bytes: null on a CPU, where nobody counts what a step holds."""
    middle = statistics.median(seconds)
    return {
        "seconds": middle,
        "spread": (max(seconds) - min(seconds)) / middle,
        "tokens_per_second": tokens / middle,
        "peak_bytes": peak or None,
        "first_losses": losses,
    }


def table(found: dict) -> str:
    lines = [
        f"{found['machine']}, torch {found['torch']}: profile {found['profile']}, {found['batch_tokens']:,} tokens a "
        f"step, {found['micro_tokens']:,} at a time, in the record's form {found['record_micro_tokens']:,}",
        f"{found['runtime']}",
        f"peak {found['peak_flops'] / 1e12:,.1f} TFLOP/s ({found['peak_source']})",
        "",
        f"{'step':<24}{'ms':>10}{'tokens/s':>13}{'MFU':>8}{'peak GB':>9}  "
        + "".join(f"{group:>14}" for group in trace.GROUPS),
    ]
    for row in found["rows"]:
        for side in (side for side in ("record", "ours") if side in row):
            it = row[side]
            gigabytes = "NOT-RUN" if it["peak_bytes"] is None else f"{it['peak_bytes'] / 1e9:.1f}"
            lines.append(
                f"{side + (', loop' if row['looped'] else ', no loop'):<24}{1e3 * it['seconds']:>10,.1f}"
                f"{it['tokens_per_second']:>13,.0f}{it['mfu']:>8.1%}{gigabytes:>9}  "
                + "".join(f"{it['groups_ms'][group]:>14.1f}" for group in trace.GROUPS)
            )
        if "ratio" in row:
            lines.append(f"{'ratio of tokens/s':<24}{row['ratio']:>10.2f}")
    lines.append("the groups are milliseconds of one profiled step, which profiling slows down")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
