"""Steps that spend each bit where the loss minds most, for codes that an entropy coder packs.

To second order, moving a layer's weights by E costs Σ_o a_o e_o H e_oᵀ / 2: H is what the layer reads, a_o how much the
loss minds row o's output (``golf.quantization.sensitivity``). GPTQ's recursion turns e_o H e_oᵀ into Σ_j T_jj² ε_oj² with
H = T Tᵀ and ε_oj, spread over ± half a step, what rounding leaves (``golf.quantization.gptq``). An entropy coder charges
-log2(step) bits and a constant. The loss is least, for given bits, where one more bit brings every weight the same:

    step_oj = level · 1/√a_o · 1/T_jj

So there is one number for a whole model, and the split between tensors, rows and columns follows. The factor 1/T_jj is
WaterSIC's (arXiv:2603.04956, section 3), the one that Cholesky of H^-1 has on its diagonal; with one step a row, GPTQ
wastes half the log2 of the arithmetic over the geometric mean of T_jj² in bits a weight. The factor 1/√a_o says the
same of the output's side. ``level`` is in standard deviations of the weights, on geometric average over all of them, so
that it compares with the table of record-stack 6.2: about log2(4.13 / level) bits a weight.

Steps are stored too, so they keep few bits of mantissa: a column step up to 12 % off costs 0.004 bits a weight, a byte
for each column costs more in a matrix of up to 2,000 rows.
"""

# O output features (rows), I input features (columns)

from dataclasses import dataclass

import torch

from golf.errors import DivergenceError

COLUMN_MANTISSA_BITS, _ROW_MANTISSA_BITS = 2, 1  # of mantissa; fp16 then has one byte that varies
_SENSITIVITY_SHRINKAGE = 0.5  # of a row's sensitivity towards its tensor's mean: it is measured on few tokens
SENSITIVITY_FLOOR = (
    1e-4  # of the largest sensitivity; what looks as if the loss did not mind it at all is not dropped altogether
)
_FP16_INFO = torch.finfo(torch.float16)


class StepTooSmallError(DivergenceError):
    """A level at which a step or a code is beyond what the file holds."""


@dataclass(frozen=True)
class ColumnScales:
    """Name -> column steps [I] fp16, and row factors [O] fp32 at level 1."""

    col_scales: dict[str, torch.Tensor]
    row_factors: dict[str, torch.Tensor]

    @classmethod
    def from_sensitivity(cls, weights, diagonals, sensitivity: dict[str, torch.Tensor]) -> "ColumnScales":
        """weights: name -> w_OI; diagonals: name -> T_jj [I]; sensitivity: name -> a_O, in one unit for all tensors."""
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
        """Row steps [O] fp16 at a level. Raises Diverged, naming the tensor, when fp16 does not hold them."""
        exact_scales_O = base_step * self.row_factors[name]
        row_scales_O = exact_scales_O.half()
        if not row_scales_O.all():
            raise StepTooSmallError(
                f"{name}: quantize.base_step = {base_step:g} asks for a step of {exact_scales_O.min():.3g}, which fp16 takes "
                "for 0; raise it"
            )
        if not row_scales_O.isfinite().all():
            raise DivergenceError(
                f"{name}: quantize.base_step = {base_step:g} asks for a step of {exact_scales_O.max():.3g}, beyond fp16; lower it"
            )
        return row_scales_O


def round_mantissa(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Positive numbers with ``bits`` bits of mantissa left.

    >>> rounded(torch.tensor([1.0, 1.1, 1.2, 1.9, 5.1]), 2).tolist()
    [1.0, 1.0, 1.25, 2.0, 5.0]
    """
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 2 ** (bits + 1)).round(), exponent - bits - 1)
