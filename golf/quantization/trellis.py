"""Rounding by rate and distortion: to one grid, or along the path of least cost on a trellis.

Both forms choose the codes n of a column x, in steps, that minimize

    Σ importance · (x - n)² + c · spacing² · bits(n),

with the bits under the Gaussians of the entropy coder (``golf.compression.ans_fit``). c is ``quantize.rate_weight``.
importance makes up for the few mantissa bits of stored scales (``ColumnScales.compute_importance``). spacing is the
distance between levels that may follow each other: 1 on the plain grid, 2 on the trellis, where the Viterbi algorithm
(IEEE Trans. Inf. Theory 13(2), 1967) finds the path (docs/references.md#trellis). The bits of a Gaussian grow with
(n - mean)², so rounding (x + p mean) / (1 + p) is optimal on the plain grid, with p = c · (bits of 1 over those of 0) /
importance.
"""

# N matrices, O output features, I input features, L levels of the coder

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from golf.compression import ans_fit, trellis
from golf.compression.ans import N_SIGMA_LEVELS
from golf.config.sections import QuantizeConfig
from golf.errors import UnavailableError

__all__ = ["ROUND_TO_NEAREST", "Coding", "ColumnRounder", "RateModel"]

_MAX_BITS = 24  # of a residual outside the tables; an escape takes some more


@dataclass(frozen=True, kw_only=True)
class Coding:
    """trellis_states: None for the plain grid. rate_weight: c; 0 minimizes the error alone."""

    trellis_states: int | None
    rate_weight: float

    @classmethod
    def from_config(cls, cfg: QuantizeConfig) -> Self:
        return cls(trellis_states=cfg.trellis_states if cfg.coding == "trellis" else None, rate_weight=cfg.rate_weight)

    @property
    def spacing(self) -> int:
        """Distance between levels that may follow each other, in steps."""
        return 1 if self.trellis_states is None else 2


ROUND_TO_NEAREST = Coding(trellis_states=None, rate_weight=0.0)


@dataclass(frozen=True)
class RateModel:
    """The coder's level and template of each code of a tensor, int16 and int32 [O, I]."""

    level_OI: torch.Tensor
    template_OI: torch.Tensor

    @classmethod
    def fit(cls, codes_OI: torch.Tensor, coding: Coding) -> Self:
        """Return the model under which ``golf.compression`` would code these integers."""
        fit = ans_fit.fit_codes(codes_OI.numpy(), parity_known=coding.trellis_states is not None)
        level_OI = np.minimum(fit.row_level_O[:, None] + fit.column_level_I, N_SIGMA_LEVELS - 1).astype(np.int16)
        template_OI = fit.templates_TI[fit.template_index_O].astype(np.int32)
        return cls(torch.from_numpy(level_OI), torch.from_numpy(template_OI))


