"""Names that have changed, for hints in error messages: keys and values of params.yaml, and environment variables."""

import os
from collections.abc import Mapping

from golf.errors import ConfigError

__all__ = ["RENAMED_KEYS", "explain_renames", "refuse_renamed_env_vars"]

RENAMED_KEYS: Mapping[str, str] = {
    "model.vocabulary": "model.vocab_size",
    "model.layers": "model.n_layers",
    "model.width": "model.d_model",
    "model.heads": "model.n_heads",
    "model.kv_heads": "model.n_kv_heads",
    "model.mlp_width": "model.d_ff",
    "model.context": "model.context_length",
    "model.loop_start": "model.recur_start",
    "model.loop_end": "model.recur_end",
    "model.loop_passes": "model.recur_passes",
    "model.parallel_from": "model.parallel_residual_from",
    "model.document_bos": "model.doc_mask_bos_id",
    "train.micro_tokens": "train.micro_batch_tokens",
    "train.loop_at": "train.recurrence_from",
    "train.warmdown": "train.warmdown_frac",
    "train.lr_floor": "train.min_lr_frac",
    "train.matrix_lr": "train.muon_lr",
    "train.matrix_decay": "train.muon_weight_decay",
    "train.embed_decay": "train.embed_weight_decay",
    "train.scalar_decay": "train.scalar_weight_decay",
    "train.momentum": "train.muon_momentum",
    "train.momentum_start": "train.muon_momentum_start",
    "train.momentum_steps": "train.muon_momentum_warmup_steps",
    "train.newton_schulz": "train.ns_steps",
    "train.coefficients": "train.ns_coefficients",
    "train.normuon": "train.normuon_beta2",
    "train.clip": "train.grad_clip",
    "train.warmup_steps": "train.compile_warmup_steps",
    "train.ema_traces": "train.ema_basis_decays",
    "train.state_every_s": "train.resume_save_s",
    "ema.score_tokens": "ema.eval_batch_tokens",
    "ttt.score_tokens": "ttt.eval_batch_tokens",
    "ttt.clip": "ttt.grad_clip",
    "memory.window": "memory.max_successors",
    "memory.decay": "memory.recency_exponent",
    "prequant.form": "prequant.sync",
    "prequant.floor": "prequant.min_lr_frac",
    "prequant.freeze": "prequant.freeze_blocks",
    "prequant.clip": "prequant.grad_clip",
    "prequant.ema": "prequant.ema_decay",
    "calibrate.micro_tokens": "calibrate.micro_batch_tokens",
    "quantize.level": "quantize.base_step",
    "quantize.damp": "quantize.damping_frac",
    "quantize.block": "quantize.block_size",
    "compress.quality": "compress.brotli_quality",
    "evaluate.method": "evaluate.predictor",
    "evaluate.score_tokens": "evaluate.eval_batch_tokens",
    "evaluate.probe_alternatives": "evaluate.proof_places",
    "evaluate.probe_alternative_tokens": "evaluate.proof_places",
}
_RENAMED_VALUES: Mapping[str, Mapping[str, str]] = {  # by the key's current name: old value -> new value
    "quantize.grid": {"row_sdclip": "row", "column": "row_column"},
    "compress.codec": {"entropy": "ans"},
    "evaluate.predictor": {"golf.method:Method": "golf.inference.predictor:GolfPredictor"},
}
_RENAMED_ENV_VARS: Mapping[str, str] = {"GOLF_RUNS": "GOLF_RESUME_DIR", "GOLF_SECRET": "GOLF_PROBE_SEED"}


def refuse_renamed_env_vars() -> None:
    """Raise ConfigError for environment variables that are set under an old name, which nothing reads."""
    problems = [f"{old}: renamed to {new}" for old, new in _RENAMED_ENV_VARS.items() if old in os.environ]
    if problems:
        raise ConfigError(f"{'; '.join(problems)}; set the new name and unset the old one")


def explain_renames(problems: list[str], raw: object) -> list[str]:
    """Replace the problems that old names cause by one each that gives the new name; add one for each old value.

    problems: messages that start with a dotted key, as ``golf.config.validation`` writes them. raw: the parsed file.
    """
    explained: dict[str, str] = {}  # dotted key -> the problem that replaces all others of this key
    for old_key, new_key in RENAMED_KEYS.items():
        if _has_key(raw, old_key):
            value_hint = _make_value_hint(raw, old_key, new_key)
            value_note = f"; its value {value_hint}" if value_hint else ""
            explained[old_key] = f"{old_key}: renamed to {new_key}{value_note}"
            if not _has_key(raw, new_key):
                explained[new_key] = ""  # "missing" would repeat the rename
    for key in _RENAMED_VALUES:
        if value_hint := _make_value_hint(raw, key, key):
            explained[key] = f"{key}: the value {value_hint}"
    kept = [problem for problem in problems if problem.partition(":")[0] not in explained]
    return [*(problem for problem in explained.values() if problem), *kept]


def _has_key(raw: object, dotted: str) -> bool:
    section, key = dotted.split(".")
    return isinstance(raw, dict) and isinstance(raw.get(section), dict) and key in raw[section]


def _make_value_hint(raw: object, key: str, new_key: str) -> str:
    """``column is now row_column`` if the value of ``key`` has a new name; else empty."""
    section, name = key.split(".")
    value = raw[section][name] if isinstance(raw, dict) and _has_key(raw, key) else None
    renamed = _RENAMED_VALUES.get(new_key, {})
    return f"{value} is now {renamed[value]}" if isinstance(value, str) and value in renamed else ""
