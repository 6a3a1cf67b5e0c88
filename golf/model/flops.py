"""Floating-point operations of the model per token, and the model FLOP utilization (MFU) that follows.

A multiplication with its addition counts as two. Only necessary work counts: the lower half of the attention matrix, no
recomputation that saves memory, no element-wise work. Counting the recomputed scores of flash-attention, so that the
backward pass of attention costs 2.5 forward passes, would put the record's step at 29 % of an H100's dense bf16 rate;
this count gives 28 % (docs/references.md#flops).
"""

from dataclasses import dataclass

from golf.config.model import ModelConfig

__all__ = ["FlopsPerToken", "count_flops_per_token", "mfu"]

_BACKWARD_PER_FORWARD = 2  # in forward passes: one matrix product for the gradient of each factor


@dataclass(frozen=True)
class FlopsPerToken:
    """FLOP per token of one forward pass over windows of ``context_length`` tokens."""

    matmul: int  # the blocks' weights, counted once each time they run
    attention: (
        float  # q kᵀ and the weighted sum of v, over the (context_length + 1) / 2 keys that a query sees on average
    )
    head: int

    @property
    def forward(self) -> float:
        return self.matmul + self.attention + self.head

    @property
    def training(self) -> float:
        """Forward and backward pass."""
        return (1 + _BACKWARD_PER_FORWARD) * self.forward


def count_flops_per_token(model_cfg: ModelConfig, *, recurrent: bool) -> FlopsPerToken:
    """Return the FLOP of a token in a full window. With ``recurrent``, repeated layers count once a pass."""
    encoder, decoder = model_cfg.layer_order(recurrent)
    n_layer_runs = len(encoder) + len(decoder)
    kv_dim = 2 * model_cfg.n_kv_heads * model_cfg.head_dim
    layer_weights = model_cfg.d_model * (2 * model_cfg.d_model + kv_dim + 2 * model_cfg.d_ff)
    mean_keys = (model_cfg.context_length + 1) / 2
    return FlopsPerToken(
        matmul=2 * n_layer_runs * layer_weights,
        attention=2 * n_layer_runs * 2 * model_cfg.d_model * mean_keys,
        head=2 * model_cfg.d_model * model_cfg.vocab_size,
    )


def mfu(model_cfg: ModelConfig, *, recurrent: bool, tokens_per_second: float, peak_flops_per_s: float) -> float:
    """Return the MFU of training: the model's FLOP per second over the peak of all devices together."""
    return count_flops_per_token(model_cfg, recurrent=recurrent).training * tokens_per_second / peak_flops_per_s
