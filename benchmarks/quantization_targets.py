"""Compare other quantization targets with the row_column grid at equal bits. ``quantization_targets.py ARTIFACTS``

Each variant quantizes the same weights at two base steps. Reported are its divergence KL(trained ‖ quantized) in nats
per token on windows of val, and the ratio to the grid's own divergence at equal bits per weight. Bits are those of the
packed file plus what the variant would store in addition; the grid is interpolated between its own two points. A ratio
under 1 is an improvement. The seconds are added calibration time.

tensors          base steps by the sensitivity of tensors, not of rows
flat embedding   the same for the embedding only
sequential       Hessians of each block with the blocks before it quantized; a recurrent block counts once
compensated      the same, with weights first corrected for the error of quantized inputs: W Σ x x̂ᵀ (Σ x̂ x̂ᵀ + λ)⁻¹
own text         Hessians from as many tokens sampled from the model itself (#1019), with a cache of keys and values
rescaled         columns times the jointly optimal factors for the least output error (after WaterSIC's LMMSE factors)
d^0.7            column scales to this power
low rank n       the best rank-n correction of the rounding error under the Hessian, in fp16 (LQER, arXiv:2402.02446)
both sides       rows that share output sensitivity compensate each other like columns, in 16 blocks (arXiv:2505.22988)
"""

import argparse
import dataclasses
import functools
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from calibration_data import compute_output_covariances, sample_windows
from run_artifacts import RunArtifacts

from golf.artifacts import io
from golf.compression import quantized_tensor, writer
from golf.data import split_reader
from golf.distributed import context
from golf.model.gpt import GPT
from golf.quantization import codes_io, solver
from golf.quantization import hessians as quantization_hessians
from golf.quantization.column_scales import COLUMN_MANTISSA_BITS, round_mantissa
from golf.quantization.gptq import HessianFactor, gptq

BASE_STEPS, DAMPING_FRAC, BLOCK_SIZE, N_ROW_BLOCKS = (0.5, 0.9), 0.01, 128, 16
N_COVARIANCE_WINDOWS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="artifacts folders of complete runs")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=tuple(VARIANTS), metavar="VARIANT")
    parser.add_argument("--windows", type=int, default=128, help="windows of val for the divergence (%(default)s)")
    parser.add_argument("--json", help="also write the measurements here")
    args = parser.parse_args()
    results = {
        str(folder): compare_variants(QuantizationExperiment(folder, args.windows), args.only)
        for folder in args.artifacts
    }
    if args.json:
        io.write_json(args.json, {"threads": torch.get_num_threads(), "runs": results})


def compare_variants(experiment: "QuantizationExperiment", variants) -> list[dict]:
    grid_results = [experiment.measure(experiment.quantize(base_step)) for base_step in BASE_STEPS]
    grid_bits, grid_log_kl = [bits for bits, _ in grid_results], np.log([kl for _, kl in grid_results])
    log_kl_slope = np.polyfit(grid_bits, grid_log_kl, 1)[0]  # per bit
    rows = []
    for name in variants:
        start_s = time.perf_counter()
        for base_step, (bits0, kl0) in zip(BASE_STEPS, grid_results, strict=True):
            bits, kl = experiment.measure(VARIANTS[name](experiment, base_step))
            ratio = float(kl / (kl0 * np.exp(log_kl_slope * (bits - bits0))))
            rows.append({"variant": name, "base_step": base_step, "bits": bits, "kl": kl, "ratio": ratio})
            print(
                f"{name:<14} base step {base_step}   {bits:.4f} bits   KL {kl:.5f}   {ratio:.3f} of the grid",
                flush=True,
            )
        print(f"{'':<14} {time.perf_counter() - start_s:.0f} s")
    return rows


