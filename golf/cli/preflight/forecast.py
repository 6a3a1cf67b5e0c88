"""The forecast of a run from params.yaml: step, budget, memory, stages, file, disk and price."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from golf.cli.preflight import size_forecast, step_work
from golf.cli.preflight.hardware import HARDWARE, Hardware, measure_cpu
from golf.config.loader import Config
from golf.config.training import TrainConfig
from golf.data.hub.manifest import KNOWN_TOTALS
from golf.distributed import device
from golf.evaluation.scoring_loop import MODES
from golf.model import flops

__all__ = ["Forecast", "compute_mfu", "count_steps", "make_forecast"]

_SHARD_TOKENS = 100_000_000  # of a train shard of the hub
_CORPUS_TOKENS: dict[str, dict[str, int]] = {  # known before fetch, by fetch.source: those of the committed run
    "docs": {"dev": 78_840, "val": 210_194},
}
_GPTQ_S_PER_WEIGHT = 2.77 / 35.9e6  # one solve on two cores, and one packing by each codec: benchmarks/README.md
_PACK_S_PER_WEIGHT = {"brotli": 65 / 35.9e6, "ans": 0.89 / 35.9e6}
_NGRAM_S_PER_TOKEN = 1e-5  # with the laptop profile's orders: 0.79 s for the 78,839 of dev
_CACHE_S_PER_STATE = 1.5e-8  # of the neural cache, for each token: 0.15 s for 2,048 with 4,096 states of 192 numbers
_N_SOLVES = 3  # of rate control, until the file fits
_RESUME_COPIES = 5  # of the weights: weights, moments and averages that runs/ keeps to resume from

_Machines = Mapping[str, tuple[Hardware, torch.dtype]]  # of each stage


@dataclass(frozen=True)
class Forecast:
    """hardware: the machine. record: every figure, the content of ``--json``; None is what can't be known before."""

    hardware: Hardware
    record: dict[str, Any]


def make_forecast(
    cfg: Config,
    hardware_name: str,
    price_per_hour: float | None = None,
    split_tokens: Mapping[str, int] | None = None,
) -> Forecast:
    """Return the forecast for a machine of ``HARDWARE``, or "cpu" for this one. It takes seconds and runs no model.

    split_tokens: of dev and val; None: those that are known before fetch.
    """
    if hardware_name == "cpu":
        dtype, _ = device.resolve_dtype(cfg.train.dtype, torch.device("cpu"))
        hardware = measure_cpu(dtype)
    else:
        dtype, hardware = torch.float32 if cfg.train.dtype == "float32" else torch.bfloat16, HARDWARE[hardware_name]
    shapes = step_work.count_parameters(cfg.model)
    works = {
        recurrent: step_work.plan_step(cfg.model, cfg.train, hardware, dtype, recurrent=recurrent)
        for recurrent in ((False, True) if cfg.model.recur_passes > 1 else (False,))
    }
    step_s = [step_work.predict_step_s(work, hardware) for work in works.values()]
    steps, train_s = count_steps(cfg.train, step_s[0], step_s[-1])
    memory = step_work.predict_memory(cfg.model, cfg.train, hardware, list(works.values())[-1])
    size = size_forecast.predict_size(shapes, cfg.quantize, cfg.compress)
    tokens = _find_split_tokens(cfg) if split_tokens is None else split_tokens
    machines = _measure_stages(cfg, hardware, dtype)
    modes = _predict_modes(cfg, machines, tokens.get("val"))
    stages = _predict_stages(cfg, machines, (steps, train_s), shapes, tokens.get("dev"), modes)
    known_s = sum(row["seconds"] for row in stages.values() if row["seconds"] is not None)
    n_parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    artifact_bytes = size.payload_bytes + cfg.compress.code_reserve_bytes
    record = {
        "hardware": hardware.name,
        "devices": hardware.n_devices,
        "calibration": hardware.source,
        "profile": cfg.profile,
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": n_parameters,
        "train_ranks": cfg.train.ranks,
        "step": {
            "ms": round(1e3 * step_s[0], 2),
            "ms_recurrent": round(1e3 * step_s[-1], 2) if len(step_s) > 1 else None,
            "flop": works[False].flop,
            "flop_recurrent": works[True].flop if True in works else None,
            "moved_bytes": round(works[False].moved_bytes),
            "moved_bytes_recurrent": round(works[True].moved_bytes) if True in works else None,
        },
        "steps": steps,
        "tokens": steps * cfg.train.batch_tokens,
        "memory_bytes": {name: round(size) for name, size in memory.items()} | {"total": round(sum(memory.values()))},
        "device_memory_bytes": None if hardware.memory_bytes is None else round(hardware.memory_bytes),
        "stages": stages,
        "mode_seconds": {name: None if seconds is None else round(seconds, 2) for name, seconds in modes.items()},
        "payload_bytes": size.payload_bytes,
        "code_bytes": cfg.compress.code_reserve_bytes,
        "artifact_bytes": artifact_bytes,
        "limit_bytes": cfg.compress.limit_bytes,
        "bits_per_weight": round(size.code_bits, 3),
        "size_reason": size.reason,
        "disk_bytes": _predict_disk(cfg, n_parameters, steps),
        "download_bytes": _predict_download(cfg),
        "known_seconds": round(known_s, 1),
        "unknown_stages": [name for name, row in stages.items() if row["seconds"] is None],
        "price_per_hour": price_per_hour,
        "price": None if price_per_hour is None else round(known_s / 3600 * price_per_hour, 2),
    }
    return Forecast(hardware, record)


