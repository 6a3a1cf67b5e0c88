"""Report of quantization: entropy of the codes, output error against rounding to nearest, clipped codes."""

# O output features (rows), I input features (columns)

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config.sections import QuantizeConfig
from golf.quantization import param_kinds, row_scales
from golf.quantization.trellis import ROUND_TO_NEAREST, Coding

__all__ = [
    "compute_empirical_entropy",
    "compute_output_error",
    "compute_totals",
    "list_column_groups",
    "list_columns",
    "list_tensors",
    "make_tensor_row",
    "summarize",
]

_N_COLUMN_GROUPS = 16  # per tensor in columns.csv
_MAX_BINS = 1 << 20  # of a histogram; codes with outliers may spread over int32, and are sorted instead


def compute_empirical_entropy(codes: torch.Tensor, *, parity_known: bool = False) -> float:
    """Return the order-0 entropy in bits per code: what an ideal coder that knows the histogram needs.

    parity_known: the decoder knows beforehand whether a code is even, as on a trellis; histograms are of each parity.

    >>> compute_empirical_entropy(torch.tensor([0, 0, 1, -1], dtype=torch.int8))
    1.5
    """
    if parity_known:
        return compute_empirical_entropy(codes) - compute_empirical_entropy(codes & 1)
    flat = codes.flatten().long()
    low, high = int(flat.min()), int(flat.max())
    is_sparse = high - low > _MAX_BINS
    counts = (flat.unique(return_counts=True)[1] if is_sparse else torch.bincount(flat - low)).double()
    probs = counts[counts > 0] / codes.numel()
    return float(-(probs * probs.log2()).sum())


def compute_output_error(w_OI: torch.Tensor, quantized: QuantizedTensor, h_II: torch.Tensor) -> float:
    """Return tr(E H Eᵀ): the squared change of the layer's output, summed over the calibration tokens."""
    error_OI = w_OI - quantized_tensor.dequantize(quantized)
    return float(((error_OI @ h_II) * error_OI).sum(dtype=torch.float64))


def make_tensor_row(
    name: str,
    w_OI: torch.Tensor,
    quantized: QuantizedTensor,
    h_II: torch.Tensor,
    bits: int | None,
    coding: Coding = ROUND_TO_NEAREST,
) -> dict[str, Any]:
    """Return a tensor's row of tensors.csv. bits: of a code; None on the row_column grid, which clips nothing.

    bits_per_weight, entropy_bytes: order-0 entropy of the codes; on a trellis, given their parity. mean_step_rms:
    geometric mean of the distance between levels over the rms of the weights; None where all weights are 0.
    error_vs_rtn: output error over that of rounding each weight to the nearest of levels as far apart. clipped_frac:
    share of codes at the end of their range.
    """
    if bits is None:
        spacing = coding.spacing
        steps_OI = quantized_tensor.dequantize(dataclasses.replace(quantized, codes=torch.ones_like(w_OI)))
        rtn_codes_OI = (w_OI / (spacing * steps_OI)).round() * spacing
    else:
        rtn_codes_OI = row_scales.round_to_nearest(w_OI, quantized.row_scales, bits)
    gptq_error = compute_output_error(w_OI, quantized, h_II)
    rtn_error = compute_output_error(w_OI, dataclasses.replace(quantized, codes=rtn_codes_OI), h_II)
    entropy = compute_empirical_entropy(quantized.codes, parity_known=coding.trellis_states is not None)
    rms = float(w_OI.double().square().mean().sqrt())
    is_clipped = quantized.codes.abs() == (row_scales.compute_max_code(bits) if bits else torch.inf)
    return {
        "tensor": name,
        "kind": param_kinds.get_param_kind(name, w_OI.shape, 0),
        "weights": w_OI.numel(),
        "bits_per_weight": round(entropy, 4),
        "entropy_bytes": round(entropy * w_OI.numel() / 8),
        "mean_step_rms": round(coding.spacing * _compute_geometric_mean_step(quantized) / rms, 4) if rms else None,
        "error_vs_rtn": round(gptq_error / rtn_error, 4) if rtn_error > 0 else 1.0,
        "clipped_frac": round(is_clipped.double().mean().item(), 6),
    }


