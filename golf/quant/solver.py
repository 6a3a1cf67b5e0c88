"""Codes of a whole model: tensors that read one input are solved together, and stacks of one size in one batch.

The Hessians are factored once; codes for other steps then cost a recursion each, which is what a search for the right
level pays.
"""

# N stacks of a batch, O output features of a stack, I input features

from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

import torch

from golf.ground.errors import Diverged
from golf.quant import kinds, sdclip
from golf.quant.columns import Columns, TooFine
from golf.quant.gptq import Factor, NotPositive, factor, gptq
from golf.quant.grid import Quantized

TOGETHER = 1 << 24  # elements of the weights and Hessians solved together: beyond it, batching only costs memory
WIDEST = 2**15 - 1  # int16


class Plan(Protocol):
    """What quantize() needs of sections.Quantize."""

    grid: str
    level: float
    damp: float
    block: int
    matrix_bits: int
    matrix_clip: float
    embed_bits: int
    embed_clip: float


@dataclass(frozen=True)
class Batch:
    """Stacks of one size: (input, tensors that read it), all of one class, and their Hessians' factors."""

    members: list[tuple[str, list[str]]]
    kind: kinds.Kind
    factor: Factor


def quantize(weights, hessians, inputs: dict[str, str], plan: Plan, sensitivity=None) -> dict[str, Quantized]:
    """Every tensor named in ``inputs``, on the grid that the plan names.

    weights: name -> w_OI fp32; hessians: input name -> h_II; inputs: tensor name -> input name; sensitivity: tensor
    name -> fp32 [O] (``golf.quant.sensitivity``), which the column grid needs.
    Raises Diverged, naming the tensor: a weight that isn't finite or has no step in fp16, a failed Cholesky; and
    TooFine where codes are beyond int16.
    """
    ready = batches(weights, hessians, inputs, plan.damp)
    if plan.grid == "row_sdclip":
        return on_rows(ready, weights, plan)
    return on_columns(ready, weights, columns_of(ready, weights, sensitivity), plan.level, plan.block)


def on_rows(ready: list[Batch], weights, plan: Plan) -> dict[str, Quantized]:
    """The record's grid: a step for each row by SDClip, codes of few bits."""
    found = {}
    for batch in ready:
        embed = batch.kind == "embed"
        bits, clip = (plan.embed_bits, plan.embed_clip) if embed else (plan.matrix_bits, plan.matrix_clip)
        steps = {name: steps_of(name, weights[name], clip, bits) for _, names in batch.members for name in names}
        codes = solve(batch, weights, steps, block=plan.block, largest=sdclip.largest(bits))
        found |= {name: Quantized(codes[name].to(torch.int8), steps[name]) for name in codes}
    return {name: found[name] for name in weights if name in found}


def on_columns(ready: list[Batch], weights, columns: Columns, level: float, block: int) -> dict[str, Quantized]:
    """Steps that fall with how much the loss minds, row by row and column by column; nothing is clipped."""
    found = {}
    for batch in ready:
        steps = {name: columns.rows(name, level) for _, names in batch.members for name in names}
        codes = solve(batch, weights, steps, columns.columns, block=block)
        found |= {name: Quantized(whole(name, codes[name]), steps[name], columns.columns[name]) for name in codes}
    return {name: found[name] for name in weights if name in found}


def columns_of(ready: list[Batch], weights, sensitivity: dict[str, torch.Tensor]) -> Columns:
    diagonals = {}
    for batch in ready:
        for (_, names), diag_I in zip(batch.members, batch.factor.diag, strict=True):
            diagonals |= dict.fromkeys(names, diag_I)
    return Columns.of(weights, diagonals, sensitivity)


def batches(weights, hessians, inputs: dict[str, str], damp: float) -> list[Batch]:
    """The tensors of ``inputs``, stacked row on row where they share an input. Raises Diverged: see ``quantize``."""
    stacks = defaultdict(list)
    for name, source in inputs.items():
        if not weights[name].isfinite().all():
            raise Diverged(f"{name}: holds weights that are not finite; train again with a lower rate")
        stacks[source, kinds.kind(name, weights[name].shape, 0)].append(name)
    sizes = defaultdict(list)
    for (source, kind), names in stacks.items():
        rows = sum(weights[name].shape[0] for name in names)
        sizes[kind, rows, hessians[source].shape[0]].append((source, names))
    made = []
    for (kind, rows, width), members in sizes.items():
        at_once = max(1, TOGETHER // (width * (rows + width)))
        for start in range(0, len(members), at_once):
            part = members[start : start + at_once]
            made.append(Batch(part, kind, factored(part, hessians, damp)))
    return made


def factored(members, hessians, damp: float) -> Factor:
    try:
        return factor(torch.stack([hessians[source] for source, _ in members]), damp)
    except NotPositive as error:
        source, names = members[error.index]
        raise Diverged(
            f"{names[0]}: the Hessian of its input {source} ({hessians[source].shape[0]} columns) has no Cholesky "
            f"factor with quantize.damp = {damp:g}; raise quantize.damp, or calibrate.batches"
        ) from None


def solve(batch: Batch, weights, rows, columns=None, **how) -> dict[str, torch.Tensor]:
    """name -> codes fp32 [O, I]. rows: name -> [O]; columns: name -> [I], the same for all that read one input."""
    codes_NOI = gptq(
        torch.stack([torch.cat([weights[name] for name in names]) for _, names in batch.members]),
        batch.factor,
        torch.stack([torch.cat([rows[name] for name in names]) for _, names in batch.members]),
        torch.ones_like(batch.factor.diag)
        if columns is None
        else torch.stack([columns[names[0]] for _, names in batch.members]),
        **how,
    )
    found = {}
    for (_, names), codes_OI in zip(batch.members, codes_NOI, strict=True):
        found |= zip(names, codes_OI.split([weights[name].shape[0] for name in names]), strict=True)
    return found


def whole(name: str, codes_OI: torch.Tensor) -> torch.Tensor:
    """int8 where that holds the codes, else int16. Raises TooFine beyond it."""
    reach = float(codes_OI.abs().max()) if codes_OI.numel() else 0.0
    if not reach <= WIDEST:
        raise TooFine(f"{name}: needs a code of {reach:.3g}, the largest is {WIDEST:,}; raise quantize.level")
    return codes_OI.to(torch.int8 if reach <= 127 else torch.int16)


def steps_of(name: str, w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    steps_O = sdclip.steps(w_OI, clip, bits)
    if not steps_O.isfinite().all():
        raise Diverged(f"{name}: holds weights up to {w_OI.abs().max():.3g}, whose step is beyond fp16; train again")
    return steps_O