def count_steps(cfg: TrainConfig, step_s: float, recurrent_step_s: float) -> tuple[int, float]:
    """Return the steps and seconds of training, which ends at its steps or at its limit, whichever comes first.

    A share ``recurrence_from`` of the run has steps of ``step_s``, the rest of ``recurrent_step_s``.
    """
    share = cfg.recurrence_from
    by_steps = None if cfg.steps is None else cfg.steps * (share * step_s + (1 - share) * recurrent_step_s)
    if cfg.limit_s is None:
        assert cfg.steps is not None
        assert by_steps is not None
        return cfg.steps, by_steps
    budget_s = cfg.limit_s - cfg.reserve_s
    if by_steps is not None and cfg.steps is not None and by_steps <= budget_s:
        return cfg.steps, by_steps
    return int(budget_s * (share / step_s + (1 - share) / recurrent_step_s)), budget_s


def _find_split_tokens(cfg: Config) -> Mapping[str, int]:
    """Tokens of dev and val where they are known before fetch."""
    if cfg.fetch.source == "hub":
        dev_tokens = round(cfg.fetch.dev_percent / 100 * cfg.hub.train_shards * _SHARD_TOKENS)
        totals = KNOWN_TOTALS.get(cfg.hub.variant)
        return {"dev": dev_tokens} if totals is None else {"dev": dev_tokens, "val": totals.n_targets}
    return _CORPUS_TOKENS.get(cfg.fetch.source, {})


def _measure_stages(cfg: Config, hardware: Hardware, dtype: torch.dtype) -> _Machines:
    """The machine and the type in which each stage but train computes. dtype: train's, and that of dtype: auto."""
    machines = {dtype: hardware}
    machine_by_stage = {}
    for stage in ("ema", "ttt", "calibrate", "evaluate"):
        name = getattr(cfg, stage).dtype
        stage_dtype = dtype if name == "auto" else getattr(torch, name)
        if stage_dtype not in machines:
            machines[stage_dtype] = hardware if hardware.is_gpu else measure_cpu(stage_dtype)
        machine_by_stage[stage] = machines[stage_dtype], stage_dtype
    return machine_by_stage


