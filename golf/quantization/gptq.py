"""GPTQ (arXiv:2210.17323, algorithm 1): round a weight matrix so that the layer's output changes least.

The output changes by tr(E H Eᵀ) when the weights change by E, with H = Σ xᵀx over calibration inputs. Columns are
rounded one after another; the columns that follow make up for the error in the proportions that H makes cheapest.

Two inputs that nearly always agree, with weights 0.4 and 0.4: the output sees their sum, 0.8.

>>> factor = factorize(torch.tensor([[[1.0, 0.999], [0.999, 1.0]]]), damping_frac=0.001)
>>> gptq(torch.tensor([[[0.4, 0.4]]]), factor, torch.ones(1, 1), torch.ones(1, 2), block_size=128).tolist()
[[[0.0, 1.0]]]

Rounding to nearest gives 0 and 0. Here the first weight loses 0.4, so the second becomes 0.4 + 0.4 · 0.999 and rounds
to 1.

Dead columns (H_jj = 0), damping and the order of columns by falling H_jj are those of PR #1493
(docs/references.md#gptq). One thing differs: a dead column's diagonal becomes the mean of the diagonal instead of 1, so
that codes do not depend on the scale of H.

The recursion equals the paper's in exact arithmetic, without an inverse. The paper takes U, the upper Cholesky factor
of H^-1, and adds -err_j U_jk to every later column k, with err_j = (w_j - q_j) / U_jj. Let T = U^-1. Then H = T Tᵀ with
T upper triangular, which is the Cholesky factor of H read backward (the reverse route of PR #1948), and all that was
added to column j is Σ_{i<j} d_i T_ij / T_jj, where d_i = w_i - q_i is the error against the *original* weight (Babai's
nearest plane, arXiv:2507.18553). So one factorization is enough, and each column is written once, when its turn comes:

            done, d known                 block            still to come
     ┌──────────────────────────┬────────┬─┬─────────┬───────────────────────────┐
   O │  d_0 .. d_a              │ inner  │j│         │                           │
     └──────────────────────────┴────────┴─┴─────────┴───────────────────────────┘
       └─ one product a block ──┘  └─ one product an inner block, then one column at a time
"""

# N matrices solved together, O output features, I input features, J columns of a block

from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["HessianFactor", "NotPositiveDefiniteError", "factorize", "gptq"]

_INNER_BLOCK = 16  # columns solved one by one; a product is cheaper for more


@dataclass(frozen=True)
class HessianFactor:
    """Damped Hessians H = T Tᵀ, with T upper triangular when columns are in the order in which they are rounded.

    order: int64 [N, I], that order. coupling: [N, I, I], T_ij / T_jj for i < j, in that order. diag: [N, I], T_jj.
    dead: bool [N, I], where H_jj = 0. The last two are in the weights' order.
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
    round_column: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the codes, whole numbers in fp32 [N, O, I] within ±max_code; code · row scale · column scale ≈ w.

    block_size: columns of a block; it affects speed, and codes by float rounding only. Dead columns get code 0 by
    rounding. round_column: from a column in steps [N, 1, O] and its place in the order to its codes; None rounds to
    nearest.
    """
    n_columns = w_NOI.shape[2]
    # Transposed, so that a column is contiguous in memory: each is read and written whole.
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
                if round_column is None:
                    code_N1O.round_()
                else:
                    code_N1O.copy_(round_column(code_N1O, j))
                code_N1O.clamp_(-max_code, max_code)
                torch.addcmul(w_NIO[:, j : j + 1], code_N1O, scales_N1O, value=-1, out=error_N1O)
    inverse_order_NI = factor.order.argsort(dim=1)
    return codes_NIO.gather(1, inverse_order_NI[:, :, None].expand_as(codes_NIO)).mT.contiguous()


def _propagate_error(w_NJO: torch.Tensor, coupling_NIJ: torch.Tensor, error_NIO: torch.Tensor) -> torch.Tensor:
    """A copy of a block's weights [N, J, O] plus Σ_i coupling_ij · error_i over the solved columns i."""
    return torch.baddbmm(w_NJO, coupling_NIJ.mT, error_NIO) if coupling_NIJ.shape[1] else w_NJO.clone()


class NotPositiveDefiniteError(ArithmeticError):
    """A damped Hessian has no Cholesky factor. index: its place in the batch."""

    def __init__(self, index: int):
        super().__init__(f"Hessian {index} is not positive definite")
        self.index = index


def factorize(h_NII: torch.Tensor, damping_frac: float) -> HessianFactor:
    """Factor Hessians Σ xᵀx [N, I, I] once, for any number of ``gptq`` calls.

    damping_frac: share of the mean diagonal that is added to the diagonal. T is the lower Cholesky factor of H with its
    indices reversed. Raises NotPositiveDefiniteError when a damped Hessian has none.
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
