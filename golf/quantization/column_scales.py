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
_SENSITIVITY_SHRINKAGE = 0.5  # toward the tensor's mean, because few tokens measure a row
SENSITIVITY_FLOOR = 1e-4  # of the largest mean; a tensor that seems to have no effect keeps a finite step
_MAX_PEAK_CODE = 2.0**21  # of a row's largest weight; GPTQ adds to it, and float32, in which it computes, ends at 2^24
_OUTLIER_RATIO = 64  # to the median of a tensor's absolute weights, above which a weight does not raise the rms
_FP16_INFO = torch.finfo(torch.float16)


class StepTooSmallError(DivergenceError):
    """A base step so small that a scale underflows fp16, or a code overflows int32."""


@dataclass(frozen=True)
class ColumnScales:
    """By tensor name: column scales fp16 [I], and row factors fp32 [O], the row scales at base_step = 1.

    exact_col_scales, exact_row_factors: fp32, before their mantissas are rounded. min_row_scales: fp32 [O], at which
    the largest weight of a row has a code of 2^20 to 2^21, nearly as exact as its fp32.
    """

    col_scales: dict[str, torch.Tensor]
    row_factors: dict[str, torch.Tensor]
    exact_col_scales: dict[str, torch.Tensor]
    exact_row_factors: dict[str, torch.Tensor]
    min_row_scales: dict[str, torch.Tensor]

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
        scales = cls({}, {}, {}, {}, {})
        log_sum, n_weights = 0.0, 0
        for name, diag_I in diagonals.items():
            inverse_I = 1 / diag_I.double()
            col_geo_mean = inverse_I.log().mean().exp()
            exact_I = inverse_I / col_geo_mean
            scales.exact_col_scales[name] = exact_I.float()
            scales.col_scales[name] = (
                round_mantissa(exact_I, COLUMN_MANTISSA_BITS).clamp(_FP16_INFO.smallest_normal, _FP16_INFO.max).half()
            )
            peak_O = (weights[name].abs() / scales.col_scales[name].float()).amax(dim=1)
            scales.min_row_scales[name] = torch.frexp(peak_O)[1].exp2() / _MAX_PEAK_CODE
            a_O = sensitivity[name].double()
            a_O = torch.lerp(a_O, a_O.mean(), _SENSITIVITY_SHRINKAGE).clamp_min(min_sensitivity or 1.0)
            row_geo_mean = a_O.rsqrt().log().mean().exp()
            exact_O = a_O.rsqrt() / row_geo_mean
            geo_mean = row_geo_mean * col_geo_mean
            scales.exact_row_factors[name] = exact_O * geo_mean
            scales.row_factors[name] = round_mantissa(exact_O, _ROW_MANTISSA_BITS) * geo_mean
            w_OI = weights[name].double()
            peak = float(w_OI.abs().median()) * _OUTLIER_RATIO or torch.inf
            rms = float(w_OI.clamp(-peak, peak).square().mean().sqrt())
            if rms:
                log_sum += weights[name].numel() * float((rms / (row_geo_mean * col_geo_mean)).log())
                n_weights += weights[name].numel()
        unit = torch.tensor(log_sum / max(1, n_weights), dtype=torch.float64).exp()
        for factors in (scales.row_factors, scales.exact_row_factors):
            factors |= {name: (unit * factor_O).float() for name, factor_O in factors.items()}
        return scales

    def compute_row_scales(self, name: str, base_step: float) -> torch.Tensor:
        """Return the row scales fp16 [O]. Raises DivergenceError, naming the tensor, when fp16 cannot hold them.

        It is a StepTooSmallError where they are too small.
        """
        exact_scales_O = torch.maximum(base_step * self.row_factors[name], self.min_row_scales[name])
        row_scales_O = exact_scales_O.half()
        if not row_scales_O.all():
            raise StepTooSmallError(
                f"{name}: quantize.base_step = {base_step:g} gives a row scale of {exact_scales_O.min():.3g}, which "
                "is 0 in fp16; raise it"
            )
        if not self.min_row_scales[name].half().isfinite().all():
            peak = self.min_row_scales[name].max() * _MAX_PEAK_CODE
            raise DivergenceError(
                f"{name}: holds weights of about {peak:.3g}, whose row scale is beyond fp16; train again with lower "
                "learning rates"
            )
        if not row_scales_O.isfinite().all():
            raise DivergenceError(
                f"{name}: quantize.base_step = {base_step:g} gives a row scale of {exact_scales_O.max():.3g}, which is "
                "beyond fp16; lower it"
            )
        return row_scales_O

    def compute_importance(
        self, name: str, base_step: float, row_scales_O: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (rows' [O], columns' [I]) factors fp32 of the weight of a code's squared error, in steps.

        Their product is 1 where row scale · column scale is the exact optimum at ``base_step``.
        """
        return (
            (row_scales_O.float() / (base_step * self.exact_row_factors[name])).square(),
            (self.col_scales[name].float() / self.exact_col_scales[name]).square(),
        )


def round_mantissa(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Round positive numbers to ``bits`` bits after the leading one.

    >>> round_mantissa(torch.tensor([1.0, 1.1, 1.2, 1.9, 5.1]), 2).tolist()
    [1.0, 1.0, 1.25, 2.0, 5.0]
    """
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2 ** (bits + 1)).round(), exponent - bits - 1)
