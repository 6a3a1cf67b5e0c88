"""What quantisation cost: bits, output error against plain rounding, and codes at the end of their range."""

# O output features, I input features

import torch

from golf.quant import grid
from golf.quant.grid import Quantized


def entropy(codes: torch.Tensor) -> float:
    """Bits a code of an ideal coder that knows only how often each occurs (order 0).

    >>> entropy(torch.tensor([0, 0, 1, -1], dtype=torch.int8))
    1.5
    """
    counts = torch.bincount(codes.flatten().int() + 128, minlength=256).double()
    shares = counts[counts > 0] / codes.numel()
    return float(-(shares * shares.log2()).sum())


def output_error(w_OI: torch.Tensor, quantized: Quantized, h_II: torch.Tensor) -> float:
    """tr(E H Eᵀ): the squared change of the layer's output over the calibration tokens."""
    e_OI = w_OI - grid.dequantize(quantized)
    return float(((e_OI @ h_II) * e_OI).sum(dtype=torch.float64))


def tensor(name: str, w_OI: torch.Tensor, quantized: Quantized, h_II: torch.Tensor, bits: int) -> dict:
    """One row of the table. error_ratio: output error over that of rounding each weight for itself, same steps."""
    rounded = Quantized(grid.nearest(w_OI, quantized.steps, bits), quantized.steps)
    ours, theirs = output_error(w_OI, quantized, h_II), output_error(w_OI, rounded, h_II)
    at_end = quantized.codes.abs() == grid.largest(bits)
    return {
        "name": name,
        "class": grid.kind(name, w_OI.shape, 0),
        "weights": w_OI.numel(),
        "bits": round(entropy(quantized.codes), 4),
        "error_ratio": round(ours / theirs, 4) if theirs > 0 else 1.0,
        "clipped": round(at_end.double().mean().item(), 6),
    }


def table(weights, quantized: dict[str, Quantized], hessians, inputs: dict[str, str], plan) -> list[dict]:
    """A row for each quantised tensor; plan: params.Quantize."""
    return [
        tensor(name, weights[name], pair, hessians[inputs[name]], grid.bits_of(name, plan))
        for name, pair in quantized.items()
    ]


def totals(rows: list[dict], small: dict[str, torch.Tensor]) -> dict:
    """Of the whole model: weights, mean bits, and the mean of log error ratios as one ratio."""
    weights = sum(row["weights"] for row in rows)
    ratios = torch.tensor([row["error_ratio"] for row in rows], dtype=torch.float64)
    return {
        "tensors": len(rows),
        "weights": weights,
        "small_weights": sum(tensor.numel() for tensor in small.values()),
        "bits": round(sum(row["bits"] * row["weights"] for row in rows) / weights, 4),
        "ideal_bytes": round(sum(row["bits"] * row["weights"] for row in rows) / 8),
        "error_ratio": round(float(ratios.clamp_min(1e-12).log().mean().exp()), 4),
        "clipped": round(sum(row["clipped"] * row["weights"] for row in rows) / weights, 6),
    }
