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
from golf.quant.grid import Quantized

FINEST, COARSEST = 2.0**-6, 2.0**6  # levels: beyond them, codes say the weights exactly, or nothing
SOLVES, SLACK = 4, 1e-3  # solves at most; share of the room that may stay empty
SAMPLE = 1 << 17  # weights of a tensor on which a guess is made


@dataclass(frozen=True)
class Try:
    """One solve: its level, the bytes of its file, its codes."""

    level: float
    size: int
    quantized: dict[str, Quantized]


def quantize(weights, hessians, inputs, plan, sensitivity, *, size_of: Callable[[dict], int], room: int):
    """name -> Quantized, and the level: the one that fills ``room`` where the plan leaves that of the column grid open.

    size_of: bytes of the file of quantised tensors; room: how many there may be. The other arguments, and what is
    raised, are those of ``solver.quantize``; and OverBudget, where no level makes the file small enough.
    """
    if plan.grid == "row_sdclip" or plan.level is not None:
        return solver.quantize(weights, hessians, inputs, plan, sensitivity), plan.level
    ready = solver.batches(weights, hessians, inputs, plan.damp)
    columns = solver.columns_of(ready, weights, sensitivity)

    def solve(level: float) -> Try:
        quantized = solver.on_columns(ready, weights, columns, level, plan.block)
        return Try(level, size_of(quantized), quantized)

    empty = size_of({name: nothing(columns, name) for name in inputs})
    if empty > room:
        raise OverBudget(
            f"compress.limit_bytes: leaves {room:,} bytes for the model; without a single code it takes {empty:,} "
            f"(steps, small tensors, header); raise it by more than {empty - room:,}, or lower model.layers, "
            "model.width or model.vocabulary"
        )

    def guess(level: float) -> float:
        found = (rounded_bytes(weights[name], columns.rows(name, level), columns.columns[name]) for name in inputs)
        return empty + sum(found)

    found = best(search(solve, guess, room), room)
    return found.quantized, found.level


def nothing(columns, name: str) -> Quantized:
    """A tensor of zeros on the grid of level 1."""
    rows_O, columns_I = columns.rows(name, 1.0), columns.columns[name]
    return Quantized(torch.zeros(len(rows_O), len(columns_I), dtype=torch.int8), rows_O, columns_I)


def rounded_bytes(w_OI: torch.Tensor, rows_O: torch.Tensor, columns_I: torch.Tensor) -> float:
    """Of an ideal coder, for the codes of a sample of rows, each weight rounded for itself."""
    some = slice(None, None, 1 + w_OI.numel() // SAMPLE)
    steps_OI = rows_O[some].float()[:, None] * columns_I.float()
    return outcome.entropy((w_OI[some] / steps_OI).round()) * w_OI.numel() / 8


def search(solve: Callable[[float], Try], guess: Callable[[float], float], room: int) -> list[Try]:
    """Solves until one fills ``room`` to within SLACK, or the levels end. guess: about the bytes at a level."""
    tried = []
    while len(tried) < SOLVES:
        margin = SLACK / 2 if len(tried) < SOLVES - 1 else SLACK * 3 / 4  # the last had better fit
        level = crossing(mended(guess, tried), room * (1 - margin))
        tried.append(solve(level))
        if full(tried[-1], room) or level in (FINEST, COARSEST):
            break
    return tried


def mended(guess: Callable[[float], float], tried: list[Try]) -> Callable[[float], float]:
    """The guess plus what it missed at the last solve, on a straight line over log2(level) through the last two."""
    missed = [(math.log2(each.level), each.size - guess(each.level)) for each in tried[-2:]]
    if not missed:
        return guess
    (x, offset), (x0, offset0) = missed[-1], missed[0]
    slope = (offset - offset0) / (x - x0) if x != x0 else 0.0
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
