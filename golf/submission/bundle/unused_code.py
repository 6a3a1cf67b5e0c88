"""What a bundle leaves out because no step of a run with its settings uses it.

These are the optional modules of the predictor (``golf.compression.code_parts``) and those of training and quantization
below. The sources stay as they are: ``tree_shaking`` drops their imports, and what only they use.
"""

from collections.abc import Callable, Mapping
from typing import Any

from golf.compression import code_parts
from golf.compression.code_parts import RunParts
from golf.config import validation
from golf.config.model import ModelConfig

__all__ = ["OPTIONAL_CODE", "list_unused_code"]

_Settings = Mapping[str, Mapping[str, Any]]


def _has_trellis(settings: _Settings) -> bool:
    return _has_column_scales(settings) and settings["quantize"]["coding"] == "trellis"


def _has_column_scales(settings: _Settings) -> bool:
    return bool(settings["quantize"]["grid"] == "row_column")


def _uses_rate(settings: _Settings) -> bool:
    return _has_trellis(settings) or (_has_column_scales(settings) and settings["quantize"]["rate_weight"] > 0)


def _uses_ans(settings: _Settings) -> bool:
    return bool(settings["compress"]["codec"] == "ans")


def _needs_ans(settings: _Settings) -> bool:
    return _uses_ans(settings) or _uses_rate(settings)


OPTIONAL_CODE: Mapping[str, Callable[[_Settings], bool]] = {  # each with the condition under which a run uses it
    "golf.compression.ans": _needs_ans,
    "golf.compression.ans_fit": _needs_ans,
    "golf.compression.trellis": _has_trellis,
    "golf.compression.trellis_writer": _uses_ans,
    "golf.compression.trellis_writer.encode": _has_trellis,
    "golf.compression.writer.encode_ans": _uses_ans,
    "golf.compression.writer.encode_trellis": _has_trellis,
    "golf.data.sampling.document_order": lambda settings: settings["train"]["data_order"] != "shuffled",
    "golf.quantization.calibration._generate": lambda settings: settings["calibrate"]["source"] == "self",
    "golf.quantization.column_scales": _has_column_scales,
    "golf.quantization.report": _has_column_scales,
    "golf.quantization.rate_control.search_base_step": _has_column_scales,
    "golf.quantization.rate_control.select_best": _has_column_scales,
    "golf.quantization.rate_control.make_unfilled_note": _has_column_scales,
    "golf.quantization.self_generation": lambda settings: settings["calibrate"]["source"] == "self",
    "golf.quantization.solver.compute_column_scales": _has_column_scales,
    "golf.quantization.solver.quantize_with_column_scales": _has_column_scales,
    "golf.quantization.solver.quantize_with_row_scales": lambda settings: not _has_column_scales(settings),
    "golf.quantization.trellis.ColumnRounder": _uses_rate,
    "golf.quantization.trellis.RateModel": _uses_rate,
    "golf.quantization.trellis._load_kernel": _has_trellis,
    "golf.quantization.viterbi": _has_trellis,
    "golf.training.ema_nesterov": lambda settings: settings["train"]["ema_nesterov_beta"] is not None,
    "golf.training.optimizer.MuonAdamW._step_adamw_cautiously": (
        lambda settings: settings["train"]["decay_schedule"] == "cautious"
    ),
}


def list_unused_code(settings: _Settings) -> list[str]:
    """Return the modules, functions, classes and methods that a run never uses, as dotted names.

    settings: the sections of a bundle by name, which must be valid.
    """
    model, _ = validation.from_mapping(ModelConfig, settings["model"], "model")
    codecs = {"brotli"} | ({"trellis" if _has_trellis(settings) else "ans"} if _uses_ans(settings) else set())
    modules = code_parts.list_unused_modules(RunParts.from_settings(settings, model, codecs))
    names = [module.removesuffix(".py").replace("/", ".") for module in modules]
    is_used = {name: condition(settings) for name, condition in OPTIONAL_CODE.items()}
    return [name for name in {**dict.fromkeys(names), **is_used} if not is_used.get(name, False)]
