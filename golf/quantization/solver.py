"""Codes of a whole model: tensors that read one input are solved together, and stacks of one size in one batch.

The Hessians are factored once; codes for other steps then cost a recursion each, which is what a search for the right
level pays.
"""

# N stacks of a batch, O output features of a stack, I input features

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

import torch

from golf.compression.quantized_tensor import QuantizedTensor
from golf.errors import DivergenceError
from golf.quantization import param_kinds, row_scales
from golf.quantization.column_scales import ColumnScales, StepTooSmallError
from golf.quantization.gptq import HessianFactor, NotPositiveDefiniteError, factorize, gptq

MAX_BATCH_ELEMENTS = (
    1 << 24
)  # elements of the weights and Hessians solved together: beyond it, batching only costs memory
MAX_CODE = 2**15 - 1  # int16


class _SolverConfig(Protocol):
    """What quantize() needs of sections.Quantize."""

    grid: str
    base_step: float
    damping_frac: float
    block_size: int
    matrix_bits: int
    matrix_clip: float
    embed_bits: int
    embed_clip: float


@dataclass(frozen=True)
class _SolveBatch:
    """Stacks of one size: (input, tensors that read it), all of one class, and their Hessians' factors."""

    members: list[tuple[str, list[str]]]
    kind: param_kinds.ParamKind
    factor: HessianFactor


def quantize_model(
    weights, hessians, inputs: dict[str, str], cfg: _SolverConfig, sensitivity=None
) -> dict[str, QuantizedTensor]:
    """Every tensor named in ``inputs``, on the grid that the plan names.

    weights: name -> w_OI fp32; hessians: input name -> h_II; inputs: tensor name -> input name; sensitivity: tensor
    name -> fp32 [O] (``golf.quantization.sensitivity``), which the column grid needs.
    Raises Diverged, naming the tensor: a weight that isn't finite or has no step in fp16, a failed Cholesky; and
    TooFine where codes are beyond int16.
    """
    batches = build_batches(weights, hessians, inputs, cfg.damping_frac)
    if cfg.grid == "row":
        return quantize_with_row_scales(batches, weights, cfg)
    return quantize_with_column_scales(
        batches, weights, compute_column_scales(batches, weights, sensitivity), cfg.base_step, cfg.block_size
    )


def quantize_with_row_scales(batches: list[_SolveBatch], weights, cfg: _SolverConfig) -> dict[str, QuantizedTensor]:
    """The record's grid: a step for each row by SDClip, codes of few bits."""
    quantized = {}
    for batch in batches:
        is_embed = batch.kind == "embed"
        bits, clip = (cfg.embed_bits, cfg.embed_clip) if is_embed else (cfg.matrix_bits, cfg.matrix_clip)
        row_scale_by_name = {
            name: _compute_sdclip_scales(name, weights[name], clip, bits)
            for _, names in batch.members
            for name in names
        }
        codes = _solve_batch(
            batch, weights, row_scale_by_name, block_size=cfg.block_size, max_code=row_scales.max_code(bits)
        )
        quantized |= {name: QuantizedTensor(codes[name].to(torch.int8), row_scale_by_name[name]) for name in codes}
    return {name: quantized[name] for name in weights if name in quantized}


def quantize_with_column_scales(
    batches: list[_SolveBatch], weights, column_scales: ColumnScales, base_step: float, block_size: int
) -> dict[str, QuantizedTensor]:
    """Steps that fall with how much the loss minds, row by row and column by column; nothing is clipped."""
    quantized = {}
    for batch in batches:
        row_scale_by_name = {
            name: column_scales.compute_row_scales(name, base_step) for _, names in batch.members for name in names
        }
        codes = _solve_batch(batch, weights, row_scale_by_name, column_scales.col_scales, block_size=block_size)
        quantized |= {
            name: QuantizedTensor(
                to_int_codes(name, codes[name]), row_scale_by_name[name], column_scales.col_scales[name]
            )
            for name in codes
        }
    return {name: quantized[name] for name in weights if name in quantized}


