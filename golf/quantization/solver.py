"""Quantize a whole model with GPTQ, batching the matrices that can be solved together.

Tensors that read the same input share a Hessian and are stacked row on row; stacks of one size are solved in one batch.
Each Hessian is factored once, so codes for another base step cost one more recursion and no factorization.
"""

# N stacks of a batch, O output features of a stack, I input features

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from golf.compression.quantized_tensor import QuantizedTensor
from golf.config.sections import QuantizeConfig
from golf.errors import DivergenceError
from golf.quantization import param_kinds, row_scales
from golf.quantization.column_scales import ColumnScales, StepTooSmallError
from golf.quantization.gptq import HessianFactor, NotPositiveDefiniteError, factorize, gptq
from golf.quantization.trellis import ROUND_TO_NEAREST, Coding, ColumnRounder, RateModel

__all__ = [
    "MAX_BATCH_ELEMENTS",
    "SolveBatch",
    "build_batches",
    "compute_column_scales",
    "quantize_model",
    "quantize_with_column_scales",
    "quantize_with_row_scales",
    "to_int_codes",
]

MAX_BATCH_ELEMENTS = 1 << 24  # of weights and Hessians in a batch; a larger one costs memory and saves no time
_MAX_CODE = 2**31 - 128  # the largest int32 that is also a float32
_MAX_TRELLIS_CODE = 2**24  # float32 holds no odd number beyond it
_CODE_DTYPES = (torch.int8, torch.int16, torch.int32)
_Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class SolveBatch:
    """Stacks of one size and kind. members: (input name, the tensors that read it, in the order of the stack)."""

    members: list[tuple[str, list[str]]]
    kind: param_kinds.ParamKind
    factor: HessianFactor


def quantize_model(
    weights: _Tensors, hessians: _Tensors, inputs: dict[str, str], cfg: QuantizeConfig, sensitivity: _Tensors
) -> dict[str, QuantizedTensor]:
    """Quantize every tensor named in ``inputs`` on the grid ``cfg.grid``, in the order of ``weights``.

    weights: w fp32 [O, I] by tensor name. hessians: H [I, I] by input name. inputs: from tensor name to input name.
    sensitivity: fp32 [O] by tensor name (``golf.quantization.sensitivity``); the row grid does not read it.
    Raises DivergenceError, naming the tensor, for weights that are not finite, a scale beyond fp16 or a Hessian that
    cannot be factored; StepTooSmallError for codes beyond int32.
    """
    batches = build_batches(weights, hessians, inputs, cfg.damping_frac)
    if cfg.grid == "row":
        return quantize_with_row_scales(batches, weights, cfg)
    if cfg.base_step is None:
        raise ValueError("cfg.base_step is None: rate_control.quantize_to_budget finds one")
    column_scales = compute_column_scales(batches, weights, sensitivity)
    return quantize_with_column_scales(
        batches, weights, column_scales, cfg.base_step, cfg.block_size, Coding.from_config(cfg)
    )


def quantize_with_row_scales(
    batches: list[SolveBatch], weights: _Tensors, cfg: QuantizeConfig
) -> dict[str, QuantizedTensor]:
    """Quantize on the record's grid: one SDClip scale per row, codes of few bits, clipped."""
    quantized: dict[str, QuantizedTensor] = {}
    for batch in batches:
        is_embed = batch.kind == "embed"
        bits, clip = (cfg.embed_bits, cfg.embed_clip) if is_embed else (cfg.matrix_bits, cfg.matrix_clip)
        scales = {
            name: _compute_sdclip_scales(name, weights[name], clip, bits)
            for _, names in batch.members
            for name in names
        }
        codes = _solve_batch(
            batch, weights, scales, None, block_size=cfg.block_size, max_code=row_scales.compute_max_code(bits)
        )
        quantized |= {name: QuantizedTensor(codes[name].to(torch.int8), scales[name]) for name in codes}
    return {name: quantized[name] for name in weights if name in quantized}


def quantize_with_column_scales(
    batches: list[SolveBatch],
    weights: _Tensors,
    column_scales: ColumnScales,
    base_step: float,
    block_size: int,
    coding: Coding = ROUND_TO_NEAREST,
) -> dict[str, QuantizedTensor]:
    """Quantize on the row_column grid at ``base_step``: scales by sensitivity, by row and by column; no clipping.

    base_step is the distance between levels that may follow each other, on a trellis two steps. Rates are counted under
    the coder's tables for the codes by round-to-nearest, so that codes depend on ``base_step`` alone.
    """
    quantized: dict[str, QuantizedTensor] = {}
    unit_step = base_step / coding.spacing
    for batch in batches:
        batch_names = [name for _, names in batch.members for name in names]
        scales = {name: column_scales.compute_row_scales(name, unit_step) for name in batch_names}
        importances = {name: column_scales.compute_importance(name, unit_step, scales[name]) for name in batch_names}
        rate_models = None
        if coding.rate_weight:
            nearest = {
                name: _round_to_nearest(name, weights[name], scales[name], column_scales) for name in batch_names
            }
            rate_models = {name: RateModel.fit(nearest[name], coding) for name in batch_names}
        round_column = _make_rounder(batch, coding, importances, rate_models)
        col_scales = column_scales.col_scales
        codes = _solve_batch(batch, weights, scales, col_scales, block_size=block_size, round_column=round_column)
        max_code = _MAX_CODE if coding.trellis_states is None else _MAX_TRELLIS_CODE
        quantized |= {
            name: QuantizedTensor(
                to_int_codes(name, codes[name], max_code), scales[name], column_scales.col_scales[name]
            )
            for name in codes
        }
    return {name: quantized[name] for name in weights if name in quantized}


