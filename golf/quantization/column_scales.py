"""Bit allocation: choose row and column scales that minimize the expected loss at a given entropy-coded size.

To second order, a change E of a layer's weights raises the loss by ½ Σ_o a_o e_o H e_oᵀ, with H = E[x xᵀ] over the
layer's inputs x and a_o the sensitivity of output o (``golf.quantization.sensitivity``). GPTQ turns e_o H e_oᵀ into
Σ_j T_jj² ε_oj², where H = T Tᵀ and ε_oj is the rounding error of one column, spread over ± half a step
(``golf.quantization.gptq``). An entropy coder spends -log2(step_oj) bits per code plus a constant. At the optimum one
more bit lowers the loss by the same amount for every weight, so

    step_oj = base_step · u · a_o^(-1/2) · T_jj^(-1)

and a single number, ``base_step``, sets the size of the whole model; the split between tensors, rows and columns
follows. The factor 1/T_jj is WaterSIC's (arXiv:2603.04956, section 3). With one step per row instead, GPTQ wastes half
the log2 of the ratio of the arithmetic to the geometric mean of T_jj², in bits per weight. The factor a_o^(-1/2) is the
same argument on the output side. The unit u makes ``base_step`` the geometric mean, over all weights, of step over the
rms of the tensor's weights. A Gaussian weight then takes about log2(√(2πe) / base_step) = log2(4.13 / base_step) bits
(docs/references.md#step-sizes, #watersic, #row-sensitivity).

Scales are stored, so they keep few bits of mantissa: a column scale off by up to 12 % costs 0.004 bits per weight,
while one more byte per column costs more in any matrix of up to 2,000 rows.
"""

# O output features (rows), I input features (columns)

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch

from golf.errors import DivergenceError

__all__ = ["COLUMN_MANTISSA_BITS", "SENSITIVITY_FLOOR", "ColumnScales", "StepTooSmallError", "round_mantissa"]

COLUMN_MANTISSA_BITS, _ROW_MANTISSA_BITS = 2, 1  # of fp16's 10; one byte of a stored scale is then constant
_SENSITIVITY_SHRINKAGE = 0.5  # towards the tensor's mean, because few tokens measure a row
SENSITIVITY_FLOOR = 1e-4  # of the largest mean; a tensor that seems to have no effect keeps a finite step
_FP16_INFO = torch.finfo(torch.float16)


class StepTooSmallError(DivergenceError):
    """A base step so small that a scale underflows fp16, or a code overflows int32."""


@dataclass(frozen=True)
class ColumnScales:
    """By tensor name: column scales fp16 [I], and row factors fp32 [O], the row scales at base_step = 1."""

    col_scales: dict[str, torch.Tensor]
    row_factors: dict[str, torch.Tensor]

    @classmethod
    def from_sensitivity(
        cls,
        weights: Mapping[str, torch.Tensor],
        diagonals: Mapping[str, torch.Tensor],
        sensitivity: Mapping[str, torch.Tensor],
    ) -> Self:
        """Return the scales of all tensors in ``diagonals``.

        weights: w [O, I]. diagonals: T_jj [I]. sensitivity: a [O]. A factor common to all Hessians, or to all
        sensitivities, changes nothing.
        """
        min_sensitivity = SENSITIVITY_FLOOR * max((float(sensitivity[name].mean()) for name in diagonals), default=0.0)
        col_scales, row_factors, log_sum, n_weights = {}, {}, 0.0, 0
        for name, diag_I in diagonals.items():
            inverse_I = 1 / diag_I.double()
            col_geo_mean = inverse_I.log().mean().exp()
            col_scales[name] = (
                round_mantissa(inverse_I / col_geo_mean, COLUMN_MANTISSA_BITS)
                .clamp(_FP16_INFO.smallest_normal, _FP16_INFO.max)
                .half()
            )
            a_O = sensitivity[name].double()
            a_O = torch.lerp(a_O, a_O.mean(), _SENSITIVITY_SHRINKAGE).clamp_min(min_sensitivity or 1.0)
            row_geo_mean = a_O.rsqrt().log().mean().exp()
            row_factors[name] = (
                round_mantissa(a_O.rsqrt() / row_geo_mean, _ROW_MANTISSA_BITS) * row_geo_mean * col_geo_mean
            )
            rms = float(weights[name].double().square().mean().sqrt())
            if rms:
                log_sum += weights[name].numel() * float((rms / (row_geo_mean * col_geo_mean)).log())
                n_weights += weights[name].numel()
        unit = torch.tensor(log_sum / max(1, n_weights), dtype=torch.float64).exp()
        return cls(col_scales, {name: (unit * factor_O).float() for name, factor_O in row_factors.items()})

    def compute_row_scales(self, name: str, base_step: float) -> torch.Tensor:
        """Return the row scales fp16 [O]. Raises DivergenceError, naming the tensor, when fp16 cannot hold them.

        It is a StepTooSmallError where they are too small.
        """
        exact_scales_O = base_step * self.row_factors[name]
        row_scales_O = exact_scales_O.half()
        if not row_scales_O.all():
            raise StepTooSmallError(
                f"{name}: quantize.base_step = {base_step:g} gives a row scale of {exact_scales_O.min():.3g}, which "
                "is 0 in fp16; raise it"
            )
        if not row_scales_O.isfinite().all():
            raise DivergenceError(
                f"{name}: quantize.base_step = {base_step:g} gives a row scale of {exact_scales_O.max():.3g}, which is "
                "beyond fp16; lower it"
            )
        return row_scales_O


def round_mantissa(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Round positive numbers to ``bits`` bits after the leading one.

    >>> round_mantissa(torch.tensor([1.0, 1.1, 1.2, 1.9, 5.1]), 2).tolist()
    [1.0, 1.0, 1.25, 2.0, 5.0]
    """
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2 ** (bits + 1)).round(), exponent - bits - 1)
