"""How much arithmetic the model asks for: floating-point operations of matrix products and of attention, by token.

A multiplication with its addition is two. Counted is what the mathematics needs, the numerator of MFU: the lower half
of the attention matrix alone, nothing that a kernel computes twice to save memory, no element-wise work. Record-stack
4.1 counts the backward of attention as 2.5 forwards, as flash-attention recomputes its scores; by that count the peers'
step is at 29 % of an H100's dense bf16 rate, by this one at 28 %.
"""

from dataclasses import dataclass

from golf.config.model import ModelConfig

_BACKWARD_PER_FORWARD = 2  # forwards: one product for the gradient of each factor


@dataclass(frozen=True)
class FlopsPerToken:
    """FLOP a token of one forward pass over windows of ``context`` tokens."""

    matmul: int  # the layers' weights, each as often as it runs
    attention: float  # q kᵀ and the average of v, over the keys that a query may see, (context + 1) / 2 on average
    head: int

    @property
    def forward(self) -> float:
        return self.matmul + self.attention + self.head

    @property
    def training(self) -> float:
        """Forward and backward."""
        return (1 + _BACKWARD_PER_FORWARD) * self.forward


def flops_per_token(model_cfg: ModelConfig, *, recurrent: bool) -> FlopsPerToken:
    """Of a token in a full window. looped: recurrence is active, so its layers count once a pass."""
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
    """MFU of training: the model's FLOP in a second over what the device could do. peak: FLOP/s, of all devices."""
    return flops_per_token(model_cfg, recurrent=recurrent).training * tokens_per_second / peak_flops_per_s
