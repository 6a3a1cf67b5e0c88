"""Learning rate, momentum and recurrence as functions of the run's progress or step."""

__all__ = ["is_recurrence_active", "lr_multiplier", "muon_momentum"]


def lr_multiplier(progress: float, *, warmdown_frac: float, min_lr_frac: float) -> float:
    """Return the multiplier of every learning rate at ``progress``, the used share of the budget, in [0, 1].

    It is 1, then falls linearly towards 0 over the last ``warmdown_frac`` of the run (PR #1493), but never below
    ``min_lr_frac`` (PR #1787).
    """
    if warmdown_frac <= 0 or progress < 1 - warmdown_frac:
        return 1.0
    return max((1 - progress) / warmdown_frac, min_lr_frac)


def muon_momentum(step: int, *, start: float, end: float, warmup_steps: int) -> float:
    """Return Muon's momentum: linear from ``start`` to ``end`` over the first ``warmup_steps`` steps (PR #1493)."""
    warmup_frac = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return start + (end - start) * warmup_frac


def is_recurrence_active(progress: float, recurrence_from: float, n_passes: int) -> bool:
    """Return whether depth recurrence runs: from progress ``recurrence_from`` to the end (PR #1493)."""
    return n_passes > 1 and progress >= recurrence_from