def _make_rounder(
    batch: SolveBatch,
    coding: Coding,
    importances: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    rate_models: Mapping[str, RateModel] | None,
) -> ColumnRounder | None:
    """What rounds a batch's columns; None to round to nearest."""
    if coding.trellis_states is None and rate_models is None:
        return None
    stacks = [names for _, names in batch.members]
    return ColumnRounder(
        coding,
        [[len(importances[name][0]) for name in names] for names in stacks],
        torch.stack([torch.cat([importances[name][0] for name in names]) for names in stacks]),
        torch.stack([importances[names[0]][1] for names in stacks]),
        None if rate_models is None else [[rate_models[name] for name in names] for names in stacks],
        batch.factor.order,
    )


def _round_to_nearest(
    name: str, w_OI: torch.Tensor, row_scales_O: torch.Tensor, column_scales: ColumnScales
) -> torch.Tensor:
    steps_OI = row_scales_O.float()[:, None] * column_scales.col_scales[name].float()
    return to_int_codes(name, (w_OI / steps_OI).round())


def compute_column_scales(batches: list[SolveBatch], weights: _Tensors, sensitivity: _Tensors) -> ColumnScales:
    """Return the scales of all tensors of ``batches``."""
    diagonals: dict[str, torch.Tensor] = {}
    for batch in batches:
        for (_, names), diag_I in zip(batch.members, batch.factor.diag, strict=True):
            diagonals |= dict.fromkeys(names, diag_I)
    return ColumnScales.from_sensitivity(weights, diagonals, sensitivity)


def build_batches(
    weights: _Tensors, hessians: _Tensors, inputs: dict[str, str], damping_frac: float
) -> list[SolveBatch]:
    """Return the batches of the tensors in ``inputs``, Hessians factored.

    Raises DivergenceError as ``quantize_model`` does.
    """
    stacks = defaultdict(list)
    for name, input_name in inputs.items():
        if not weights[name].isfinite().all():
            raise DivergenceError(f"{name}: holds weights that are not finite; train again with lower learning rates")
        stacks[input_name, param_kinds.get_param_kind(name, weights[name].shape, 0)].append(name)
    stacks_by_size = defaultdict(list)
    for (input_name, kind), names in stacks.items():
        n_rows = sum(weights[name].shape[0] for name in names)
        stacks_by_size[kind, n_rows, hessians[input_name].shape[0]].append((input_name, names))
    batches = []
    for (kind, n_rows, n_columns), members in stacks_by_size.items():
        max_members = max(1, MAX_BATCH_ELEMENTS // (n_columns * (n_rows + n_columns)))
        for start in range(0, len(members), max_members):
            chunk = members[start : start + max_members]
            batches.append(SolveBatch(chunk, kind, _factorize_members(chunk, hessians, damping_frac)))
    return batches


def _factorize_members(members: list[tuple[str, list[str]]], hessians: _Tensors, damping_frac: float) -> HessianFactor:
    try:
        return factorize(torch.stack([hessians[input_name] for input_name, _ in members]), damping_frac)
    except NotPositiveDefiniteError as error:
        input_name, names = members[error.index]
        raise DivergenceError(
            f"{names[0]}: the Hessian of its input {input_name} ({hessians[input_name].shape[0]} columns) has "
            f"no Cholesky factor with quantize.damping_frac = {damping_frac:g}; raise "
            "quantize.damping_frac or calibrate.batches"
        ) from None


def _solve_batch(
    batch: SolveBatch,
    weights: _Tensors,
    row_scale_by_name: _Tensors,
    col_scale_by_name: _Tensors | None,
    *,
    block_size: int,
    max_code: float = float("inf"),
    round_column: ColumnRounder | None = None,
) -> dict[str, torch.Tensor]:
    """Codes fp32 [O, I] by tensor name. Row scales: [O]; column scales: [I], equal for tensors that share an input."""
    codes_NOI = gptq(
        torch.stack([torch.cat([weights[name] for name in names]) for _, names in batch.members]),
        batch.factor,
        torch.stack([torch.cat([row_scale_by_name[name] for name in names]) for _, names in batch.members]),
        torch.ones_like(batch.factor.diag)
        if col_scale_by_name is None
        else torch.stack([col_scale_by_name[names[0]] for _, names in batch.members]),
        block_size=block_size,
        max_code=max_code,
        round_column=round_column,
    )
    code_by_name: dict[str, torch.Tensor] = {}
    for (_, names), codes_OI in zip(batch.members, codes_NOI, strict=True):
        code_by_name |= zip(names, codes_OI.split([weights[name].shape[0] for name in names]), strict=True)
    return code_by_name


def to_int_codes(name: str, codes_OI: torch.Tensor, max_code: int = _MAX_CODE) -> torch.Tensor:
    """Return the codes as int8, int16 or int32, the first that fits.

    Raises StepTooSmallError, naming the tensor, for a code beyond ±max_code.
    """
    max_abs = float(codes_OI.abs().max()) if codes_OI.numel() else 0.0
    if not max_abs <= max_code:
        raise StepTooSmallError(
            f"{name}: needs a code of {max_abs:.3g}, the largest is {max_code:,}; raise quantize.base_step"
        )
    return codes_OI.to(next(dtype for dtype in _CODE_DTYPES if max_abs <= torch.iinfo(dtype).max))


def _compute_sdclip_scales(name: str, w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    scales_O = row_scales.compute_sdclip_scales(w_OI, clip, bits)
    if not scales_O.isfinite().all():
        raise DivergenceError(
            f"{name}: holds weights up to {w_OI.abs().max():.3g}, whose row scale is beyond fp16; train again with "
            "lower learning rates"
        )
    return scales_O