def _predict_forward_s(cfg: Config, machines: _Machines, stage: str) -> float:
    """Seconds of the forward pass of one token in a stage on all devices together."""
    (hardware, dtype), stage_cfg = machines[stage], getattr(cfg, stage)
    recurrent = cfg.model.recur_passes > 1
    kept = step_work.measure_kept_bytes(cfg.model, dtype, recurrent=recurrent)
    is_compiled = stage_cfg.compile != "off" and (hardware.is_gpu or stage_cfg.compile == "on")
    one = step_work.predict_forward_s(cfg.model, hardware, kept, recurrent=recurrent, is_compiled=is_compiled)
    return one / hardware.n_devices


def _count_ttt_passes(cfg: Config) -> float:
    """Work of the ttt mode over that of the sliding mode, in forward passes; method none does not learn."""
    epochs = cfg.ttt.epochs if cfg.ttt.method != "none" else 0
    return 1 + 3 * epochs * cfg.ttt.stride / cfg.model.context_length


def _estimate_memory_s_per_token(cfg: Config) -> float:
    """Seconds of a CPU, on which the n-gram memory and the neural cache compute whatever the model runs on."""
    ngram_s = _NGRAM_S_PER_TOKEN if cfg.memory.orders else 0.0
    return ngram_s + _CACHE_S_PER_STATE * (cfg.memory.cache_tokens or 0)


def _predict_modes(cfg: Config, machines: _Machines, val_tokens: int | None) -> dict[str, float | None]:
    """Seconds of each scoring mode over val, without proof; None where val's tokens are known only after fetch."""
    if val_tokens is None:
        return dict.fromkeys(MODES)
    plain_s = val_tokens * _predict_forward_s(cfg, machines, "evaluate")
    sliding_s = plain_s * cfg.model.context_length / cfg.evaluate.stride
    learning_s = val_tokens / cfg.ttt.batch_tokens * cfg.ttt.epochs * machines["evaluate"][0].fixed_s
    ttt_s = sliding_s * _count_ttt_passes(cfg) + learning_s + _estimate_memory_s_per_token(cfg) * val_tokens
    return {"plain": plain_s, "sliding": sliding_s, "ttt": ttt_s}


def _predict_stages(
    cfg: Config,
    machines: _Machines,
    training: tuple[int, float],
    shapes: dict[str, tuple[int, ...]],
    dev_tokens: int | None,
    modes: Mapping[str, float | None],
) -> dict[str, dict[str, Any]]:
    """Seconds of each stage, its limit, and where the seconds are None the reason.

    training: its steps and seconds. modes: seconds of each scoring mode.
    """
    (steps, train_s), hardware = training, machines["calibrate"][0]

    def forward_s(stage: str) -> float:
        return _predict_forward_s(cfg, machines, stage)

    checkpoints = _count_checkpoints(cfg, steps)
    n_weights = sum(torch.Size(shape).numel() for shape in shapes.values() if len(shape) == 2)
    n_solves = _N_SOLVES if cfg.quantize.grid == "row_column" and cfg.quantize.base_step is None else 1
    pack_s = n_weights * _PACK_S_PER_WEIGHT[cfg.compress.codec]
    calibrate_tokens = cfg.calibrate.batches * cfg.calibrate.batch_tokens + 2 * cfg.calibrate.sensitivity_tokens
    hessian_flop = 2 * sum(shape[1] ** 2 for shape in shapes.values() if len(shape) == 2)
    hessian_s = hessian_flop / (hardware.matmul_frac * hardware.peak_flops) / hardware.n_devices
    headline_s = modes[cfg.evaluate.headline]
    other_s = [seconds for name, seconds in modes.items() if name != cfg.evaluate.headline and seconds is not None]
    reasons = _explain_unknown(cfg, is_dev_known=dev_tokens is not None, is_val_known=headline_s is not None)
    ema_s = ttt_s = None
    if dev_tokens is not None:
        windows = cfg.model.context_length / cfg.ttt.stride
        ema_s = (2 + checkpoints) * dev_tokens * forward_s("ema")
        ttt_s = dev_tokens * (
            forward_s("ttt") * windows * (1 + _count_ttt_passes(cfg)) + _estimate_memory_s_per_token(cfg)
        )
    rows: dict[str, tuple[float | None, float | None]] = {
        "fetch": (None, None),
        "train": (train_s, cfg.train.limit_s),
        "ema": (ema_s, None),
        "ttt": (ttt_s, None),
        "calibrate": (calibrate_tokens * (forward_s("calibrate") + hessian_s), cfg.train.reserve_s),
        "quantize": (n_solves * (n_weights * _GPTQ_S_PER_WEIGHT + pack_s), None),
        "compress": (pack_s, None),
        "evaluate, headline": (headline_s, cfg.evaluate.limit_s),
        "evaluate, other modes": (None if headline_s is None else sum(other_s), None),
        "evaluate, proof": (None, None),
    }
    if cfg.evaluate.proof_places is None:
        del rows["evaluate, proof"]
    return {
        name: {
            "seconds": None if seconds is None or name in reasons else round(seconds, 2),
            "limit_seconds": limit,
            "reason": reasons.get(name),
        }
        for name, (seconds, limit) in rows.items()
    }


