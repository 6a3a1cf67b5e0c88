"""Rates as functions of progress, and of the step where the record counts steps."""


def lr_multiplier(progress: float, *, warmdown_frac: float, min_lr_frac: float) -> float:
    """Learning-rate multiplier: 1, then a straight line over the last ``warmdown`` of the run toward 0, never under
    ``floor`` (PR #1493; the floor is PR #1787's). progress: used share of the budget, in [0, 1]."""
    if warmdown_frac <= 0 or progress < 1 - warmdown_frac:
        return 1.0
    return max((1 - progress) / warmdown_frac, min_lr_frac)


def muon_momentum(step: int, *, start: float, end: float, warmup_steps: int) -> float:
    """Muon's momentum: a straight line from ``start`` to ``end`` over the first ``steps`` steps (PR #1493)."""
    warmup_frac = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return start + (end - start) * warmup_frac


def is_recurrence_active(progress: float, recurrence_from: float, n_passes: int) -> bool:
    """Depth recurrence: off, then on for good from progress ``loop_at`` (PR #1493)."""
    return n_passes > 1 and progress >= recurrence_from
