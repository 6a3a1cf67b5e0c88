"""EMA-Nesterov: take each gradient ahead of the weights, along an average of their past changes.

arXiv:2605.25395, algorithm 1 (docs/references.md#ema-nesterov).
"""

import torch

__all__ = ["EMANesterov"]


class EMANesterov:
    """x' = A(x + β_t m), m' = γ m + (1 - γ)(x' - x), with A a step of any optimizer and β_t = β · learning rate / peak.

    It holds two copies of the weights; only m, ``drift``, outlasts a step. The drift is the same on every rank.
    """

    def __init__(self, weights: dict[str, torch.Tensor], beta: float, gamma: float) -> None:
        self._weights = {name: weight.detach() for name, weight in weights.items()}
        self._beta, self._gamma = beta, gamma
        self.drift: dict[str, torch.Tensor] = {}  # by weight; empty before the first step
        self._before: list[torch.Tensor] = []  # the weights x, in a step

    @torch.no_grad()
    def look_ahead(self, lr_multiplier: float) -> None:
        """Move the weights to x + β_t m, where the gradient is taken and from where the optimizer steps."""
        weights = list(self._weights.values())
        self.drift = self.drift or self.init_drift()
        self._before = [weight.clone() for weight in weights]
        torch._foreach_add_(weights, list(self.drift.values()), alpha=self._beta * lr_multiplier)

    @torch.no_grad()
    def finish_step(self) -> None:
        """Update m by how far the whole step moved the weights."""
        changes = torch._foreach_sub(list(self._weights.values()), self._before)
        torch._foreach_lerp_(list(self.drift.values()), changes, 1 - self._gamma)
        self._before = []

    def init_drift(self) -> dict[str, torch.Tensor]:
        """Return the drift before the first step, of which a saved one is a copy."""
        return {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