class ColumnRounder:
    """Rounds the columns of N stacks of tensors, for ``gptq``.

    n_rows: of the tensors of each stack; each tensor's path starts anew. row_importance_NO, col_importance_NI: factors
    of the squared error. rate_models: of the same tensors; None counts no bits. order_NI: in which columns are rounded.
    Raises UnavailableError when a trellis is asked for and its kernel cannot be imported.
    """

    def __init__(
        self,
        coding: Coding,
        n_rows: Sequence[Sequence[int]],
        row_importance_NO: torch.Tensor,
        col_importance_NI: torch.Tensor,
        rate_models: Sequence[Sequence[RateModel]] | None,
        order_NI: torch.Tensor,
    ):
        self._importance = row_importance_NO, col_importance_NI.gather(1, order_NI)
        zeros_N1O = torch.zeros(1, dtype=torch.int16).expand(len(n_rows), 1, sum(n_rows[0]))
        self._level_NIO = self._template_NIO = zeros_N1O.expand(-1, order_NI.shape[1], -1)
        if rate_models is not None:
            self._level_NIO = _stack_in_order([[m.level_OI for m in models] for models in rate_models], order_NI)
            if any(model.template_OI.any() for models in rate_models for model in models):
                templates = [[model.template_OI for model in models] for models in rate_models]
                self._template_NIO = _stack_in_order(templates, order_NI)
        bit_cost = coding.rate_weight * coding.spacing**2 if rate_models is not None else 0.0
        self._square_cost_L = bit_cost * ans_fit.square_bits()
        self._zero_cost_L = torch.from_numpy(bit_cost * ans_fit.log2_partition()).float()
        self._parity_cost_L2 = bit_cost * ans_fit.log2_parity_partitions()
        self._max_rate_cost = bit_cost * _MAX_BITS
        self._find_path = None
        if coding.trellis_states is not None:
            self._find_path, self._next_states = _load_kernel(), trellis.next_states(coding.trellis_states)
            n_ends = 1 + max(map(len, n_rows))
            bounds = [[0, *itertools.accumulate(rows)] for rows in n_rows]
            self._starts_NK = np.array([row + row[-1:] * (n_ends - len(row)) for row in bounds])

    def __call__(self, x_N1O: torch.Tensor, j: int) -> torch.Tensor:
        """Return the codes fp32 [N, 1, O] of the column at place ``j`` of the order, x in steps."""
        importance_NO = self._importance[0] * self._importance[1][:, j, None]
        level_NO, template_NO = self._level_NIO[:, j], self._template_NIO[:, j]
        if self._find_path is None:
            return self._round_scalar(x_N1O[:, 0], importance_NO, level_NO, template_NO)[:, None]
        codes_NO = np.empty(importance_NO.shape, np.float32)
        self._find_path(
            x_N1O[:, 0].contiguous().numpy(),
            importance_NO.numpy(),
            template_NO.int().contiguous().numpy(),
            level_NO.contiguous().numpy(),
            self._square_cost_L,
            self._parity_cost_L2,
            self._max_rate_cost,
            self._starts_NK,
            self._next_states,
            codes_NO,
        )
        return torch.from_numpy(codes_NO)[:, None]

    def _round_scalar(
        self, x_NO: torch.Tensor, importance_NO: torch.Tensor, level_NO: torch.Tensor, template_NO: torch.Tensor
    ) -> torch.Tensor:
        cost_NO = torch.from_numpy(self._square_cost_L).float()[level_NO.long()] / importance_NO
        zero_cost_NO = self._zero_cost_L[level_NO.long()] / importance_NO
        shrunk_NO, nearest_NO = ((x_NO + cost_NO * template_NO) / (1 + cost_NO)).round(), x_NO.round()
        shrunk_cost_NO = (x_NO - shrunk_NO).square() + cost_NO * (shrunk_NO - template_NO).square() + zero_cost_NO
        nearest_cost_NO = (x_NO - nearest_NO).square() + self._max_rate_cost / importance_NO
        return torch.where(shrunk_cost_NO <= nearest_cost_NO, shrunk_NO, nearest_NO)


def _stack_in_order(parts: list[list[torch.Tensor]], order_NI: torch.Tensor) -> torch.Tensor:
    """[N, I, O] in the order of the columns, from the [O, I] of the tensors of each stack."""
    stacked_NIO = torch.stack([torch.cat(tensors) for tensors in parts]).mT
    return stacked_NIO.gather(1, order_NI[:, :, None].expand_as(stacked_NIO)).contiguous()


@functools.cache
def _load_kernel() -> Callable[..., None]:
    """The Viterbi kernel, compiled. Raises UnavailableError, which says what to install, when that fails."""
    try:
        from golf.quantization import viterbi

        viterbi.compile_kernel()
    except Exception as error:  # whatever an import of numba or its compiler raises
        raise UnavailableError(
            f"quantize.coding: trellis needs the compiler numba, which does not work here ({error}); install it with "
            "pip install -e ., or set quantize.coding: scalar"
        ) from None
    return viterbi.find_path
