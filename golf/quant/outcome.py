"""What quantisation cost: bits, output error against plain rounding, and codes at the end of their range."""

# O output features (rows), I input features (columns)

import dataclasses

import torch

from golf.quant import grid, kinds, sdclip
from golf.quant.grid import Quantized

GROUPS = 16  # of a tensor's columns, in the table of columns


def entropy(codes: torch.Tensor) -> float:
    """Bits a code of an ideal coder that knows only how often each occurs (order 0).

    >>> entropy(torch.tensor([0, 0, 1, -1], dtype=torch.int8))
    1.5
    """
    flat = codes.flatten().int()
    counts = torch.bincount(flat - flat.min()).double()
    shares = counts[counts > 0] / codes.numel()
    return float(-(shares * shares.log2()).sum())


def output_error(w_OI: torch.Tensor, quantized: Quantized, h_II: torch.Tensor) -> float:
    """tr(E H Eᵀ): the squared change of the layer's output over the calibration tokens."""
    e_OI = w_OI - grid.dequantize(quantized)
    return float(((e_OI @ h_II) * e_OI).sum(dtype=torch.float64))


def tensor(name: str, w_OI: torch.Tensor, quantized: Quantized, h_II: torch.Tensor, bits: int | None) -> dict:
    """One row of the table. error_ratio: output error over that of rounding each weight for itself, same steps.

    step: its geometric mean, in standard deviations (about zero) of the tensor's weights; None where they are all zero.
    bits: of a code; None on the column grid, which clips nothing.
    """
    if bits is None:
        codes_OI = (w_OI / grid.dequantize(dataclasses.replace(quantized, codes=torch.ones_like(w_OI)))).round()
    else:
        codes_OI = sdclip.nearest(w_OI, quantized.steps, bits)
    ours = output_error(w_OI, quantized, h_II)
    theirs = output_error(w_OI, dataclasses.replace(quantized, codes=codes_OI), h_II)
    coded, spread = entropy(quantized.codes), float(w_OI.double().square().mean().sqrt())
    at_end = quantized.codes.abs() == (sdclip.largest(bits) if bits else torch.inf)
    return {
        "name": name,
        "class": kinds.kind(name, w_OI.shape, 0),
        "weights": w_OI.numel(),
        "bits": round(coded, 4),
        "bytes": round(coded * w_OI.numel() / 8),
        "step": round(step(quantized) / spread, 4) if spread else None,
        "error_ratio": round(ours / theirs, 4) if theirs > 0 else 1.0,
        "clipped": round(at_end.double().mean().item(), 6),
    }


def step(quantized: Quantized) -> float:
    """Geometric mean of all steps of a tensor, in the unit of its weights."""
    columns_I = torch.ones(1) if quantized.columns is None else quantized.columns
    return float((quantized.steps.double().log().mean() + columns_I.double().log().mean()).exp())


def columns_of(name: str, quantized: Quantized, h_II: torch.Tensor) -> list[dict]:
    """The tensor's rows in the table of columns: up to GROUPS groups, as equal as can be, of columns in their order.

    The order: falling step; where all columns have one, falling diagonal of the Hessian, the order of GPTQ.
    """
    by_I = h_II.diagonal() if quantized.columns is None else quantized.columns
    order_I = by_I.float().argsort(descending=True, stable=True)
    groups = order_I.tensor_split(min(GROUPS, len(order_I)))
    told = {"tensor": name, "class": kinds.kind(name, quantized.codes.shape, 0)}
    return [
        {**told, "group": place, "columns": len(group), "bits": round(entropy(quantized.codes[:, group]), 4)}
        for place, group in enumerate(groups, start=1)
    ]


def columns(quantized: dict[str, Quantized], hessians, inputs: dict[str, str]) -> list[dict]:
    """Bits by column: a row for each group of columns of each quantised tensor."""
    return [row for name, each in quantized.items() for row in columns_of(name, each, hessians[inputs[name]])]


def table(weights, quantized: dict[str, Quantized], hessians, inputs: dict[str, str], plan) -> list[dict]:
    """A row for each quantised tensor; plan: sections.Quantize."""
    bits = {name: sdclip.bits_of(name, plan) if pair.columns is None else None for name, pair in quantized.items()}
    return [tensor(name, weights[name], pair, hessians[inputs[name]], bits[name]) for name, pair in quantized.items()]


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