class QuantizationExperiment:
    """A complete run, and the divergence of quantized weights from it."""

    def __init__(self, folder: Path, n_windows: int):
        artifacts = RunArtifacts.load(folder)
        self.state_dict, self.hessians, self.sensitivity = (
            artifacts.state_dict,
            artifacts.hessians,
            artifacts.sensitivity,
        )
        self.model_cfg, self.input_names = artifacts.model_cfg, artifacts.input_names
        self.unquantized = {name: tensor.half().float() for name, tensor in artifacts.unquantized.items()}
        self.calibration_windows = io.load_tensors(folder / "calibrate/tokens.safetensors")[0]["windows"].long()
        tokens = torch.from_numpy(split_reader.open_split(folder / "fetch/val").read_tokens().astype(np.int64))
        starts = torch.linspace(0, len(tokens) - self.model_cfg.context_length - 1, n_windows).long()
        self.windows = torch.stack([tokens[a : a + self.model_cfg.context_length] for a in starts])
        self.model = GPT(self.model_cfg)
        self.reference_log_probs = self.log_probs(self.state_dict)
        self.solve_batches = solver.build_batches(self.state_dict, self.hessians, self.input_names, DAMPING_FRAC)
        self.column_scales = solver.compute_column_scales(self.solve_batches, self.state_dict, self.sensitivity)

    def log_probs(self, weights) -> list[torch.Tensor]:
        self.model.load_state_dict(weights)
        with torch.no_grad():
            parts = self.windows.split(16)
            return [self.model.logits(self.model(x, recurrent=True)).log_softmax(-1).half() for x in parts]

    def measure(self, candidate) -> tuple[float, float]:
        """(bits per weight, KL in nats per token) of a candidate: (codes, dequantized weights, extra bits)."""
        quantized, weights, extra_bits = candidate
        count = sum(pair.codes.numel() for pair in quantized.values())
        stored = codes_io.to_storage(quantized, {})
        bits = (
            8 * len(writer.pack(stored, self.model_cfg, upstream_splits=("train",), codec="ans", brotli_quality=11))
            + extra_bits
        )
        quantized_log_probs = self.log_probs({**self.state_dict, **self.unquantized, **weights})
        kl = 0.0
        for p, q in zip(self.reference_log_probs, quantized_log_probs, strict=True):
            p = p.float()
            kl += float((p.exp() * (p - q.float())).sum())
        return bits / count, kl / self.windows.numel()

    def quantize(self, base_step: float, solve_batches=None, column_scales=None, state_dict=None):
        quantized = solver.quantize_with_column_scales(
            solve_batches or self.solve_batches,
            state_dict or self.state_dict,
            column_scales or self.column_scales,
            base_step,
            BLOCK_SIZE,
        )
        return quantized, {name: quantized_tensor.dequantize(pair) for name, pair in quantized.items()}, 0.0

    def quantize_with_hessians(self, hessians, base_step: float):
        solve_batches = solver.build_batches(self.state_dict, hessians, self.input_names, DAMPING_FRAC)
        return self.quantize(
            base_step, solve_batches, solver.compute_column_scales(solve_batches, self.state_dict, self.sensitivity)
        )


def quantize_by_tensor_sensitivity(experiment: QuantizationExperiment, base_step: float, only=None):
    means = {name: a_O.mean().expand_as(a_O) for name, a_O in experiment.sensitivity.items()}
    sensitivity = means if only is None else experiment.sensitivity | {only: means[only]}
    return experiment.quantize(
        base_step,
        column_scales=solver.compute_column_scales(experiment.solve_batches, experiment.state_dict, sensitivity),
    )


def quantize_with_sequential_hessians(experiment: QuantizationExperiment, base_step: float, compensate: bool = False):
    state_dict, all_quantized = {**experiment.state_dict, **experiment.unquantized}, {}
    groups = [
        [n for n in experiment.input_names if n.startswith(f"blocks.{block}.")]
        for block in range(experiment.model_cfg.n_layers)
    ]
    for group in (*groups, [quantized_tensor.EMBEDDING_WEIGHT]):
        hessians, cross_products = collect_hessians(experiment, state_dict, group)
        shifted = dict(experiment.state_dict)
        for name in group if compensate else ():
            h, cross = (products[experiment.input_names[name]].double() for products in (hessians, cross_products))
            h_damped = h + h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
            missing = experiment.state_dict[name].double() @ (cross - h)
            shifted[name] = (experiment.state_dict[name] + torch.linalg.solve(h_damped, missing.T).T).float()
        solve_batches = solver.build_batches(
            shifted, hessians, {name: experiment.input_names[name] for name in group}, DAMPING_FRAC
        )
        quantized, weights, _ = experiment.quantize(base_step, solve_batches, state_dict=shifted)
        state_dict |= weights
        all_quantized |= quantized
    return all_quantized, {name: quantized_tensor.dequantize(pair) for name, pair in all_quantized.items()}, 0.0


