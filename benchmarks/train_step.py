"""Compare a training step with a baseline. ``python benchmarks/train_step.py --help``

Both sides take whole steps of the configured batch in alternation, on one rank, from the same weights and on the same
random tokens, without and with depth recurrence. Moving averages are included, data loading is not. The baseline is
reference_step.py, which processes a rank's share of the batch at once; ours is the step of golf.training, in the
micro-batches of the profile. One rank of eight would do an eighth of the matrix products of Newton–Schulz for an
eighth of the tokens, so the shares are those of a rank. MFU is the count of golf/model/flops.py over the device's
peak. One more step of each side is profiled, outside the timing, and divided into groups (trace_summary.py): loss is
the work on logits except for the matrix products of the head, which are matmul. On a CPU with OMP_NUM_THREADS=1 the
process time is measured, because other work may share the cores.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import hardware
import torch
import trace_summary as trace
from reference_step import ReferenceStep
from torch._inductor import config as inductor

from golf.artifacts import io
from golf.config import loader
from golf.distributed import device
from golf.model import flops
from golf.model.attention_backends import resolve_attention
from golf.model.gpt import GPT
from golf.training import schedule
from golf.training.ema import EMATracker
from golf.training.optimizer import MuonAdamW
from golf.training.step import make_loss_fn, train_step

RESULTS_DIR = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, default=Path("params.yaml"), help="a configuration (%(default)s)")
    parser.add_argument("--device", help="cpu or cuda, instead of the profile's")
    parser.add_argument("--tokens", type=int, help="tokens per step, instead of the profile's batch")
    parser.add_argument("--turns", type=int, default=3, help="repetitions of each side; the median counts (3)")
    parser.add_argument("--steps", type=int, default=2, help="steps per repetition (2)")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--ours-only", action="store_true", help="skip the baseline")
    parser.add_argument("--json", type=Path, help="instead of results/train_step.<profile>.<machine>.json")
    args = parser.parse_args()
    for result in measure(args):  # write early: the recurrent graphs take minutes to compile
        io.write_json(args.json or RESULTS_DIR / f"train_step.{result['profile']}.{result['slug']}.json", result)
    print(format_table(result))


def measure(args) -> Iterator[dict]:
    """Yield what main writes, after each row. Raises ConfigError or UnavailableError like the train stage."""
    cfg = loader.load_config(args.profile)
    train_cfg, model_cfg = dataclasses.replace(cfg.train, ranks=1), cfg.model
    train_cfg = dataclasses.replace(train_cfg, device=args.device or train_cfg.device)
    tokens = args.tokens or train_cfg.batch_tokens
    # The baseline processes a rank's share at once.
    rank_tokens = min(tokens, cfg.train.batch_tokens // cfg.train.ranks)
    train_cfg = dataclasses.replace(
        train_cfg, batch_tokens=tokens, micro_batch_tokens=min(tokens, train_cfg.micro_batch_tokens)
    )
    if args.eager:
        train_cfg = dataclasses.replace(train_cfg, compile="off")
    ctx = device.init_context(train_cfg, "train", resolve_attention)
    inductor.cpp.enable_kernel_profile = True  # otherwise a trace shows a CPU's fused loops without names
    peak, source = hardware.peak_flops(ctx.device, ctx.dtype)
    result = {
        **hardware.describe_machine(ctx.device),
        "profile": cfg.profile,
        "batch_tokens": train_cfg.batch_tokens,
        "micro_batch_tokens": train_cfg.micro_batch_tokens,
        "baseline_micro_batch_tokens": rank_tokens,
        "execution": ctx.description,
        "clock": "process" if hardware.uses_process_time(ctx.device) else "wall",
        "peak_flops": peak,
        "peak_source": source,
        "rows": [],
    }
    for recurrent in (False, True) if model_cfg.recur_passes > 1 else (False,):
        sides = (
            {}
            if args.ours_only
            else {"baseline": (BaselineStep, dataclasses.replace(train_cfg, micro_batch_tokens=rank_tokens))}
        )
        row = {"recurrent": recurrent} | compare(
            model_cfg, sides | {"ours": (OurStep, train_cfg)}, ctx, recurrent, args
        )
        for stats in (row[side] for side in ("baseline", "ours") if side in row):
            speed = stats["tokens_per_second"]
            stats["mfu"] = flops.mfu(model_cfg, recurrent=recurrent, tokens_per_second=speed, peak_flops_per_s=peak)
        result["rows"].append(row)
        yield result


class OurStep:
    """The training step, without time budget and log."""

    def __init__(self, model_cfg, state_dict: dict, cfg, ctx):
        self.model, self.ctx = GPT(model_cfg, ctx.attention).to(ctx.device), ctx
        self.model.load_state_dict(state_dict)
        self.compiled_loss = ctx.maybe_compile(make_loss_fn(self.model, ctx))
        self.optimizer = MuonAdamW(self.model, cfg, ctx)
        self.ema = EMATracker(
            dict(self.model.named_parameters()), cfg.ema_decays, cfg.ema_basis_decays, 0, cfg.ema_snapshot_every
        )

    def step(self, batch, number: int, recurrent: bool) -> torch.Tensor:
        loss, _ = train_step(self.model, self.compiled_loss, batch, self.optimizer, number, 1.0, recurrent, self.ctx)
        self.ema.update()
        return loss

    def label_optimizer(self) -> None:
        """From now on, label the time of the optimizers and the averages in traces."""
        self.optimizer.step = with_optimizer_label(self.optimizer.step)
        self.ema.update = with_optimizer_label(self.ema.update)


class BaselineStep:
    """The same for the baseline."""

    def __init__(self, model_cfg, state_dict: dict, cfg, ctx):
        self.reference, self.cfg = ReferenceStep(model_cfg, state_dict, cfg, ctx), cfg

    def step(self, batch, number: int, recurrent: bool) -> torch.Tensor:
        cfg = self.cfg
        momentum = schedule.compute_muon_momentum(
            number, start=cfg.muon_momentum_start, end=cfg.muon_momentum, warmup_steps=cfg.muon_momentum_warmup_steps
        )
        return self.reference.step(batch, momentum, recurrent)

    def label_optimizer(self) -> None:
        self.reference.optimize = with_optimizer_label(self.reference.optimize)


def with_optimizer_label(function):
    def wrapped(*arguments):
        with torch.profiler.record_function(trace.OPTIMIZER_LABEL):
            return function(*arguments)

    return wrapped


def compare(model_cfg, step_classes: dict, ctx, recurrent: bool, args) -> dict:
    """Measurements of each side, and ratio: our tokens per second over the baseline's.

    step_classes: name -> (class, train section of params.yaml).
    """
    torch._dynamo.reset()
    generator = torch.Generator().manual_seed(0)
    state_dict = GPT(model_cfg).init_weights(generator).state_dict()
    batch_tokens = step_classes["ours"][1].batch_tokens
    rows = batch_tokens // model_cfg.context_length
    ids = torch.randint(model_cfg.vocab_size, (rows, model_cfg.context_length + 1), generator=generator).to(ctx.device)
    batch = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    sides, seconds, held_bytes, peak_bytes, losses = {}, {}, {}, {}, {}
    clock = time.process_time if hardware.uses_process_time(ctx.device) else time.perf_counter
    for name, (step_class, cfg) in step_classes.items():
        bytes_before = allocated_bytes(ctx)
        sides[name] = step_class(model_cfg, state_dict, cfg, ctx)
        losses[name] = [sides[name].step(batch, number, recurrent).item() for number in range(2)]  # compiles
        held_bytes[name], seconds[name], peak_bytes[name] = allocated_bytes(ctx) - bytes_before, [], 0
    for turn in range(args.turns):
        for name, side in sides.items():
            if ctx.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(ctx.device)
            ctx.synchronize()
            start = clock()
            for number in range(args.steps):
                side.step(batch, 2 + turn * args.steps + number, recurrent)
            ctx.synchronize()
            seconds[name].append((clock() - start) / args.steps)
            other_bytes = sum(held_bytes.values()) - held_bytes[name]
            if ctx.device.type == "cuda":
                peak_bytes[name] = max(peak_bytes[name], torch.cuda.max_memory_allocated(ctx.device) - other_bytes)
    result = {name: step_stats(seconds[name], peak_bytes[name], losses[name], batch_tokens) for name in sides}
    for name, side in sides.items():
        side.label_optimizer()

        def profiled_step(side=side) -> None:
            side.step(batch, 2 + args.turns * args.steps, recurrent)
            ctx.synchronize()

        result[name]["groups_ms"] = trace.summarize(trace.profile_step(ctx.device, profiled_step))
    if "baseline" in sides:
        result["ratio"] = result["baseline"]["seconds"] / result["ours"]["seconds"]
    return result


def allocated_bytes(ctx) -> int:
    return torch.cuda.memory_allocated(ctx.device) if ctx.device.type == "cuda" else 0


def step_stats(seconds: list[float], peak_bytes: int, losses: list[float], n_tokens: int) -> dict:
    """peak_bytes: None on a CPU, where it is not measured."""
    median_s = statistics.median(seconds)
    return {
        "seconds": median_s,
        "spread": (max(seconds) - min(seconds)) / median_s,
        "tokens_per_second": n_tokens / median_s,
        "peak_bytes": peak_bytes or None,
        "first_losses": losses,
    }


def format_table(result: dict) -> str:
    lines = [
        f"{result['machine']}, torch {result['torch']}: profile {result['profile']}, "
        f"{result['batch_tokens']:,} tokens per step in micro-batches of {result['micro_batch_tokens']:,}, "
        f"baseline {result['baseline_micro_batch_tokens']:,}",
        f"{result['execution']}",
        f"peak {result['peak_flops'] / 1e12:,.1f} TFLOP/s ({result['peak_source']})",
        "",
        f"{'step':<24}{'ms':>10}{'tokens/s':>13}{'MFU':>8}{'peak GB':>9}  "
        + "".join(f"{group:>14}" for group in trace.GROUPS),
    ]
    for row in result["rows"]:
        for side in (side for side in ("baseline", "ours") if side in row):
            stats = row[side]
            gigabytes = "NOT-RUN" if stats["peak_bytes"] is None else f"{stats['peak_bytes'] / 1e9:.1f}"
            lines.append(
                f"{side + (', recurrent' if row['recurrent'] else ''):<24}{1e3 * stats['seconds']:>10,.1f}"
                f"{stats['tokens_per_second']:>13,.0f}{stats['mfu']:>8.1%}{gigabytes:>9}  "
                + "".join(f"{stats['groups_ms'][group]:>14.1f}" for group in trace.GROUPS)
            )
        if "ratio" in row:
            lines.append(f"{'ratio of tokens/s':<24}{row['ratio']:>10.2f}")
    lines.append("groups: milliseconds of one profiled step, which is slower than an unprofiled one")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
