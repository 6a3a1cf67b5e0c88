"""The script of a bundle: train, average, calibrate, quantize, compress and score in one process, without DVC.

It calls what the stages call, in their order and with their settings, so that a run of fixed steps on a CPU gives the
same tensors, codes and scores, bit for bit. It writes no lineage, resumes nothing and fences nothing: the verdict needs
the pipeline. ``packing`` makes a file of it and of what it imports.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from golf.compression import size_budget, stored_weights_writer, writer
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config import validation
from golf.config.model import ModelConfig
from golf.config.ttt_methods import has_adapters, has_phases
from golf.data.loader import TokenLoader, make_fixed_windows
from golf.distributed import device
from golf.distributed.context import DistContext
from golf.errors import ConfigError, GolfError
from golf.evaluation import scoring_loop
from golf.evaluation.chunks import get_chunk_tokens
from golf.evaluation.timer import EvalTimer
from golf.inference.predictor import GolfPredictor
from golf.model import attention_backends, checkpoint
from golf.model.gpt import GPT
from golf.pipeline import timing
from golf.quantization import calibration, codes_io, hessians, rate_control
from golf.quantization.trellis import Coding
from golf.submission.bundle import log_format, shards
from golf.submission.bundle.shards import BundleData
from golf.training import ema, loop, time_budget
from golf.training.result import TrainResult

__all__ = ["main"]

_MODEL_FILE = "model.golf"
_QUANTIZE_TIMEOUT = timedelta(hours=6)  # that the other ranks wait while the first one quantizes
_DESCRIPTION = "Train, compress and score a model of text within the size limit."


def main(settings_json: str) -> None:
    """Run with the settings in this JSON, sections by name; exit with 1 after one message if the user can mend it."""
    sections = json.loads(settings_json)
    args = _parse_args(sections)
    sections["train"]["seed"] = args.seed
    cfg = SimpleNamespace(**{name: SimpleNamespace(**_freeze(keys)) for name, keys in sections.items()})
    cfg.model, _ = validation.from_mapping(ModelConfig, sections["model"], "model")
    cfg.ttt.phased = cfg.phased if has_phases(cfg.ttt.method) else None
    cfg.ttt.lora = cfg.lora if has_adapters(cfg.ttt.method, cfg.phased.lora_lr) else None
    try:
        _run(cfg, sections, args)
    except (GolfError, OSError) as error:
        print(f"train_gpt.py: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _freeze(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with tuples for lists, as golf's sections have them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()}


def _parse_args(sections: Mapping[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train_gpt.py", description=_DESCRIPTION)
    for name, variable, default, meaning in (
        ("data", "DATA_PATH", "data/datasets", "folder of the token shards"),
        ("tokenizer", "TOKENIZER_PATH", "data/tokenizer.model", "SentencePiece model"),
        ("out", "OUT_DIR", ".", "folder for the model, the log and the scores"),
    ):
        value = os.environ.get(variable, default)
        parser.add_argument(f"--{name}", default=value, help=f"{meaning}; also ${variable} ({value})")
    seed = os.environ.get("SEED", str(sections["train"]["seed"]))
    parser.add_argument("--seed", type=int, default=seed, help=f"also $SEED ({seed})")
    modes, headline = scoring_loop.MODES, sections["evaluate"]["headline"]
    parser.add_argument("--modes", nargs="+", choices=modes, default=[headline], help=f"scoring modes ({headline})")
    return parser.parse_args()


class _Log:
    """Prints lines and writes them into the log of the seed; on rank 0 alone."""

    def __init__(self, path: Path, is_main: bool) -> None:
        self._path, self._is_main = path, is_main
        if is_main:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", encoding="utf-8")

    def __call__(self, *lines: str) -> None:
        if self._is_main:
            print(*lines, sep="\n", flush=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)


def _run(cfg: SimpleNamespace, sections: Mapping[str, Any], args: argparse.Namespace) -> None:
    out = Path(args.out)
    payload_path = out / _MODEL_FILE
    ctx = _open_context(cfg, "train")
    data = shards.open_data(args.data, args.tokenizer, cfg.model, cfg.train.dev_tokens)
    log = _Log(out / f"train_seed{args.seed}.log", ctx.is_main)
    log(*log_format.format_settings(sections, args.seed))
    result = _train(cfg, data, ctx, log)
    weights = _average(cfg, result, ctx)
    hessian_by_input, sensitivity_by_name = _calibrate(cfg, data, weights, result, log)
    if ctx.is_main:
        if ctx.world_size > 1:
            torch.set_num_threads(os.cpu_count() or 1)  # the other ranks wait; torchrun gives each one thread
        payload = _quantize(cfg, weights, hessian_by_input, sensitivity_by_name)
        code_bytes = os.path.getsize(sys.argv[0])
        log(*log_format.format_sizes(len(payload), code_bytes))
        if cfg.compress.count == "bundle":
            limits = cfg.compress.limit_bytes, cfg.compress.code_reserve_bytes
            size_budget.require_within_limit(len(payload), code_bytes, *limits)
        payload_path.write_bytes(payload)
    if ctx.world_size > 1:  # the collectives' own time limit is shorter than quantization
        dist.barrier(group=dist.new_group(backend="gloo", timeout=_QUANTIZE_TIMEOUT))
    del result, weights, hessian_by_input, sensitivity_by_name
    _evaluate(cfg, data, payload_path, args.modes, log)


def _open_context(cfg: SimpleNamespace, section: str) -> DistContext:
    settings = getattr(cfg, section)
    ctx = device.init_context(settings, section, attention_backends.resolve_attention)
    if ctx.world_size != settings.ranks:
        command = f"torchrun --standalone --nproc_per_node={settings.ranks} train_gpt.py"
        raise ConfigError(f"{section}.ranks: {settings.ranks}, but {ctx.world_size} started; run: {command}")
    return ctx


def _train(cfg: SimpleNamespace, data: BundleData, ctx: DistContext, log: _Log) -> TrainResult:
    train_cfg, context_length, seed = cfg.train, cfg.model.context_length, cfg.train.seed
    dev_windows = make_fixed_windows(data.dev, context_length, train_cfg.dev_tokens)
    model = GPT(cfg.model, ctx.attention).init_weights(torch.Generator().manual_seed(seed)).to(ctx.device)
    log(
        *log_format.format_data(
            world_size=ctx.world_size,
            hardware=timing.describe_hardware(ctx),
            n_params=sum(parameter.numel() for parameter in model.parameters()),
            train_shards=len(data.train.shards),
            n_targets=data.val.n_targets,
            is_export=data.is_export,
        )
    )
    order: dict[str, Any] = {"seed": seed, "rank": ctx.rank, "world_size": ctx.world_size, "device": ctx.device}
    order["data_order"] = train_cfg.data_order
    rows = train_cfg.batch_tokens // context_length
    with TokenLoader(data.train, context_length=context_length, rows=rows, **order) as batches:
        result = loop.train(
            model, batches, train_cfg, ctx, dev_windows=dev_windows, save_checkpoint=lambda step, recurrent: None
        )
    log(*log_format.format_steps(result.log, result.dev_log, result.steps))
    return result


def _average(cfg: SimpleNamespace, result: TrainResult, ctx: DistContext) -> dict[str, torch.Tensor]:
    """The averaged weights by name, in alphabetical order as a file has them; rank 0 has the snapshots."""
    tracker, decay = result.ema, cfg.ema.decay
    if decay in tracker.decays:
        weights = tracker.copy_average(decay)
    elif ctx.is_main:
        posthoc = ema.require_posthoc(decay, tracker.basis_decays, sorted(tracker.snapshots), tracker.steps)
        weights = ema.combine_snapshots(posthoc, lambda basis_decay, step: tracker.snapshots[step][basis_decay])
    else:
        weights = {name: torch.empty_like(weight, device="cpu") for name, weight in tracker.weights.items()}
    ctx.synchronize()
    if ctx.world_size > 1:
        for name in sorted(weights):
            dist.broadcast(weights[name], 0)
    weights = ema.blend_with_last(weights, _to_cpu(tracker.weights), cfg.ema.share)
    return {name: weights[name] for name in sorted(weights)}


def _calibrate(
    cfg: SimpleNamespace, data: BundleData, weights: dict[str, torch.Tensor], result: TrainResult, log: _Log
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the Hessians by input and the sensitivities by tensor, on the CPU."""
    ctx = _open_context(cfg, "calibrate")
    measured = calibration.calibrate(
        checkpoint.build_model(cfg.model, weights, ctx),
        hessians.map_quantized_inputs(weights, cfg.quantize.min_weights),
        cfg.calibrate,
        ctx,
        seed=cfg.train.seed + hessians.SEED_OFFSET,
        open_train=lambda: data.train,
        time_left_s=time_budget.subtract_used(cfg.train.limit_s, round(result.seconds, 3)),
    )
    log(
        *log_format.format_training_end(
            seconds=result.seconds,
            n_steps=result.steps,
            n_hessians=len(measured.hessian_by_input),
            calibration_s=measured.seconds,
            has_stopped_early=result.steps != cfg.train.steps,
        )
    )
    return _to_cpu(measured.hessian_by_input), _to_cpu(measured.sensitivity_by_name)


