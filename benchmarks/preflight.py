"""Compare golf preflight's forecast of a training step with a measured one. ``python benchmarks/preflight.py --help``

The forecast is made for this CPU; then whole steps of the profile's batch are timed, without and with recurrence, as
the training loop takes them with its averages. The ratio of each pair is printed, and --json keeps the figures. Nothing
else may run on the machine.
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import torch

from golf.artifacts import io
from golf.cli.preflight import forecast
from golf.config import loader
from golf.distributed import device
from golf.model.attention_backends import resolve_attention
from golf.model.gpt import GPT
from golf.training.ema import EMATracker
from golf.training.optimizer import MuonAdamW
from golf.training.step import make_loss_fn, train_step


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, default=Path("params.yaml"), help="a configuration (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps, of which the median counts (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(argv)
    cfg = loader.load_config(args.profile)
    predicted = forecast.make_forecast(cfg, "cpu").record["step"]
    rows = []
    for recurrent in (False, True) if cfg.model.recur_passes > 1 else (False,):
        predicted_ms = predicted["ms_recurrent" if recurrent else "ms"]
        measured_ms = 1e3 * measure_step(cfg, args.steps, recurrent)
        rows.append({"recurrent": recurrent, "predicted_ms": predicted_ms, "measured_ms": measured_ms})
        ratio = predicted_ms / measured_ms
        print(
            f"recurrent {recurrent}: predicted {predicted_ms:.1f} ms, measured {measured_ms:.1f} ms, ratio {ratio:.2f}"
        )
    if args.json:
        io.write_json(args.json, {"profile": cfg.profile, "threads": torch.get_num_threads(), "rows": rows})


def measure_step(cfg: loader.Config, n_steps: int, recurrent: bool) -> float:
    """Median seconds of a step on random tokens, after one that compiles."""
    train_cfg = dataclasses.replace(cfg.train, ranks=1, device="cpu")
    ctx = device.init_context(train_cfg, "train", resolve_attention)
    generator = torch.Generator().manual_seed(0)
    model = GPT(cfg.model, ctx.attention).init_weights(generator)
    loss_fn, optimizer = ctx.maybe_compile(make_loss_fn(model, ctx)), MuonAdamW(model, train_cfg, ctx)
    weights = dict(model.named_parameters())
    ema = EMATracker(weights, train_cfg.ema_decays, train_cfg.ema_basis_decays, 0, train_cfg.ema_snapshot_every)
    rows = train_cfg.batch_tokens // cfg.model.context_length
    seconds = []
    for number in range(n_steps + 1):
        tokens = torch.randint(cfg.model.vocab_size, (rows, cfg.model.context_length + 1), generator=generator)
        begin = time.perf_counter()
        batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        loss, _ = train_step(model, loss_fn, batch, optimizer, number, 1.0, recurrent, ctx)
        ema.update()
        loss.item()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