def compute_column_scales(batches: list[_SolveBatch], weights, sensitivity: dict[str, torch.Tensor]) -> ColumnScales:
    diagonals = {}
    for batch in batches:
        for (_, names), diag_I in zip(batch.members, batch.factor.diag, strict=True):
            diagonals |= dict.fromkeys(names, diag_I)
    return ColumnScales.from_sensitivity(weights, diagonals, sensitivity)


def build_batches(weights, hessians, inputs: dict[str, str], damping_frac: float) -> list[_SolveBatch]:
    """The tensors of ``inputs``, stacked row on row where they share an input. Raises Diverged: see ``quantize``."""
    stacks = defaultdict(list)
    for name, input_name in inputs.items():
        if not weights[name].isfinite().all():
            raise DivergenceError(f"{name}: holds weights that are not finite; train again with a lower rate")
        stacks[input_name, param_kinds.param_kind(name, weights[name].shape, 0)].append(name)
    stacks_by_size = defaultdict(list)
    for (input_name, kind), names in stacks.items():
        n_rows = sum(weights[name].shape[0] for name in names)
        stacks_by_size[kind, n_rows, hessians[input_name].shape[0]].append((input_name, names))
    result = []
    for (kind, n_rows, n_columns), members in stacks_by_size.items():
        max_members = max(1, MAX_BATCH_ELEMENTS // (n_columns * (n_rows + n_columns)))
        for start in range(0, len(members), max_members):
            chunk = members[start : start + max_members]
            result.append(_SolveBatch(chunk, kind, _factorize_batch(chunk, hessians, damping_frac)))
    return result


def _factorize_batch(members, hessians, damping_frac: float) -> HessianFactor:
    try:
        return factorize(torch.stack([hessians[input_name] for input_name, _ in members]), damping_frac)
    except NotPositiveDefiniteError as error:
        source, names = members[error.index]
        raise DivergenceError(
            f"{names[0]}: the Hessian of its input {source} ({hessians[source].shape[0]} columns) has no Cholesky "
            f"factor with quantize.damping_frac = {damping_frac:g}; raise quantize.damping_frac, or calibrate.batches"
        ) from None


def _solve_batch(
    batch: _SolveBatch, weights, row_scale_by_name, col_scale_by_name=None, **gptq_options
) -> dict[str, torch.Tensor]:
    """name -> codes fp32 [O, I]. rows: name -> [O]; columns: name -> [I], the same for all that read one input."""
    codes_NOI = gptq(
        torch.stack([torch.cat([weights[name] for name in names]) for _, names in batch.members]),
        batch.factor,
        torch.stack([torch.cat([row_scale_by_name[name] for name in names]) for _, names in batch.members]),
        torch.ones_like(batch.factor.diag)
        if col_scale_by_name is None
        else torch.stack([col_scale_by_name[names[0]] for _, names in batch.members]),
        **gptq_options,
    )
    code_by_name = {}
    for (_, names), codes_OI in zip(batch.members, codes_NOI, strict=True):
        code_by_name |= zip(names, codes_OI.split([weights[name].shape[0] for name in names]), strict=True)
    return code_by_name


def to_int_codes(name: str, codes_OI: torch.Tensor) -> torch.Tensor:
    """int8 where that holds the codes, else int16. Raises TooFine beyond it."""
    max_abs = float(codes_OI.abs().max()) if codes_OI.numel() else 0.0
    if not max_abs <= MAX_CODE:
        raise StepTooSmallError(
            f"{name}: needs a code of {max_abs:.3g}, the largest is {MAX_CODE:,}; raise quantize.base_step"
        )
    return codes_OI.to(torch.int8 if max_abs <= 127 else torch.int16)


def _compute_sdclip_scales(name: str, w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    row_scales_O = row_scales.sdclip_scales(w_OI, clip, bits)
    if not row_scales_O.isfinite().all():
        raise DivergenceError(
            f"{name}: holds weights up to {w_OI.abs().max():.3g}, whose step is beyond fp16; train again"
        )
    return row_scales_O