def _quantize(
    cfg: SimpleNamespace,
    weights: dict[str, torch.Tensor],
    hessian_by_input: dict[str, torch.Tensor],
    sensitivity_by_name: dict[str, torch.Tensor],
) -> bytes:
    """Return the bytes of the .golf file."""
    inputs = hessians.map_quantized_inputs(weights, cfg.quantize.min_weights)
    small_tensors = {name: tensor for name, tensor in weights.items() if name not in inputs}
    rotated = stored_weights_writer.rotate_inputs(weights, hessian_by_input, inputs, cfg.quantize.rotate)
    weights, hessian_by_input, stored_rotation = rotated

    def pack(quantized: dict[str, QuantizedTensor]) -> bytes:
        return writer.pack(
            codes_io.to_storage(quantized, small_tensors | stored_rotation)
            | stored_weights_writer.fit_repairs(weights, quantized, cfg.quantize.lqer, cfg.quantize.lqer_tensors),
            cfg.model,
            upstream_splits=("train",),
            codec=cfg.compress.codec,
            brotli_quality=cfg.compress.brotli_quality,
            trellis_states=Coding.from_config(cfg.quantize).trellis_states,
        )

    quantized, _ = rate_control.quantize_to_budget(
        weights,
        hessian_by_input,
        inputs,
        cfg.quantize,
        sensitivity_by_name,
        size_fn=lambda candidate: len(pack(candidate)),
        max_bytes=cfg.compress.limit_bytes - cfg.compress.code_reserve_bytes,
    )
    return pack(quantized)


