"""Refine the scalars of a quantized model with its codes frozen, by distillation from the full-precision model.

A few steps of Adam lower KL(full precision ‖ quantized) on the tokens of calibrate. What moves takes no more bytes: the
tensors that stay fp16 (norms, gates, scales of the residual stream), and one factor for each quantized tensor, which
multiplies its row scales. Row scales keep the few bits of mantissa that they had beside the factor, so they compress as
before.
"""

# B windows of a step, T positions, V vocabulary

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call

from golf.artifacts import io
from golf.compression import quantized_tensor
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config.model import ModelConfig
from golf.errors import DivergenceError
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress, format_count
from golf.quantization import hessians

__all__ = ["LEARNING_RATE", "RESERVE_BYTES", "Refined", "load_tokens", "refine_scalars"]

RESERVE_BYTES = 512  # by which the file may grow, as fp16 numbers of other values compress a little differently
_BATCH_TOKENS = 4096  # of a step
LEARNING_RATE, _BETAS = 3e-3, (0.9, 0.95)  # of Adam; the rate falls to 0 as a straight line
_FP16_INFO = torch.finfo(torch.float16)


@dataclass(frozen=True)
class Refined:
    """quantized, small_tensors: as given to ``refine_scalars``, with other scalars. steps: that were taken.

    kl_before, kl_after: nats per token on the windows of the first step. seconds: of the clock.
    """

    quantized: dict[str, QuantizedTensor]
    small_tensors: dict[str, torch.Tensor]
    steps: int
    kl_before: float
    kl_after: float
    seconds: float


def load_tokens(path: str | Path, weights_path: str | Path) -> torch.Tensor:
    """Return the tokens that calibrate read, uint16 [windows, context_length + 1].

    weights_path: the file that is to be quantized. Raises ArtifactError: damaged, or read by other weights.
    """
    tensors, metadata = io.load_tensors(path, kind=hessians.TOKENS_KIND)
    hessians.require_same_weights(weights_path, metadata, path)
    return tensors["windows"]


class _Predictor(nn.Module):
    """A model as one function from tokens to log-probabilities."""

    def __init__(self, model_cfg: ModelConfig):
        super().__init__()
        self.gpt = GPT(model_cfg).requires_grad_(False)

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        return self.gpt.logits(self.gpt(tokens_BT, recurrent=True)).log_softmax(-1)

    def predict(self, weights: Mapping[str, torch.Tensor], tokens_BT: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B, T, V] of the model with these weights."""
        log_probs: torch.Tensor = functional_call(self, {f"gpt.{name}": w for name, w in weights.items()}, (tokens_BT,))
        return log_probs


def refine_scalars(
    weights: Mapping[str, torch.Tensor],
    quantized: Mapping[str, QuantizedTensor],
    small_tensors: Mapping[str, torch.Tensor],
    model_cfg: ModelConfig,
    windows: torch.Tensor,
    *,
    steps: int,
    time_left_s: float | None = None,
) -> Refined:
    """Return the model after at most ``steps`` steps; as it was, if they do not lower the divergence.

    weights: all tensors in full precision. quantized and small_tensors: what the file would hold of them. windows:
    integer [windows, T + 1] of training text, taken in turn, as many for each step as make 4,096 tokens. Another step
    starts only if ``time_left_s`` is enough for two as long as the slowest so far (None: no limit).
    Raises DivergenceError when a prediction is not finite.
    """
    progress = Progress("quantize", steps, "steps of refinement")
    predictor, slowest_s, n_steps, kl_before = _Predictor(model_cfg), 0.0, 0, 0.0
    frozen = {name: quantized_tensor.dequantize(qtensor) for name, qtensor in quantized.items()}
    log_factors = {name: torch.zeros((), requires_grad=True) for name in quantized}
    small = {name: tensor.half().float().requires_grad_() for name, tensor in small_tensors.items()}
    optimizer = torch.optim.Adam([*log_factors.values(), *small.values()], lr=LEARNING_RATE, betas=_BETAS)
    n_windows = min(len(windows), max(1, _BATCH_TOKENS // model_cfg.context_length))

    def divergence(step: int, student: Mapping[str, torch.Tensor]) -> torch.Tensor:
        index = torch.arange(step * n_windows, (step + 1) * n_windows) % len(windows)
        tokens_BT = windows[index, :-1].long()
        with torch.no_grad():
            expected_BTV = predictor.predict(weights, tokens_BT)
        kl = (expected_BTV.exp() * (expected_BTV - predictor.predict(student, tokens_BT))).sum(-1).mean()
        if not kl.isfinite():
            raise DivergenceError("model: its predictions are not finite; train again with lower learning rates")
        return kl

    start_s = previous_s = time.perf_counter()
    for step in range(steps):
        kl = divergence(step, {name: w_OI * log_factors[name].exp() for name, w_OI in frozen.items()} | small)
        kl_before = kl_before if step else float(kl.detach())
        optimizer.zero_grad()
        kl.backward()
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        optimizer.step()
        n_steps += 1
        progress.update(n_steps, divergence=f"{float(kl.detach()):.4f}")
        elapsed_s = time.perf_counter() - previous_s
        previous_s, slowest_s = previous_s + elapsed_s, max(slowest_s, elapsed_s)
        if time_left_s is not None and previous_s - start_s + 2 * slowest_s > time_left_s:
            break
    refined = {name: _scale(qtensor, log_factors[name]) for name, qtensor in quantized.items()}
    small = {name: tensor.detach().half().float() for name, tensor in small.items()}
    with torch.no_grad():
        dequantized = {name: quantized_tensor.dequantize(qtensor) for name, qtensor in refined.items()}
        kl_after = float(divergence(0, dequantized | small))
    if kl_after >= kl_before:
        refined, small = dict(quantized), dict(small_tensors)
    note = "" if kl_after < kl_before else ", so the model stays as it was"
    progress.finish(f"{format_count(n_steps, 'step')}, KL {kl_before:.4f} to {kl_after:.4f} nats per token{note}")
    return Refined(refined, small, n_steps, kl_before, kl_after, time.perf_counter() - start_s)


def _scale(qtensor: QuantizedTensor, log_factor: torch.Tensor) -> QuantizedTensor:
    """The tensor times a factor; a row scale that fp16 could no longer hold stays as it is."""
    scales_O = (qtensor.row_scales.float() * log_factor.detach().exp()).half()
    is_held_O = scales_O.isfinite() & (scales_O >= _FP16_INFO.smallest_normal)
    return dataclasses.replace(qtensor, row_scales=torch.where(is_held_O, scales_O, qtensor.row_scales))
