"""What quantisation cost: bits, output error against plain rounding, and codes at the end of their range."""

# O output features (rows), I input features (columns)

import dataclasses

import torch

from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor
from golf.quantization import param_kinds, row_scales

_N_COLUMN_GROUPS = 16  # of a tensor's columns, in the table of columns


def empirical_entropy(codes: torch.Tensor) -> float:
    """Bits a code of an ideal coder that knows only how often each occurs (order 0).

    >>> entropy(torch.tensor([0, 0, 1, -1], dtype=torch.int8))
    1.5
    """
    flat = codes.flatten().int()
    counts = torch.bincount(flat - flat.min()).double()
    probs = counts[counts > 0] / codes.numel()
    return float(-(probs * probs.log2()).sum())


def output_error(w_OI: torch.Tensor, quantized: QuantizedTensor, h_II: torch.Tensor) -> float:
    """tr(E H Eᵀ): the squared change of the layer's output over the calibration tokens."""
    error_OI = w_OI - quantized_tensor.dequantize(quantized)
    return float(((error_OI @ h_II) * error_OI).sum(dtype=torch.float64))


def tensor_row(name: str, w_OI: torch.Tensor, quantized: QuantizedTensor, h_II: torch.Tensor, bits: int | None) -> dict:
    """One row of the table. error_ratio: output error over that of rounding each weight for itself, same steps.

    step: its geometric mean, in standard deviations (about zero) of the tensor's weights; None where they are all zero.
    bits: of a code; None on the column grid, which clips nothing.
    """
    if bits is None:
        rtn_codes_OI = (
            w_OI / quantized_tensor.dequantize(dataclasses.replace(quantized, codes=torch.ones_like(w_OI)))
        ).round()
    else:
        rtn_codes_OI = row_scales.round_to_nearest(w_OI, quantized.row_scales, bits)
    gptq_error = output_error(w_OI, quantized, h_II)
    rtn_error = output_error(w_OI, dataclasses.replace(quantized, codes=rtn_codes_OI), h_II)
    bits_per_code, rms = empirical_entropy(quantized.codes), float(w_OI.double().square().mean().sqrt())
    is_clipped = quantized.codes.abs() == (row_scales.max_code(bits) if bits else torch.inf)
    return {
        "name": name,
        "class": param_kinds.param_kind(name, w_OI.shape, 0),
        "weights": w_OI.numel(),
        "bits": round(bits_per_code, 4),
        "bytes": round(bits_per_code * w_OI.numel() / 8),
        "step": round(_geometric_mean_step(quantized) / rms, 4) if rms else None,
        "error_ratio": round(gptq_error / rtn_error, 4) if rtn_error > 0 else 1.0,
        "clipped": round(is_clipped.double().mean().item(), 6),
    }


def _geometric_mean_step(quantized: QuantizedTensor) -> float:
    """Geometric mean of all steps of a tensor, in the unit of its weights."""
    col_scales_I = torch.ones(1) if quantized.col_scales is None else quantized.col_scales
    return float((quantized.row_scales.double().log().mean() + col_scales_I.double().log().mean()).exp())


def column_rows(name: str, quantized: QuantizedTensor, h_II: torch.Tensor) -> list[dict]:
    """The tensor's rows in the table of columns: up to GROUPS groups, as equal as can be, of columns in their order.

    The order: falling step; where all columns have one, falling diagonal of the Hessian, the order of GPTQ.
    """
    sort_key_I = h_II.diagonal() if quantized.col_scales is None else quantized.col_scales
    order_I = sort_key_I.float().argsort(descending=True, stable=True)
    groups = order_I.tensor_split(min(_N_COLUMN_GROUPS, len(order_I)))
    common_fields = {"tensor": name, "class": param_kinds.param_kind(name, quantized.codes.shape, 0)}
    return [
        {
            **common_fields,
            "group": group_index,
            "columns": len(group),
            "bits": round(empirical_entropy(quantized.codes[:, group]), 4),
        }
        for group_index, group in enumerate(groups, start=1)
    ]


def column_table(quantized: dict[str, QuantizedTensor], hessians, inputs: dict[str, str]) -> list[dict]:
    """Bits by column: a row for each group of columns of each quantised tensor."""
    return [row for name, qtensor in quantized.items() for row in column_rows(name, qtensor, hessians[inputs[name]])]


def tensor_table(weights, quantized: dict[str, QuantizedTensor], hessians, inputs: dict[str, str], cfg) -> list[dict]:
    """A row for each quantised tensor; plan: sections.Quantize."""
    bits_by_name = {
        name: row_scales.code_bits(name, cfg) if qtensor.col_scales is None else None
        for name, qtensor in quantized.items()
    }
    return [
        tensor_row(name, weights[name], pair, hessians[inputs[name]], bits_by_name[name])
        for name, pair in quantized.items()
    ]


def compute_totals(rows: list[dict], small_tensors: dict[str, torch.Tensor]) -> dict:
    """Of the whole model: weights, mean bits, and the mean of log error ratios as one ratio."""
    n_weights = sum(row["weights"] for row in rows)
    error_ratios = torch.tensor([row["error_ratio"] for row in rows], dtype=torch.float64)
    return {
        "tensors": len(rows),
        "weights": n_weights,
        "small_weights": sum(tensor.numel() for tensor in small_tensors.values()),
        "bits": round(sum(row["bits"] * row["weights"] for row in rows) / n_weights, 4),
        "ideal_bytes": round(sum(row["bits"] * row["weights"] for row in rows) / 8),
        "error_ratio": round(float(error_ratios.clamp_min(1e-12).log().mean().exp()), 4),
        "clipped": round(sum(row["clipped"] * row["weights"] for row in rows) / n_weights, 6),
    }
