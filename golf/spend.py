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

from golf.ground.errors import OverBudget
from golf.quant import outcome, solver
from golf.quant.columns import TooFine
from golf.quant.grid import Quantized

FINEST, COARSEST = 2.0**-6, 2.0**6  # levels: beyond them, codes say the weights exactly, or nothing
SOLVES, SLACK = 4, 1e-3  # solves at most, as sizes fall smoothly; share of the room that may stay empty
LAST = 4 * SOLVES  # solves after which only the coarsest level is left to try
POOR = 1e-2  # share of the room so large that more solves are worth their while
SAMPLE = 1 << 17  # weights of a tensor on which a guess is made
NEAR = 1.0005  # ratio of levels that is too small to try; doubled, in log2, with every solve beyond SOLVES
FAR = 0.02  # log2 of levels that tell of a slope


@dataclass(frozen=True)
class Try:
    """One solve: its level, the bytes of its file, its codes. Without codes where the level is too fine for them."""

    level: float
    size: float
    quantized: dict[str, Quantized]


def quantize(weights, hessians, inputs, plan, sensitivity, *, size_of: Callable[[dict], int], room: int):
    """name -> Quantized, and the level: the one that fills ``room`` where the plan leaves that of the column grid open.

    size_of: bytes of the file of quantised tensors; room: how many there may be. The other arguments, and what is
    raised, are those of ``solver.quantize``; and OverBudget, where no level makes the file small enough. A tensor whose
    codes are beyond int16 even at the coarsest level raises TooFine.
    """
    if plan.grid == "row_sdclip" or plan.level is not None:
        level = None if plan.grid == "row_sdclip" else plan.level
        return solver.quantize(weights, hessians, inputs, plan, sensitivity), level
    ready = solver.batches(weights, hessians, inputs, plan.damp)
    columns = solver.columns_of(ready, weights, sensitivity)

    def solve(level: float) -> Try:
        try:
            quantized = solver.on_columns(ready, weights, columns, level, plan.block)
        except TooFine:
            if level == COARSEST:
                raise
            return Try(level, math.inf, {})
        return Try(level, size_of(quantized), quantized)

    empty = size_of({name: nothing(columns, name) for name in inputs})
    if empty > room:
        raise OverBudget(
            f"compress.limit_bytes: leaves {room:,} bytes for the model; without a single code it takes {empty:,} "
            f"(steps, small tensors, header); raise it by more than {empty - room:,}, or lower model.layers, "
            "model.width or model.vocabulary"
        )

    def guess(level: float) -> float:
        steps = ((weights[name], level * columns.factors[name], columns.columns[name]) for name in inputs)
        return empty + sum(rounded_bytes(*each) for each in steps)

    found = best(search(solve, guess, room), room)
    return found.quantized, found.level


def nothing(columns, name: str) -> Quantized:
    """A tensor of zeros on the grid of level 1."""
    rows_O, columns_I = columns.rows(name, 1.0), columns.columns[name]
    return Quantized(torch.zeros(len(rows_O), len(columns_I), dtype=torch.int8), rows_O, columns_I)


def rounded_bytes(w_OI: torch.Tensor, rows_O: torch.Tensor, columns_I: torch.Tensor) -> float:
    """Of an ideal coder, for the codes of a sample of rows, each weight rounded for itself."""
    some = slice(None, None, 1 + w_OI.numel() // SAMPLE)
    steps_OI = rows_O[some, None] * columns_I.float()
    codes_OI = (w_OI[some] / steps_OI).round().clamp(-solver.WIDEST, solver.WIDEST)
    return outcome.entropy(codes_OI) * w_OI.numel() / 8


def search(solve: Callable[[float], Try], guess: Callable[[float], float], room: int) -> list[Try]:
    """Solves until one fills ``room`` to within SLACK, SOLVES are spent, or the levels end. guess: bytes at a level.

    Sizes may jump about ``room`` (Brotli's do, by a thousandth). Where none of SOLVES fits, or leaves POOR: as many
    again, ever coarser, and on until one fits.
    """
    tried: list[Try] = []
    while True:
        margin = SLACK * (0.5 if len(tried) < SOLVES - 1 else 0.75 * 2.0 ** (len(tried) - SOLVES + 1))
        level = between(crossing(mended(guess, tried), room * (1 - margin)), tried, room)
        tried.append(solve(level if len(tried) < LAST else COARSEST))
        largest = max((each.size for each in tried if each.size <= room), default=0)
        enough = len(tried) >= (SOLVES if largest >= room * (1 - POOR) else 2 * SOLVES)
        ended = tried[-1].level == (FINEST if tried[-1].size <= room else COARSEST)
        if full(tried[-1], room) or ended or (largest and enough):
            return tried


def between(level: float, tried: list[Try], room: int) -> float:
    """``level``, kept inside what the tries have shown: coarser than what was too large, finer than what fitted."""
    fitting = [each.level for each in tried if each.size <= room]
    least = min(fitting, default=COARSEST)
    bursting = [each for each in tried if each.size > room and (each.level < least or not fitting)]
    most = max((each.level for each in bursting), default=FINEST)
    unweighed = any(each.level == most and each.size == math.inf for each in bursting)
    apart = NEAR ** (2.0 ** max(0, len(tried) - SOLVES + 1))
    if unweighed or (fitting and bursting and least < most * apart**2):
        return math.sqrt(most * least)
    low, high = most * apart if bursting else FINEST, least / apart if fitting else COARSEST
    return min(max(level, low), high, COARSEST)


def mended(guess: Callable[[float], float], tried: list[Try]) -> Callable[[float], float]:
    """The guess plus what it missed at the last solve, on a straight line over log2(level) through the last two."""
    missed = [(math.log2(each.level), each.size - guess(each.level)) for each in tried[-2:] if each.size < math.inf]
    if not missed:
        return guess
    (x, offset), (x0, offset0) = missed[-1], missed[0]
    slope = (offset - offset0) / (x - x0) if abs(x - x0) > FAR else 0.0
    return lambda level: guess(level) + offset + slope * (math.log2(level) - x)


def crossing(falling: Callable[[float], float], aim: float) -> float:
    """The level at which a falling function comes to ``aim``, to 1e-4; the end of the range that comes nearest."""
    if falling(FINEST) <= aim:
        return FINEST
    if falling(COARSEST) >= aim:
        return COARSEST
    low, high = math.log2(FINEST), math.log2(COARSEST)
    for _ in range(17):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(2.0**middle) > aim else (low, middle)
    return 2.0**high


def full(found: Try, room: int) -> bool:
    return room * (1 - SLACK) <= found.size <= room


def best(tried: list[Try], room: int) -> Try:
    """The largest file within the room. Raises OverBudget, with the smallest, when there is none."""
    within = [each for each in tried if each.size <= room]
    if not within:
        least = min(tried, key=lambda each: each.size)
        raise OverBudget(
            f"compress.limit_bytes: leaves {room:,} bytes for the model, which takes {least.size:,} at level "
            f"{least.level:.3g}, the coarsest tried; raise it by {least.size - room:,}, or lower model.layers, "
            "model.width or model.vocabulary"
        )
    return max(within, key=lambda each: each.size)
