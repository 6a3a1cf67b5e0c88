"""The level of the column grid that fills the bytes there are: bytes in, codes out, without training again.

No solve is spent on finding out how fast a file shrinks. Each weight rounded for itself has about the entropy of GPTQ's
codes at every level, and a file of zeros weighs all that is no code; from a guess on these, put right by what the last
solves missed, the search lands within two or three.
"""

# O output features (rows), I input features (columns)

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from golf.compression.quantized_tensor import QuantizedTensor
from golf.errors import BudgetExceededError
from golf.quantization import report, solver
from golf.quantization.column_scales import StepTooSmallError

MIN_BASE_STEP, _MAX_BASE_STEP = 2.0**-6, 2.0**6  # levels: beyond them, codes say the weights exactly, or nothing
SOLVE_BUDGET, _SIZE_TOLERANCE_FRAC = (
    4,
    1e-3,
)  # solves at most, as sizes fall smoothly; share of the room that may stay empty
_GIVE_UP_AFTER_SOLVES = 4 * SOLVE_BUDGET  # solves after which only the coarsest level is left to try
_POOR_FIT_FRAC = 1e-2  # share of the room so large that more solves are worth their while
_SAMPLE_WEIGHTS = 1 << 17  # weights of a tensor on which a guess is made
_MIN_STEP_RATIO = 1.0005  # ratio of levels that is too small to try; doubled, in log2, with every solve beyond SOLVES
_MIN_LOG2_DISTANCE = 0.02  # log2 of levels that tell of a slope


@dataclass(frozen=True)
class Attempt:
    """One solve: its level, the bytes of its file, its codes. Without codes where the level is too fine for them."""

    base_step: float
    size_bytes: float
    quantized: dict[str, QuantizedTensor]


def quantize_to_budget(weights, hessians, inputs, cfg, sensitivity, *, size_fn: Callable[[dict], int], max_bytes: int):
    """name -> Quantized, and the level: the one that fills ``room`` where the plan leaves that of the column grid open.

    size_of: bytes of the file of quantised tensors; room: how many there may be. The other arguments, and what is
    raised, are those of ``solver.quantize``; and OverBudget, where no level makes the file small enough. A tensor whose
    codes are beyond int16 even at the coarsest level raises TooFine.
    """
    if cfg.grid == "row" or cfg.base_step is not None:
        base_step = None if cfg.grid == "row" else cfg.base_step
        return solver.quantize_model(weights, hessians, inputs, cfg, sensitivity), base_step
    batches = solver.build_batches(weights, hessians, inputs, cfg.damping_frac)
    column_scales = solver.compute_column_scales(batches, weights, sensitivity)

    def solve(base_step: float) -> Attempt:
        try:
            quantized = solver.quantize_with_column_scales(batches, weights, column_scales, base_step, cfg.block_size)
        except StepTooSmallError:
            if base_step == _MAX_BASE_STEP:
                raise
            return Attempt(base_step, math.inf, {})
        return Attempt(base_step, size_fn(quantized), quantized)

    overhead_bytes = size_fn({name: _zero_codes(column_scales, name) for name in inputs})
    if overhead_bytes > max_bytes:
        raise BudgetExceededError(
            f"compress.limit_bytes: leaves {max_bytes:,} bytes for the model; without a single code it takes {overhead_bytes:,} "
            f"(steps, small tensors, header); raise it by more than {overhead_bytes - max_bytes:,}, or lower model.n_layers, "
            "model.d_model or model.vocab_size"
        )

    def estimate_bytes(base_step: float) -> float:
        rtn_args = (
            (weights[name], base_step * column_scales.row_factors[name], column_scales.col_scales[name])
            for name in inputs
        )
        return overhead_bytes + sum(_estimate_rtn_bytes(*tensor_args) for tensor_args in rtn_args)

    best_attempt = select_best(search_base_step(solve, estimate_bytes, max_bytes), max_bytes)
    return best_attempt.quantized, best_attempt.base_step


def _zero_codes(column_scales, name: str) -> QuantizedTensor:
    """A tensor of zeros on the grid of level 1."""
    row_scales_O, col_scales_I = column_scales.compute_row_scales(name, 1.0), column_scales.col_scales[name]
    return QuantizedTensor(
        torch.zeros(len(row_scales_O), len(col_scales_I), dtype=torch.int8), row_scales_O, col_scales_I
    )