def _evaluate(cfg: SimpleNamespace, data: BundleData, payload_path: Path, modes: list[str], log: _Log) -> None:
    """Score val in each mode by a predictor newly opened from the file, the headline first."""
    timer, headline = EvalTimer(limit_s=cfg.evaluate.limit_s), cfg.evaluate.headline
    ctx = _open_context(cfg, "evaluate")
    for mode in sorted(modes, key=lambda mode: mode != headline):
        predictor = GolfPredictor.open(str(payload_path), ctx, eval_batch_tokens=cfg.evaluate.eval_batch_tokens)
        result = scoring_loop.evaluate_mode(
            predictor,
            data.val,
            mode,
            ttt_cfg=cfg.ttt,
            memory_cfg=cfg.memory,
            stride=cfg.evaluate.stride,
            context_length=cfg.model.context_length,
            chunk_tokens=get_chunk_tokens(mode, headline, cfg.ttt.chunk_tokens),
            order=cfg.evaluate.order,
            quiet=not ctx.is_main,
            stage="evaluate",
            timer=timer if mode == headline else None,
        )
        score, is_headline = result.score, mode == headline
        log(log_format.format_score(mode, score.loss, score.bpb, result.finished_s, is_headline=is_headline))
        if ctx.is_main:
            columns = vars(result.ledger.to_data())
            np.savez(payload_path.with_name(f"ledger_{mode}.npz"), **columns)


def _to_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensors[name].cpu() for name in sorted(tensors)}