def _compute_geometric_mean_step(quantized: QuantizedTensor) -> float:
    """Geometric mean of a tensor's steps (row scale · column scale), in the unit of its weights."""
    col_scales_I = torch.ones(1) if quantized.col_scales is None else quantized.col_scales
    return float((quantized.row_scales.double().log().mean() + col_scales_I.double().log().mean()).exp())


def list_column_groups(
    name: str, quantized: QuantizedTensor, h_II: torch.Tensor, coding: Coding = ROUND_TO_NEAREST
) -> list[dict[str, Any]]:
    """Return a tensor's rows of columns.csv: the order-0 entropy of up to 16 groups of columns, of equal size ± 1.

    Columns are sorted by falling column scale or, on the row grid, by falling diagonal of H, which is GPTQ's order.
    """
    sort_key_I = h_II.diagonal() if quantized.col_scales is None else quantized.col_scales
    order_I = sort_key_I.float().argsort(descending=True, stable=True)
    parity_known = coding.trellis_states is not None
    groups = order_I.tensor_split(min(_N_COLUMN_GROUPS, len(order_I)))
    return [
        {
            "tensor": name,
            "kind": param_kinds.get_param_kind(name, quantized.codes.shape, 0),
            "group": number,
            "columns": len(group),
            "bits_per_weight": round(
                compute_empirical_entropy(quantized.codes[:, group], parity_known=parity_known), 4
            ),
        }
        for number, group in enumerate(groups, start=1)
    ]


def list_columns(
    quantized: dict[str, QuantizedTensor],
    hessians: Mapping[str, torch.Tensor],
    inputs: dict[str, str],
    coding: Coding = ROUND_TO_NEAREST,
) -> list[dict[str, Any]]:
    """Return columns.csv: the rows of every quantized tensor."""
    return [
        row
        for name, qtensor in quantized.items()
        for row in list_column_groups(name, qtensor, hessians[inputs[name]], coding)
    ]


def list_tensors(
    weights: Mapping[str, torch.Tensor],
    quantized: dict[str, QuantizedTensor],
    hessians: Mapping[str, torch.Tensor],
    inputs: dict[str, str],
    cfg: QuantizeConfig,
    coding: Coding = ROUND_TO_NEAREST,
) -> list[dict[str, Any]]:
    """Return tensors.csv: a row for every quantized tensor."""
    rows = []
    for name, qtensor in quantized.items():
        bits = row_scales.get_code_bits(name, cfg) if qtensor.col_scales is None else None
        rows.append(make_tensor_row(name, weights[name], qtensor, hessians[inputs[name]], bits, coding))
    return rows


def compute_totals(
    rows: list[dict[str, Any]], small_tensors: dict[str, torch.Tensor], base_step: float | None
) -> dict[str, Any]:
    """Return quantize's metrics.json, from the rows of tensors.csv: means over weights, geometric for error_vs_rtn."""
    n_weights = sum(row["weights"] for row in rows)
    entropy_bits = sum(row["bits_per_weight"] * row["weights"] for row in rows)
    error_ratios = torch.tensor([row["error_vs_rtn"] for row in rows], dtype=torch.float64)
    return {
        "tensors": len(rows),
        "weights": n_weights,
        "unquantized_weights": sum(tensor.numel() for tensor in small_tensors.values()),
        "bits_per_weight": round(entropy_bits / n_weights, 4),
        "entropy_bytes": round(entropy_bits / 8),
        "error_vs_rtn": round(float(error_ratios.clamp_min(1e-12).log().mean().exp()), 4),
        "clipped_frac": round(sum(row["clipped_frac"] * row["weights"] for row in rows) / n_weights, 6),
        "base_step": base_step,
    }


def summarize(totals: dict[str, Any]) -> str:
    """Return one line on ``compute_totals``."""
    note = "" if totals["base_step"] is None else f" at base step {totals['base_step']:.3g}"
    return f"{totals['bits_per_weight']} bits per weight{note}"
