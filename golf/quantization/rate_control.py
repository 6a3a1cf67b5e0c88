"""Rate control: find the base step of the row_column grid whose packed file just fits the byte budget.

A solve (GPTQ over the whole model, then packing) takes seconds, so the search predicts the size and solves rarely. At a
base step s it predicts

    estimate(s) = overhead + Σ_tensors n · entropy(codes by round-to-nearest at s) / 8,

where the overhead is the packed size of the file with all codes 0 (scales, small tensors, header). Rounding to nearest
has about the entropy of GPTQ's codes, and below _FINE_STEP half the step is one more bit per code. The residual
size(s) - estimate(s) of the solves so far, extended as a straight line in log2 s through the last two, corrects the
estimate. Inverting the corrected estimate gives the next base step, and two or three solves suffice.
"""

# O output features (rows), I input features (columns)

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from golf.compression.quantized_tensor import QuantizedTensor
from golf.config.sections import QuantizeConfig
from golf.errors import BudgetExceededError
from golf.pipeline.progress import log_line
from golf.quantization import report, solver
from golf.quantization.column_scales import ColumnScales, StepTooSmallError
from golf.quantization.trellis import Coding

__all__ = [
    "MIN_BASE_STEP",
    "SOLVE_BUDGET",
    "Attempt",
    "is_within_tolerance",
    "make_unfilled_note",
    "quantize_to_budget",
    "search_base_step",
    "select_best",
]

# At the smallest step, 12 bits per weight, codes add a hundredth to the divergence that the small tensors' fp16 causes.
MIN_BASE_STEP, _MAX_BASE_STEP = 2.0**-10, 2.0**6  # at the largest all codes are 0
_FINE_STEP, _MAX_SAMPLE_CODE = 2.0**-6, 2**15 - 1  # of the estimate; a sample does not show the entropy of finer steps
SOLVE_BUDGET = 4  # solves, as long as sizes fall smoothly with the base step
_SIZE_TOLERANCE_FRAC = 1e-3  # of the budget that may stay unused
_GIVE_UP_AFTER_SOLVES = 4 * SOLVE_BUDGET  # then only the largest base step is left to try
_POOR_FIT_FRAC = 1e-2  # of the budget; as much unused is worth SOLVE_BUDGET more solves
_SAMPLE_WEIGHTS = 1 << 17  # of a tensor, for the estimate
_MIN_STEP_RATIO = 1.0005  # between base steps worth a solve; its logarithm doubles with each solve beyond SOLVE_BUDGET
_MIN_LOG2_DISTANCE = 0.02  # between the base steps of two solves that determine a slope


@dataclass(frozen=True)
class Attempt:
    """One solve and the size of its file. A base step too small has size inf, no tensors, and the problem it meets."""

    base_step: float
    size_bytes: float
    quantized: dict[str, QuantizedTensor]
    problem: str = ""


def quantize_to_budget(
    weights: Mapping[str, torch.Tensor],
    hessians: Mapping[str, torch.Tensor],
    inputs: dict[str, str],
    cfg: QuantizeConfig,
    sensitivity: Mapping[str, torch.Tensor],
    *,
    size_fn: Callable[[dict[str, QuantizedTensor]], int],
    max_bytes: int,
) -> tuple[dict[str, QuantizedTensor], float | None]:
    """Return (quantized tensors, their base step; None on the row grid).

    With ``cfg.base_step`` null on the row_column grid, the base step is the one whose file is largest within
    ``max_bytes``, and a line says why if more than a thousandth stays unused. Otherwise it is taken from ``cfg``, and
    ``max_bytes`` is ignored. size_fn: bytes of the file of quantized tensors. The other arguments and errors are those
    of ``solver.quantize_model``.
    Raises BudgetExceededError when no base step makes the file small enough, and StepTooSmallError when a code is
    beyond int32 even at the largest base step.
    """
    if cfg.grid == "row" or cfg.base_step is not None:
        base_step = None if cfg.grid == "row" else cfg.base_step
        return solver.quantize_model(weights, hessians, inputs, cfg, sensitivity), base_step
    batches = solver.build_batches(weights, hessians, inputs, cfg.damping_frac)
    column_scales = solver.compute_column_scales(batches, weights, sensitivity)
    coding = Coding.from_config(cfg)

    def solve(base_step: float) -> Attempt:
        try:
            quantized = solver.quantize_with_column_scales(
                batches, weights, column_scales, base_step, cfg.block_size, coding
            )
        except StepTooSmallError as error:
            if base_step == _MAX_BASE_STEP:
                raise
            return Attempt(base_step, math.inf, {}, str(error))
        return Attempt(base_step, size_fn(quantized), quantized)

    overhead_bytes = size_fn({name: _make_zero_codes(column_scales, name) for name in inputs})
    if overhead_bytes > max_bytes:
        raise BudgetExceededError(
            f"compress.limit_bytes: leaves {max_bytes:,} bytes for the model, which takes {overhead_bytes:,} without a "
            f"single code (scales, small tensors, header); raise it by more than {overhead_bytes - max_bytes:,}, or "
            "lower model.n_layers, model.d_model or model.vocab_size"
        )

    n_weights = sum(weights[name].numel() for name in inputs)

    def estimate_bytes(base_step: float) -> float:
        sample_step = max(base_step, _FINE_STEP)
        code_bytes = (
            _estimate_rtn_bytes(
                weights[name], sample_step * column_scales.row_factors[name], column_scales.col_scales[name]
            )
            for name in inputs
        )
        return overhead_bytes + sum(code_bytes) + n_weights * math.log2(sample_step / base_step) / 8

    attempts = search_base_step(solve, estimate_bytes, max_bytes)
    best_attempt = select_best(attempts, max_bytes)
    if note := make_unfilled_note(attempts, max_bytes):
        log_line("quantize", note)
    return best_attempt.quantized, best_attempt.base_step