def _explain_unknown(cfg: Config, *, is_dev_known: bool, is_val_known: bool) -> dict[str, str]:
    """Why a stage has no forecast, for each that has none. is_dev_known, is_val_known: whether their tokens are."""
    is_download = cfg.fetch.source == "hub"
    reasons = {
        "fetch": "depends on the network" if is_download else "reading and tokenizing texts has no forecast",
        "evaluate, proof": "evaluate.proof_places has no forecast",
    }
    if not is_dev_known:
        reasons |= dict.fromkeys(("ema", "ttt"), "dev's tokens are known only after fetch")
    if cfg.ttt.stream != "dev":
        reasons["ttt"] = f"ttt.stream: {cfg.ttt.stream} has no forecast"
    if cfg.ttt.method != "score_first":
        reasons["ttt"] = f"ttt.method: {cfg.ttt.method} has no forecast"
    if cfg.calibrate.source != "train":
        reasons["calibrate"] = f"calibrate.source: {cfg.calibrate.source} has no forecast"
    if cfg.quantize.refine_steps:
        reasons["quantize"] = f"quantize.refine_steps: {cfg.quantize.refine_steps} has no forecast"
    if not is_val_known:
        names = ("evaluate, headline", "evaluate, other modes")
        reasons |= dict.fromkeys(names, "val's tokens are known only after fetch")
    return reasons


def _count_checkpoints(cfg: Config, steps: int) -> int:
    return steps // cfg.train.checkpoint_every if cfg.train.checkpoint_every else 0


def _predict_disk(cfg: Config, n_parameters: int, steps: int) -> int:
    """Bytes of the outputs of train, ema and ttt, of the state to resume from, and of the shards of the hub."""
    averages = len(cfg.train.ema_decays) + 2 * min(cfg.train.ema_snapshots, 1 + steps // cfg.train.ema_snapshot_every)
    copies = 1 + _count_checkpoints(cfg, steps) + averages + 2 + _RESUME_COPIES * cfg.train.resume
    return 4 * n_parameters * copies + _predict_download(cfg)


def _predict_download(cfg: Config) -> int:
    """Bytes of the shards that fetch downloads, two bytes a token; 0 for texts that are already here."""
    if cfg.fetch.source != "hub":
        return 0
    val_tokens = KNOWN_TOTALS.get(cfg.hub.variant, KNOWN_TOTALS["sp8192"]).n_targets
    return 2 * (cfg.hub.train_shards * _SHARD_TOKENS + val_tokens)


def compute_mfu(forecast: Forecast, cfg: Config) -> float:
    """Return the MFU of a step with recurrence, or without where there is none."""
    step = forecast.record["step"]
    seconds = (step["ms_recurrent"] or step["ms"]) / 1e3
    return flops.mfu(
        cfg.model,
        recurrent=step["ms_recurrent"] is not None,
        tokens_per_second=cfg.train.batch_tokens / seconds,
        peak_flops_per_s=forecast.hardware.peak_flops * forecast.hardware.n_devices,
    )
