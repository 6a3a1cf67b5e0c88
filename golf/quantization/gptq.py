"""Round a weight matrix so that the layer's *output* moves least (GPTQ, arXiv:2210.17323, algorithm 1).

Column by column: round, then let the columns not yet rounded make up for it, in the proportions that the inputs make
cheapest. Two inputs that always agree, and weights 0.4 and 0.4: their sum, 0.8, is all that the output sees.

>>> agreeing = factor(torch.tensor([[[1.0, 0.999], [0.999, 1.0]]]), damp=0.001)
>>> gptq(torch.tensor([[[0.4, 0.4]]]), agreeing, torch.ones(1, 1), torch.ones(1, 2), block_size=128).tolist()
[[[0.0, 1.0]]]

Rounding each for itself gives 0 and 0. The first 0.4 is lost to rounding, the second weight becomes 0.4 + 0.4 · 0.999
and rounds to 1.

The recipe is PR #1493's (record-stack 1.5): dead columns, damping, columns in the order of falling diag(H).
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

Where we differ: a dead column gets the mean of the diagonal and not 1, so that the scale of H does not matter.
"""

# N matrices solved together, O output features, I input features, J columns of a block

from dataclasses import dataclass

import torch

_INNER_BLOCK = 16  # columns that are pulled one by one; more are cheaper as a product


@dataclass(frozen=True)
class HessianFactor:
    """Damped Hessians H = T Tᵀ, T upper triangular with the columns in the order in which they are rounded.

    order_NI: that order. pull_NII: T_ij / T_jj for i < j, in that order. diag_NI: T_jj, dead_NI: H_jj = 0, both in the
    order of the weights.
    """

    order: torch.Tensor
    coupling: torch.Tensor
    diag: torch.Tensor
    dead: torch.Tensor


def gptq(
    w_NOI: torch.Tensor,
    factor: HessianFactor,
    row_scales_NO: torch.Tensor,
    col_scales_NI: torch.Tensor,
    *,
    block_size: int,
    max_code: float = float("inf"),
) -> torch.Tensor:
    """Codes, whole numbers in fp32 [N, O, I] within ±largest, so that code * row step * column step is the weight.

    A dead column, which the layer never reads anything from, gets zeros.
    """
    n_columns = w_NOI.shape[2]
    # Columns lie as rows of memory: each is read and written whole.
    w_NIO = w_NOI.masked_fill(factor.dead[:, None, :], 0).mT.gather(1, factor.order[:, :, None].expand_as(w_NOI.mT))
    row_scales_N1O, col_scales_NI1 = (
        row_scales_NO.float()[:, None, :],
        col_scales_NI.float().gather(1, factor.order)[:, :, None],
    )
    codes_NIO, error_NIO = torch.empty_like(w_NIO), torch.empty_like(w_NIO)
    for start in range(0, n_columns, block_size):
        end = min(start + block_size, n_columns)
        target_NJO = _propagate_error(w_NIO[:, start:end], factor.coupling[:, :start, start:end], error_NIO[:, :start])
        for inner_start in range(start, end, _INNER_BLOCK):
            inner_end = min(inner_start + _INNER_BLOCK, end)
            inner_NJO = _propagate_error(
                target_NJO[:, inner_start - start : inner_end - start],
                factor.coupling[:, start:inner_start, inner_start:inner_end],
                error_NIO[:, start:inner_start],
            )
            for j in range(inner_start, inner_end):
                code_N1O, error_N1O = codes_NIO[:, j : j + 1], error_NIO[:, j : j + 1]
                column_N1O, scales_N1O = (
                    inner_NJO[:, j - inner_start : j - inner_start + 1],
                    row_scales_N1O * col_scales_NI1[:, j : j + 1],
                )
                if j > inner_start:
                    column_N1O = column_N1O.baddbmm_(
                        factor.coupling[:, inner_start:j, j : j + 1].mT, error_NIO[:, inner_start:j]
                    )
                torch.div(column_N1O, scales_N1O, out=code_N1O)
                code_N1O.round_().clamp_(-max_code, max_code)
                torch.addcmul(w_NIO[:, j : j + 1], code_N1O, scales_N1O, value=-1, out=error_N1O)
    inverse_order_NI = factor.order.argsort(dim=1)
    return codes_NIO.gather(1, inverse_order_NI[:, :, None].expand_as(codes_NIO)).mT.contiguous()


def _propagate_error(w_NJO: torch.Tensor, coupling_NIJ: torch.Tensor, error_NIO: torch.Tensor) -> torch.Tensor:
    """A copy of a block's weights, plus what the columns before it lost in its direction."""
    return torch.baddbmm(w_NJO, coupling_NIJ.mT, error_NIO) if coupling_NIJ.shape[1] else w_NJO.clone()


class NotPositiveDefiniteError(ArithmeticError):
    """Hessian ``index`` of a batch has no Cholesky factor, even damped."""

    def __init__(self, index: int):
        super().__init__(f"Hessian {index} is not positive definite")
        self.index = index


def factorize(h_NII: torch.Tensor, damping_frac: float) -> HessianFactor:
    """The Hessians Σ xᵀx, factored once for any number of solutions.

    T is the lower Cholesky factor of H with its indices reversed. Raises NotPositive, with the index n, where a damped
    Hessian has none.
    """
    diag_NI = h_NII.diagonal(dim1=1, dim2=2)
    order_NI = diag_NI.argsort(dim=1, descending=True, stable=True)
    ascending_order_NI = order_NI.flip(1)
    flipped_NII = torch.stack([h[i][:, i] for h, i in zip(h_NII, ascending_order_NI, strict=True)])
    flipped_NI = flipped_NII.diagonal(dim1=1, dim2=2)
    dead_NI = flipped_NI == 0
    mean_diag_N1 = diag_NI.mean(dim=1, keepdim=True)
    flipped_NI += damping_frac * mean_diag_N1
    flipped_NI.copy_(torch.where(dead_NI, torch.where(mean_diag_N1 == 0, 1, mean_diag_N1), flipped_NI))
    lower_NII, info_N = torch.linalg.cholesky_ex(flipped_NII)
    lower_diag_NI = lower_NII.diagonal(dim1=1, dim2=2).clone()
    has_failed_N = (info_N != 0) | ~lower_diag_NI.isfinite().all(dim=1)
    if has_failed_N.any():
        raise NotPositiveDefiniteError(int(has_failed_N.nonzero()[0]))
    lower_NII /= lower_diag_NI[:, None, :]
    return HessianFactor(
        order_NI, lower_NII.flip(1, 2), lower_diag_NI.gather(1, ascending_order_NI.argsort(dim=1)), diag_NI == 0
    )