def _make_zero_codes(column_scales: ColumnScales, name: str) -> QuantizedTensor:
    """A tensor whose codes are all 0, with the scales of base step 1."""
    row_scales_O, col_scales_I = column_scales.compute_row_scales(name, 1.0), column_scales.col_scales[name]
    codes_OI = torch.zeros(len(row_scales_O), len(col_scales_I), dtype=torch.int8)
    return QuantizedTensor(codes_OI, row_scales_O, col_scales_I)


def _estimate_rtn_bytes(w_OI: torch.Tensor, row_scales_O: torch.Tensor, col_scales_I: torch.Tensor) -> float:
    """Order-0 entropy of a tensor's codes by round-to-nearest, in bytes, from a sample of its rows."""
    sample = slice(None, None, 1 + w_OI.numel() // _SAMPLE_WEIGHTS)
    scales_OI = row_scales_O[sample, None] * col_scales_I.float()
    codes_OI = (w_OI[sample] / scales_OI).round().clamp(-_MAX_SAMPLE_CODE, _MAX_SAMPLE_CODE)
    return report.compute_empirical_entropy(codes_OI) * w_OI.numel() / 8


def search_base_step(
    solve: Callable[[float], Attempt], estimate_bytes: Callable[[float], float], max_bytes: int
) -> list[Attempt]:
    """Return all solves of a search, in order.

    It ends when a file fills ``max_bytes`` to within _SIZE_TOLERANCE_FRAC, at the end of the range of base steps, or
    when SOLVE_BUDGET is spent and a file fits. Sizes may jitter (Brotli's do, by a thousandth): when none of the
    SOLVE_BUDGET files fits, or the best leaves _POOR_FIT_FRAC unused, as many solves again follow with ever larger
    margins, and more until one fits.
    """
    attempts: list[Attempt] = []
    while True:
        n_extra = len(attempts) - SOLVE_BUDGET + 1
        margin = _SIZE_TOLERANCE_FRAC * (0.5 if n_extra < 0 else 0.75 * 2.0**n_extra)
        base_step = _clamp_to_bracket(
            _invert_size(_correct_estimate(estimate_bytes, attempts), max_bytes * (1 - margin)), attempts, max_bytes
        )
        attempts.append(solve(base_step if len(attempts) < _GIVE_UP_AFTER_SOLVES else _MAX_BASE_STEP))
        sizes = [attempt.size_bytes for attempt in attempts if attempt.size_bytes <= max_bytes]
        is_good_fit = max(sizes, default=0) >= max_bytes * (1 - _POOR_FIT_FRAC)
        has_spent_budget = len(attempts) >= (SOLVE_BUDGET if is_good_fit else 2 * SOLVE_BUDGET)
        bound = MIN_BASE_STEP if attempts[-1].size_bytes <= max_bytes else _MAX_BASE_STEP
        is_at_bound = attempts[-1].base_step == bound
        if is_within_tolerance(attempts[-1], max_bytes) or is_at_bound or (sizes and has_spent_budget):
            return attempts


def _clamp_to_bracket(base_step: float, attempts: list[Attempt], max_bytes: int) -> float:
    """``base_step``, kept above every base step that gave a file too large and below every one that fitted."""
    fitting_steps = [attempt.base_step for attempt in attempts if attempt.size_bytes <= max_bytes]
    min_fitting_step = min(fitting_steps, default=_MAX_BASE_STEP)
    oversized = [
        attempt
        for attempt in attempts
        if attempt.size_bytes > max_bytes and (attempt.base_step < min_fitting_step or not fitting_steps)
    ]
    max_oversized_step = max((attempt.base_step for attempt in oversized), default=MIN_BASE_STEP)
    is_unmeasured = any(
        attempt.base_step == max_oversized_step and attempt.size_bytes == math.inf for attempt in oversized
    )
    min_ratio = _MIN_STEP_RATIO ** (2.0 ** max(0, len(attempts) - SOLVE_BUDGET + 1))
    if is_unmeasured or (fitting_steps and oversized and min_fitting_step < max_oversized_step * min_ratio**2):
        return math.sqrt(max_oversized_step * min_fitting_step)
    low = max_oversized_step * min_ratio if oversized else MIN_BASE_STEP
    high = min_fitting_step / min_ratio if fitting_steps else _MAX_BASE_STEP
    return min(max(base_step, low), high, _MAX_BASE_STEP)


def _correct_estimate(estimate_bytes: Callable[[float], float], attempts: list[Attempt]) -> Callable[[float], float]:
    """The estimate plus the residuals of the last two solves, extended as a straight line in log2(base_step)."""
    residuals = [
        (math.log2(attempt.base_step), attempt.size_bytes - estimate_bytes(attempt.base_step))
        for attempt in attempts[-2:]
        if attempt.size_bytes < math.inf
    ]
    if not residuals:
        return estimate_bytes
    (x, offset), (x0, offset0) = residuals[-1], residuals[0]
    slope = (offset - offset0) / (x - x0) if abs(x - x0) > _MIN_LOG2_DISTANCE else 0.0
    return lambda base_step: estimate_bytes(base_step) + offset + slope * (math.log2(base_step) - x)


def _invert_size(size_at: Callable[[float], float], target_bytes: float) -> float:
    """The base step, to 1e-4, at which a falling function reaches ``target_bytes``, or the nearer end of the range."""
    if size_at(MIN_BASE_STEP) <= target_bytes:
        return MIN_BASE_STEP
    if size_at(_MAX_BASE_STEP) >= target_bytes:
        return _MAX_BASE_STEP
    is_fine = size_at(_FINE_STEP) <= target_bytes
    low, high = math.log2(MIN_BASE_STEP if is_fine else _FINE_STEP), math.log2(_MAX_BASE_STEP)
    for _ in range(17):
        middle = (low + high) / 2
        low, high = (middle, high) if size_at(2.0**middle) > target_bytes else (low, middle)
    return 2.0**high


def is_within_tolerance(attempt: Attempt, max_bytes: int) -> bool:
    return max_bytes * (1 - _SIZE_TOLERANCE_FRAC) <= attempt.size_bytes <= max_bytes


def select_best(attempts: list[Attempt], max_bytes: int) -> Attempt:
    """Return the attempt with the largest file that fits.

    Raises BudgetExceededError, naming the smallest, when none fits.
    """
    fitting = [attempt for attempt in attempts if attempt.size_bytes <= max_bytes]
    if not fitting:
        smallest = min(attempts, key=lambda attempt: attempt.size_bytes)
        raise BudgetExceededError(
            f"compress.limit_bytes: leaves {max_bytes:,} bytes for the model, which takes {smallest.size_bytes:,} "
            f"at base step {smallest.base_step:.3g}, the largest tried; raise it by "
            f"{smallest.size_bytes - max_bytes:,}, or lower model.n_layers, model.d_model or model.vocab_size"
        )
    return max(fitting, key=lambda attempt: attempt.size_bytes)


def make_unfilled_note(attempts: list[Attempt], max_bytes: int) -> str:
    """Return why the largest file that fits leaves over _SIZE_TOLERANCE_FRAC of ``max_bytes`` unused; else "".

    Raises BudgetExceededError as ``select_best`` does.
    """
    best = select_best(attempts, max_bytes)
    if is_within_tolerance(best, max_bytes):
        return ""
    problems = [attempt.problem for attempt in attempts if attempt.problem]
    reason = f"none of {len(attempts)} files came closer"
    if problems:
        reason = f"smaller steps fail: {problems[-1]}"
    if best.base_step == MIN_BASE_STEP:
        reason = f"at base step {MIN_BASE_STEP:.3g}, the codes are as exact as fp16, more bytes change nothing"
    unused_bytes = max_bytes - round(best.size_bytes)
    return f"{unused_bytes:,} of {max_bytes:,} bytes ({unused_bytes / max_bytes:.1%}) stay unused: {reason}"
