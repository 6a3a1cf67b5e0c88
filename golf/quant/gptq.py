"""Round a weight matrix so that the layer's *output* moves least (GPTQ, arXiv:2210.17323, algorithm 1).

Column by column: round, then let the columns not yet rounded make up for it, in the proportions that the inputs make
cheapest. Two inputs that always agree, and weights 0.4 and 0.4: their sum, 0.8, is all that the output sees.

>>> agreeing = torch.tensor([[[1.0, 0.999], [0.999, 1.0]]])
>>> gptq(torch.tensor([[[0.4, 0.4]]]), agreeing, torch.ones(1, 1), largest=31, damp=0.001, block=128).tolist()
[[[0, 1]]]

Rounding each for itself gives 0 and 0. The first 0.4 is lost to rounding, the second weight becomes 0.4 + 0.4 · 0.999
and rounds to 1.

The recipe is PR #1493's (record-stack 1.5): dead columns, damping, columns in the order of falling diag(H), row steps.
The recursion is the same in exact arithmetic, written without the inverse. The paper takes U, the upper Cholesky factor
of H^-1, and pushes err_j = (w_j - q_j) / U_jj times U_jk onto every later column k. With T = U^-1, so that H = T Tᵀ
with T upper triangular (the Cholesky factor of H read backwards, the reverse route of PR #1948), the sum of all that
was pushed onto column j is Σ_{i<j} d_i T_ij / T_jj, where d_i = w_i - q_i is taken against the *original* weight
(Babai's nearest plane, arXiv:2507.18553). So one factorisation is enough, nothing is inverted, and a column is written
once, by pulling from the columns before it:

            done, d known                 block            not yet looked at
     ┌──────────────────────────┬────────┬─┬─────────┬───────────────────────────┐
   O │  d_0 .. d_a              │ inner  │j│         │                           │
     └──────────────────────────┴────────┴─┴─────────┴───────────────────────────┘
       └─ one product a block ──┘  └─ one product an inner block, then one column at a time

Where we differ: the damping's mean is taken before dead columns get their 1, so that the scale of H does not matter.
"""

# N matrices solved together, O output features, I input features, J columns of a block

from collections import defaultdict
from typing import Protocol

import torch

from golf.ground.errors import Diverged
from golf.quant import grid
from golf.quant.grid import Quantized

INNER = 16  # columns that are pulled one by one; more are cheaper as a product
TOGETHER = 1 << 24  # elements of the weights and Hessians solved together: beyond it, batching only costs memory


class Plan(Protocol):
    """What quantize() needs of params.Quantize."""

    damp: float
    block: int
    matrix_bits: int
    matrix_clip: float
    embed_bits: int
    embed_clip: float


def gptq(
    w_NOI: torch.Tensor, h_NII: torch.Tensor, steps_NO: torch.Tensor, *, largest: int, damp: float, block: int
) -> torch.Tensor:
    """codes_NOI int8 in [-largest, largest] for fp32 weights, their inputs' Hessians Σ xᵀx, and a step for each row.

    Raises NotPositive, with the index n, when a damped Hessian has no Cholesky factor.
    """
    width = w_NOI.shape[2]
    order_NI, pull_NII = factor(h_NII, damp)
    dead_NI = h_NII.diagonal(dim1=1, dim2=2) == 0
    # Columns lie as rows of memory: each is read and written whole.
    w_NIO = w_NOI.masked_fill(dead_NI[:, None, :], 0).mT.gather(1, order_NI[:, :, None].expand_as(w_NOI.mT))
    steps_N1O = steps_NO.float()[:, None, :]
    codes_NIO, lost_NIO = torch.empty_like(w_NIO), torch.empty_like(w_NIO)
    for a in range(0, width, block):
        b = min(a + block, width)
        target_NJO = pulled(w_NIO[:, a:b], pull_NII[:, :a, a:b], lost_NIO[:, :a])
        for c in range(a, b, INNER):
            d = min(c + INNER, b)
            inner_NJO = pulled(target_NJO[:, c - a : d - a], pull_NII[:, a:c, c:d], lost_NIO[:, a:c])
            for j in range(c, d):
                code_N1O, lost_N1O = codes_NIO[:, j : j + 1], lost_NIO[:, j : j + 1]
                column_N1O = inner_NJO[:, j - c : j - c + 1]
                if j > c:
                    column_N1O = column_N1O.baddbmm_(pull_NII[:, c:j, j : j + 1].mT, lost_NIO[:, c:j])
                torch.div(column_N1O, steps_N1O, out=code_N1O)
                code_N1O.round_().clamp_(-largest, largest)
                torch.addcmul(w_NIO[:, j : j + 1], code_N1O, steps_N1O, value=-1, out=lost_N1O)
    back_NI = order_NI.argsort(dim=1)
    return codes_NIO.to(torch.int8).gather(1, back_NI[:, :, None].expand_as(codes_NIO)).mT.contiguous()