def _estimate_rtn_bytes(w_OI: torch.Tensor, row_scales_O: torch.Tensor, col_scales_I: torch.Tensor) -> float:
    """Of an ideal coder, for the codes of a sample of rows, each weight rounded for itself."""
    sample = slice(None, None, 1 + w_OI.numel() // _SAMPLE_WEIGHTS)
    scales_OI = row_scales_O[sample, None] * col_scales_I.float()
    codes_OI = (w_OI[sample] / scales_OI).round().clamp(-solver.MAX_CODE, solver.MAX_CODE)
    return report.empirical_entropy(codes_OI) * w_OI.numel() / 8


def search_base_step(
    solve: Callable[[float], Attempt], estimate_bytes: Callable[[float], float], max_bytes: int
) -> list[Attempt]:
    """Solves until one fills ``room`` to within SLACK, SOLVES are spent, or the levels end. guess: bytes at a level.

    Sizes may jump about ``room`` (Brotli's do, by a thousandth). Where none of SOLVES fits, or leaves POOR: as many
    again, ever coarser, and on until one fits.
    """
    attempts: list[Attempt] = []
    while True:
        margin = _SIZE_TOLERANCE_FRAC * (
            0.5 if len(attempts) < SOLVE_BUDGET - 1 else 0.75 * 2.0 ** (len(attempts) - SOLVE_BUDGET + 1)
        )
        base_step = _clamp_to_bracket(
            _invert_size(_correct_estimate(estimate_bytes, attempts), max_bytes * (1 - margin)), attempts, max_bytes
        )
        attempts.append(solve(base_step if len(attempts) < _GIVE_UP_AFTER_SOLVES else _MAX_BASE_STEP))
        largest_fitting_bytes = max(
            (attempt.size_bytes for attempt in attempts if attempt.size_bytes <= max_bytes), default=0
        )
        has_spent_budget = len(attempts) >= (
            SOLVE_BUDGET if largest_fitting_bytes >= max_bytes * (1 - _POOR_FIT_FRAC) else 2 * SOLVE_BUDGET
        )
        is_at_bound = attempts[-1].base_step == (
            MIN_BASE_STEP if attempts[-1].size_bytes <= max_bytes else _MAX_BASE_STEP
        )
        if is_within_tolerance(attempts[-1], max_bytes) or is_at_bound or (largest_fitting_bytes and has_spent_budget):
            return attempts


def _clamp_to_bracket(base_step: float, attempts: list[Attempt], max_bytes: int) -> float:
    """``level``, kept inside what the tries have shown: coarser than what was too large, finer than what fitted."""
    fitting_steps = [attempt.base_step for attempt in attempts if attempt.size_bytes <= max_bytes]
    min_fitting_step = min(fitting_steps, default=_MAX_BASE_STEP)
    oversized = [
        each
        for each in attempts
        if each.size_bytes > max_bytes and (each.base_step < min_fitting_step or not fitting_steps)
    ]
    max_oversized_step = max((each.base_step for each in oversized), default=MIN_BASE_STEP)
    is_unmeasured = any(each.base_step == max_oversized_step and each.size_bytes == math.inf for each in oversized)
    min_ratio = _MIN_STEP_RATIO ** (2.0 ** max(0, len(attempts) - SOLVE_BUDGET + 1))
    if is_unmeasured or (fitting_steps and oversized and min_fitting_step < max_oversized_step * min_ratio**2):
        return math.sqrt(max_oversized_step * min_fitting_step)
    low, high = (
        max_oversized_step * min_ratio if oversized else MIN_BASE_STEP,
        min_fitting_step / min_ratio if fitting_steps else _MAX_BASE_STEP,
    )
    return min(max(base_step, low), high, _MAX_BASE_STEP)


def _correct_estimate(estimate_bytes: Callable[[float], float], attempts: list[Attempt]) -> Callable[[float], float]:
    """The guess plus what it missed at the last solve, on a straight line over log2(level) through the last two."""
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
    """The level at which a falling function comes to ``aim``, to 1e-4; the end of the range that comes nearest."""
    if size_at(MIN_BASE_STEP) <= target_bytes:
        return MIN_BASE_STEP
    if size_at(_MAX_BASE_STEP) >= target_bytes:
        return _MAX_BASE_STEP
    low, high = math.log2(MIN_BASE_STEP), math.log2(_MAX_BASE_STEP)
    for _ in range(17):
        middle = (low + high) / 2
        low, high = (middle, high) if size_at(2.0**middle) > target_bytes else (low, middle)
    return 2.0**high


def is_within_tolerance(attempt: Attempt, max_bytes: int) -> bool:
    return max_bytes * (1 - _SIZE_TOLERANCE_FRAC) <= attempt.size_bytes <= max_bytes


def select_best(attempts: list[Attempt], max_bytes: int) -> Attempt:
    """The largest file within the room. Raises OverBudget, with the smallest, when there is none."""
    fitting = [attempt for attempt in attempts if attempt.size_bytes <= max_bytes]
    if not fitting:
        smallest = min(attempts, key=lambda each: each.size_bytes)
        raise BudgetExceededError(
            f"compress.limit_bytes: leaves {max_bytes:,} bytes for the model, which takes {smallest.size_bytes:,} at level "
            f"{smallest.base_step:.3g}, the coarsest tried; raise it by {smallest.size_bytes - max_bytes:,}, or lower model.n_layers, "
            "model.d_model or model.vocab_size"
        )
    return max(fitting, key=lambda each: each.size_bytes)
