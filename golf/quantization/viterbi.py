"""The Viterbi algorithm over the rows of a column, compiled by numba.

``golf.quantization.trellis`` imports this module when it is used, so scalar coding needs no compiler.
"""

# N matrices, O rows, S states of the trellis, L levels of the entropy coder

import numba
import numpy as np

__all__ = ["compile_kernel", "find_path"]


@numba.njit
def find_path(
    x_NO: np.ndarray,
    importance_NO: np.ndarray,
    mean_NO: np.ndarray,
    level_NO: np.ndarray,
    square_cost_L: np.ndarray,
    parity_cost_L2: np.ndarray,
    max_rate_cost: float,
    starts_NK: np.ndarray,
    next_state_S2: np.ndarray,
    codes_NO: np.ndarray,
) -> None:
    """Write the codes [N, O] of least cost on a trellis, which starts anew at each row of ``starts_NK``, from state 0.

    A code n costs importance · (x - n)² + its rate cost, square_cost[level] (n - mean)² + parity_cost[level, parity of
    n - mean], which is at most max_rate_cost. x: in steps. mean: whole numbers. starts_NK: of the segments, with O at
    the end. Ties go to the first branch.
    """
    n_states = len(next_state_S2)
    # The two branches into each state: the state they come from, and the code's remainder modulo 4.
    source = np.empty((n_states, 2), np.int64)
    remainder = np.empty((n_states, 2), np.int64)
    n_known = np.zeros(n_states, np.int64)
    for state in range(n_states):
        for z1 in range(2):
            target = next_state_S2[state, z1]
            source[target, n_known[target]] = state
            remainder[target, n_known[target]] = (state & 1) + 2 * z1
            n_known[target] += 1
    branch = np.empty((x_NO.shape[1], n_states), np.uint8)
    code = np.empty((x_NO.shape[1], 4))
    cost = np.empty(4)
    metric, new_metric = np.empty(n_states), np.empty(n_states)
    for matrix in range(len(x_NO)):
        for k in range(starts_NK.shape[1] - 1):
            start, n_rows = starts_NK[matrix, k], starts_NK[matrix, k + 1] - starts_NK[matrix, k]
            metric[:] = np.inf
            metric[0] = 0.0
            for row in range(n_rows):
                x, mean = x_NO[matrix, start + row], mean_NO[matrix, start + row]
                level = level_NO[matrix, start + row]
                square_cost, importance = square_cost_L[level], importance_NO[matrix, start + row]
                shrunk = (importance * x + square_cost * mean) / (importance + square_cost)
                odd_mean = int(mean) & 1
                for c in range(4):
                    # Of codes with this remainder, the best is nearest to shrunk or, if its rate is at the limit, to x.
                    n = np.rint((shrunk - c) * 0.25) * 4.0 + c
                    rate_cost = square_cost * (n - mean) * (n - mean) + parity_cost_L2[level, (c & 1) ^ odd_mean]
                    nearest = np.rint((x - c) * 0.25) * 4.0 + c
                    code[row, c] = n
                    cost[c] = importance * (x - n) * (x - n) + rate_cost
                    nearest_cost = importance * (x - nearest) * (x - nearest) + max_rate_cost
                    if nearest_cost < cost[c]:
                        code[row, c] = nearest
                        cost[c] = nearest_cost
                for state in range(n_states):
                    first = metric[source[state, 0]] + cost[remainder[state, 0]]
                    second = metric[source[state, 1]] + cost[remainder[state, 1]]
                    branch[row, state] = second < first
                    new_metric[state] = second if second < first else first
                metric, new_metric = new_metric, metric
            state = int(np.argmin(metric))
            for row in range(n_rows - 1, -1, -1):
                b = branch[row, state]
                codes_NO[matrix, start + row] = code[row, remainder[state, b]]
                state = source[state, b]


def compile_kernel() -> None:
    """Compile ``find_path`` for the types that ``golf.quantization.trellis`` passes, on a column of one row."""
    x_NO, level_NO = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int16)
    costs = np.zeros(1), np.zeros((1, 2)), 0.0
    next_state_S2 = np.array([[0, 1], [1, 0]])
    find_path(
        x_NO, x_NO + 1, level_NO.astype(np.int32), level_NO, *costs, np.array([[0, 1]]), next_state_S2, x_NO.copy()
    )
