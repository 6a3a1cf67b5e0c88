"""Keys and values of params.yaml that have new names, for hints in error messages."""

from collections.abc import Mapping

__all__ = ["RENAMED_KEYS", "RENAMED_VALUES", "explain_renames"]

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
    "train.matrix_decay": "train.muon_decay",
    "train.newton_schulz": "train.ns_steps",
    "train.coefficients": "train.ns_coefficients",
    "train.normuon": "train.normuon_beta2",
    "train.clip": "train.grad_clip",
    "train.ema_traces": "train.ema_basis_decays",
    "train.state_every_s": "train.resume_save_s",
    "ema.score_tokens": "ema.eval_batch_tokens",
    "ttt.score_tokens": "ttt.eval_batch_tokens",
    "ttt.clip": "ttt.grad_clip",
    "prequant.form": "prequant.sync",
    "prequant.floor": "prequant.min_lr_frac",
    "prequant.freeze": "prequant.freeze_blocks",
    "prequant.clip": "prequant.grad_clip",
    "calibrate.micro_tokens": "calibrate.micro_batch_tokens",
    "quantize.level": "quantize.base_step",
    "quantize.damp": "quantize.damping_frac",
    "quantize.block": "quantize.block_size",
    "compress.quality": "compress.brotli_quality",
    "evaluate.method": "evaluate.predictor",
    "evaluate.score_tokens": "evaluate.eval_batch_tokens",
    "evaluate.probe_alternatives": "evaluate.probe_alternative_tokens",
}
RENAMED_VALUES: Mapping[str, Mapping[str, str]] = {  # by the key's current name: old value -> new value
    "quantize.grid": {"row_sdclip": "row", "column": "row_column"},
    "compress.codec": {"entropy": "ans"},
    "evaluate.predictor": {"golf.method:Method": "golf.inference.predictor:GolfPredictor"},
}


def explain_renames(problems: list[str], raw: object) -> list[str]:
    """Replace the problems that old names cause by one each that gives the new name; add one for each old value.

    problems: messages that start with a dotted key, as ``golf.config.validation`` writes them. raw: the parsed file.
    """
    explained: dict[str, str] = {}  # dotted key -> the problem that replaces all others of this key
    for old_key, new_key in RENAMED_KEYS.items():
        if _has_key(raw, old_key):
            value_hint = _value_hint(raw, old_key, new_key)
            value_note = f"; its value {value_hint}" if value_hint else ""
            explained[old_key] = f"{old_key}: renamed to {new_key}{value_note}"
            if not _has_key(raw, new_key):
                explained[new_key] = ""  # "missing" would repeat the rename
    for key in RENAMED_VALUES:
        if value_hint := _value_hint(raw, key, key):
            explained[key] = f"{key}: the value {value_hint}"
    kept = [problem for problem in problems if problem.partition(":")[0] not in explained]
    return [*(problem for problem in explained.values() if problem), *kept]


def _has_key(raw: object, dotted: str) -> bool:
    section, key = dotted.split(".")
    return isinstance(raw, dict) and isinstance(raw.get(section), dict) and key in raw[section]


def _value_hint(raw: object, key: str, new_key: str) -> str:
    """``column is now row_column`` if the value of ``key`` has a new name; else empty."""
    section, name = key.split(".")
    value = raw[section][name] if isinstance(raw, dict) and _has_key(raw, key) else None
    renamed = RENAMED_VALUES.get(new_key, {})
    return f"{value} is now {renamed[value]}" if isinstance(value, str) and value in renamed else ""