def collect_hessians(experiment: QuantizationExperiment, state_dict, group: list[str]):
    """(Σ x̂ x̂ᵀ, Σ x x̂ᵀ) by input name; x̂: inputs of ``group`` in a model of ``state_dict``, x: in the trained model."""
    models, inputs_by_model = (GPT(experiment.model_cfg), GPT(experiment.model_cfg)), ({}, {})
    for model, weights, recorded in zip(models, (experiment.state_dict, state_dict), inputs_by_model, strict=True):
        model.load_state_dict(weights)
        for name in {
            experiment.input_names[name]: name for name in group if name != quantized_tensor.EMBEDDING_WEIGHT
        }.values():
            module = model.get_submodule(name.removesuffix(".weight"))
            activations = recorded.setdefault(experiment.input_names[name], [])
            module.register_forward_pre_hook(lambda _, read, keep=activations: keep.append(read[0].flatten(0, -2)))
    hessians, cross_products = {}, {}
    with torch.no_grad():
        for part in experiment.calibration_windows.split(16):
            for model, recorded in zip(models, inputs_by_model, strict=True):
                hidden = model(part[:, :-1], recurrent=True).flatten(0, -2)
                if quantized_tensor.EMBEDDING_WEIGHT in group:
                    recorded[experiment.input_names[quantized_tensor.EMBEDDING_WEIGHT]] = [hidden]
            for source in inputs_by_model[0]:
                x, y = (torch.cat(seen[source]) for seen in inputs_by_model)
                hessians[source] = hessians.get(source, 0) + y.T @ y
                cross_products[source] = cross_products.get(source, 0) + x.T @ y
                for recorded in inputs_by_model:
                    recorded[source].clear()
    return hessians, cross_products


def quantize_with_self_generated_calibration(experiment: QuantizationExperiment, base_step: float):
    if not hasattr(experiment, "own_hessians"):
        model = GPT(experiment.model_cfg)
        model.load_state_dict(experiment.state_dict)
        start_s, windows = time.perf_counter(), sample_windows(model, *experiment.calibration_windows.shape)
        print(f"  {windows.numel():,} tokens sampled in {time.perf_counter() - start_s:.0f} s")
        batches = [(part[:, :-1], part[:, 1:]) for part in windows.split(16)]
        experiment.own_hessians, _, _ = quantization_hessians.collect_hessians(
            model, experiment.input_names, batches, micro_rows=16, ctx=context.single_process()
        )
    return experiment.quantize_with_hessians(experiment.own_hessians, base_step)


def rescale_columns(experiment: QuantizationExperiment, base_step: float):
    """The factors g that minimize Σ_o a_o (w - q g) H (w - q g)ᵀ: (QᵀAQ ∘ H) g = diag(QᵀAW H)."""
    quantized, weights, _ = experiment.quantize(base_step)
    extra_bits = 0
    for name, q_OI in weights.items():
        h, q, w = (
            tensor.double()
            for tensor in (experiment.hessians[experiment.input_names[name]], q_OI, experiment.state_dict[name])
        )
        sensitivity_O1 = experiment.sensitivity[name].double()[:, None]
        h = h + DAMPING_FRAC * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
        gram, rhs = (q.T @ (sensitivity_O1 * q)) * h, (q * (sensitivity_O1 * w @ h)).sum(0)
        is_used = gram.diagonal() > 0
        factors = torch.ones_like(rhs)
        factors[is_used] = torch.linalg.lstsq(gram[is_used][:, is_used], rhs[is_used]).solution
        weights[name] = (q * factors).float()
        extra_bits += 8 * len(factors)  # stored in the byte that the short mantissa of a column scale leaves free
    return quantized, weights, extra_bits


def quantize_with_power_column_scales(experiment: QuantizationExperiment, base_step: float):
    scales = {}
    for name, scales_I in experiment.column_scales.col_scales.items():
        scales[name] = round_mantissa(scales_I.double() ** 0.7, COLUMN_MANTISSA_BITS).half()
    return experiment.quantize(
        base_step, column_scales=dataclasses.replace(experiment.column_scales, col_scales=scales)
    )


