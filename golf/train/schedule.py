"""Rates as functions of progress, and of the step where the record counts steps."""


def rate(progress: float, *, warmdown: float, floor: float) -> float:
    """Learning-rate multiplier: 1, then a straight line over the last ``warmdown`` of the run toward 0, never under
    ``floor`` (PR #1493; the floor is PR #1787's). progress: used share of the budget, in [0, 1]."""
    if warmdown <= 0 or progress < 1 - warmdown:
        return 1.0
    return max((1 - progress) / warmdown, floor)


def momentum(step: int, *, start: float, end: float, steps: int) -> float:
    """Muon's momentum: a straight line from ``start`` to ``end`` over the first ``steps`` steps (PR #1493)."""
    share = min(1.0, step / steps) if steps else 1.0
    return start + (end - start) * share


def loop_active(progress: float, loop_at: float, passes: int) -> bool:
    """Depth recurrence: off, then on for good from progress ``loop_at`` (PR #1493)."""
    return passes > 1 and progress >= loop_at
