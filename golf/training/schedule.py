"""Learning rate, weight decay, momentum, recurrence and context as functions of the run's progress or step."""

from collections.abc import Sequence

__all__ = [
    "choose_context",
    "compute_decay_multiplier",
    "compute_lr_multiplier",
    "compute_muon_momentum",
    "compute_warmup_multiplier",
    "is_recurrence_active",
    "list_training_graphs",
]


def compute_lr_multiplier(progress: float, *, warmdown_frac: float, min_lr_frac: float) -> float:
    """Return the multiplier of every learning rate at ``progress``, the used share of the budget, in [0, 1].

    It is 1, then falls linearly toward 0 over the last ``warmdown_frac`` of the run (PR #1493), but never below
    ``min_lr_frac`` (PR #1787).
    """
    if warmdown_frac <= 0 or progress < 1 - warmdown_frac:
        return 1.0
    return max((1 - progress) / warmdown_frac, min_lr_frac)


def compute_muon_momentum(step: int, *, start: float, end: float, warmup_steps: int) -> float:
    """Return Muon's momentum: linear from ``start`` to ``end`` over the first ``warmup_steps`` steps (PR #1493)."""
    warmup_frac = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return start + (end - start) * warmup_frac


def is_recurrence_active(progress: float, recurrence_from: float, n_passes: int) -> bool:
    """Return whether depth recurrence runs: from progress ``recurrence_from`` to the end (PR #1493)."""
    return n_passes > 1 and progress >= recurrence_from


def compute_decay_multiplier(progress: float, decay_schedule: str) -> float:
    """Return the multiplier of every weight decay: linear falls from 1 to 0 over the run, the others stay at 1."""
    return 1 - progress if decay_schedule == "linear" else 1.0


def choose_context(progress: float, context_schedule: Sequence[tuple[float, ...]]) -> int:
    """Return the context length in tokens: of the first entry (tokens, progress) that is not yet past (PR #2014)."""
    return next(int(tokens) for tokens, until in context_schedule if progress <= until)


def compute_warmup_multiplier(step: int, switched_at: int | None, warmup_steps: int) -> float:
    """Return the learning rates' further multiplier after a switch of the context, which rises linearly to 1.

    switched_at: the first step with the new context; None before any switch.
    """
    if switched_at is None or not warmup_steps:
        return 1.0
    return min(1.0, (step - switched_at + 1) / warmup_steps)


def list_training_graphs(
    context_schedule: Sequence[tuple[float, ...]] | None, context_length: int, recurrence_from: float, n_passes: int
) -> list[tuple[int, bool]]:
    """Return (context length, with recurrence) of every kind of step that a run may make, in their order."""
    if context_schedule is None:
        return [(context_length, recurrent) for recurrent in ((False, True) if n_passes > 1 else (False,))]
    graphs, begin = [], 0.0
    for tokens, until in context_schedule:
        if n_passes == 1 or begin < recurrence_from:
            graphs.append((int(tokens), False))
        if n_passes > 1 and until >= recurrence_from:
            graphs.append((int(tokens), True))
        begin = until
    return graphs