def quantize_with_low_rank_correction(experiment: QuantizationExperiment, base_step: float, rank: int):
    quantized, weights, _ = experiment.quantize(base_step)
    extra_bits = 0
    for name in quantized:
        h = experiment.hessians[experiment.input_names[name]].double()
        root = torch.linalg.cholesky(h + DAMPING_FRAC * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64))
        u, s, v = torch.linalg.svd((experiment.state_dict[name] - weights[name]).double() @ root, full_matrices=False)
        left, right = u[:, :rank] * s[:rank], torch.linalg.solve(root, v[:rank], left=False)
        weights[name] = weights[name] + left.half().float() @ right.half().float()
        extra_bits += 16 * rank * sum(experiment.state_dict[name].shape)
    return quantized, weights, extra_bits


def quantize_with_two_sided_rounding(experiment: QuantizationExperiment, base_step: float):
    """Minimize tr(A E H Eᵀ) with A the full covariance of the gradients at the outputs; rows in blocks."""
    if not hasattr(experiment, "output_covariances"):
        model = GPT(experiment.model_cfg)
        model.load_state_dict(experiment.state_dict)
        experiment.output_covariances = compute_output_covariances(
            model, experiment.input_names, experiment.calibration_windows[:N_COVARIANCE_WINDOWS]
        )
    blocks, sensitivity = {}, dict(experiment.sensitivity)
    for name, a in experiment.output_covariances.items():
        order = a.diagonal().argsort(descending=True)
        remaining = a[order][:, order].double()
        remaining += 0.02 * remaining.diagonal().mean() * torch.eye(len(remaining), dtype=torch.float64)
        conditional_diag, parts = torch.zeros(len(a), dtype=torch.float64), []
        edges = [round(i * len(a) / N_ROW_BLOCKS) for i in range(N_ROW_BLOCKS + 1)]
        for start, end in reversed(list(itertools.pairwise(edges))):
            coupling = torch.linalg.solve(remaining[start:end, start:end], remaining[start:end, :start])
            conditional_diag[order[start:end]] = remaining.diagonal()[start:end]
            parts.append((order[start:end], order[:start], coupling.float()))
            remaining = remaining[:start, :start] - remaining[:start, start:end] @ coupling
        blocks[name], sensitivity[name] = parts[::-1], conditional_diag.float()
    column_scales, quantized = (
        solver.compute_column_scales(experiment.solve_batches, experiment.state_dict, sensitivity),
        {},
    )
    for batch in experiment.solve_batches:
        for i, (_, names) in enumerate(batch.members):
            single_factor = HessianFactor(
                *(getattr(batch.factor, f.name)[i : i + 1] for f in dataclasses.fields(HessianFactor))
            )
            for name in names:
                w, row_scales, col_scales = (
                    experiment.state_dict[name],
                    column_scales.compute_row_scales(name, base_step),
                    column_scales.col_scales[name],
                )
                codes, error = torch.zeros_like(w), torch.zeros_like(w)
                all_rows = [(torch.arange(len(w)), torch.arange(0), torch.zeros(len(w), 0))]
                for rows, before, coupling in blocks.get(name, all_rows):
                    target = w[rows] + coupling @ error[before]
                    codes[rows] = gptq(
                        target[None], single_factor, row_scales[rows][None], col_scales[None], block_size=BLOCK_SIZE
                    )[0]
                    error[rows] = w[rows] - codes[rows] * row_scales[rows].float()[:, None] * col_scales.float()
                quantized[name] = quantized_tensor.QuantizedTensor(
                    solver.to_int_codes(name, codes), row_scales, col_scales
                )
    return quantized, {name: quantized_tensor.dequantize(pair) for name, pair in quantized.items()}, 0.0


VARIANTS = {
    "tensors": quantize_by_tensor_sensitivity,
    "flat embedding": functools.partial(quantize_by_tensor_sensitivity, only=quantized_tensor.EMBEDDING_WEIGHT),
    "sequential": quantize_with_sequential_hessians,
    "compensated": functools.partial(quantize_with_sequential_hessians, compensate=True),
    "own text": quantize_with_self_generated_calibration,
    "rescaled": rescale_columns,
    "d^0.7": quantize_with_power_column_scales,
    "low rank 1": functools.partial(quantize_with_low_rank_correction, rank=1),
    "low rank 4": functools.partial(quantize_with_low_rank_correction, rank=4),
    "both sides": quantize_with_two_sided_rounding,
}

if __name__ == "__main__":
    main()