def pulled(w_NJO: torch.Tensor, pull_NIJ: torch.Tensor, lost_NIO: torch.Tensor) -> torch.Tensor:
    """A copy of a block's weights, plus what the columns before it lost in its direction."""
    return torch.baddbmm(w_NJO, pull_NIJ.mT, lost_NIO) if pull_NIJ.shape[1] else w_NJO.clone()


class NotPositive(ArithmeticError):
    """Hessian ``index`` of a batch has no Cholesky factor, even damped."""

    def __init__(self, index: int):
        super().__init__(f"Hessian {index} is not positive definite")
        self.index = index


def factor(h_NII: torch.Tensor, damp: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The order of the columns, and pull_NII: entry (i, j) is T_ij / T_jj, in that order, for i < j.

    T is upper triangular with H = T Tᵀ: the lower Cholesky factor of H with its indices reversed.
    """
    diag_NI = h_NII.diagonal(dim1=1, dim2=2)
    order_NI = diag_NI.argsort(dim=1, descending=True, stable=True)
    back_NI = order_NI.flip(1)
    flipped_NII = torch.stack([h[i][:, i] for h, i in zip(h_NII, back_NI, strict=True)])
    flipped_NI = flipped_NII.diagonal(dim1=1, dim2=2)
    dead_NI = flipped_NI == 0
    flipped_NI += damp * diag_NI.mean(dim=1, keepdim=True)
    flipped_NI[dead_NI] = 1
    lower_NII, info_N = torch.linalg.cholesky_ex(flipped_NII)
    failed = (info_N != 0) | ~lower_NII.diagonal(dim1=1, dim2=2).isfinite().all(dim=1)
    if failed.any():
        raise NotPositive(int(failed.nonzero()[0]))
    lower_NII /= lower_NII.diagonal(dim1=1, dim2=2)[:, None, :].clone()
    return order_NI, lower_NII.flip(1, 2)


def quantize(
    weights: dict[str, torch.Tensor], hessians: dict[str, torch.Tensor], inputs: dict[str, str], plan: Plan
) -> dict[str, Quantized]:
    """Every tensor named in ``inputs``, quantised against the Hessian of what it reads.

    weights: name -> w_OI fp32; hessians: input name -> h_II; inputs: tensor name -> input name. Tensors that read the
    same input are stacked row on row, and stacks of one size are solved together.
    Raises Diverged, naming the tensor: a weight that isn't finite or whose step is beyond fp16, a failed Cholesky.
    """
    stacks = defaultdict(list)
    for name, source in inputs.items():
        stacks[source, grid.kind(name, weights[name].shape, 0)].append(name)
    batches = defaultdict(list)
    for (source, kind), names in stacks.items():
        rows = sum(weights[name].shape[0] for name in names)
        batches[kind, rows, hessians[source].shape[0]].append((source, names))
    found = {}
    for (kind, rows, width), members in batches.items():
        bits, clip = (plan.embed_bits, plan.embed_clip) if kind == "embed" else (plan.matrix_bits, plan.matrix_clip)
        at_once = max(1, TOGETHER // (width * (rows + width)))
        for start in range(0, len(members), at_once):
            found |= solve(members[start : start + at_once], weights, hessians, bits, clip, plan)
    return {name: found[name] for name in inputs}


def solve(members, weights, hessians, bits: int, clip: float, plan: Plan) -> dict[str, Quantized]:
    """One batch: members are (input name, tensor names) of one total size."""
    steps = {name: steps_of(name, weights[name], clip, bits) for _, names in members for name in names}
    try:
        codes_NOI = gptq(
            torch.stack([torch.cat([weights[name] for name in names]) for _, names in members]),
            torch.stack([hessians[source] for source, _ in members]),
            torch.stack([torch.cat([steps[name] for name in names]) for _, names in members]),
            largest=grid.largest(bits),
            damp=plan.damp,
            block=plan.block,
        )
    except NotPositive as error:
        source, names = members[error.index]
        raise Diverged(
            f"{names[0]}: the Hessian of its input {source} ({hessians[source].shape[0]} columns) has no Cholesky "
            f"factor with quantize.damp = {plan.damp:g}; raise quantize.damp, or calibrate.batches"
        ) from None
    found = {}
    for (_, names), codes_OI in zip(members, codes_NOI, strict=True):
        parts = codes_OI.split([weights[name].shape[0] for name in names])
        found |= {name: Quantized(part.clone(), steps[name]) for name, part in zip(names, parts, strict=True)}
    return found


def steps_of(name: str, w_OI: torch.Tensor, clip: float, bits: int) -> torch.Tensor:
    if not w_OI.isfinite().all():
        raise Diverged(f"{name}: holds weights that are not finite; train again with a lower rate")
    steps_O = grid.sdclip(w_OI, clip, bits)
    if not steps_O.isfinite().all():
        raise Diverged(f"{name}: holds weights up to {w_OI.abs().max():.3g}, whose step is beyond fp16; train again")
    return steps_O
