"""How much arithmetic the model asks for: floating-point operations of matrix products and of attention, by token.

A multiplication with its addition is two. Counted is what the mathematics needs, the numerator of MFU: the lower half
of the attention matrix alone, nothing that a kernel computes twice to save memory, no element-wise work. Record-stack
4.1 counts the backward of attention as 2.5 forwards, as flash-attention recomputes its scores; by that count the peers'
step is at 29 % of an H100's dense bf16 rate, by this one at 28 %.
"""

from dataclasses import dataclass

from golf.ground.shape import Shape

BACKWARD = 2  # forwards: one product for the gradient of each factor


@dataclass(frozen=True)
class Flop:
    """FLOP a token of one forward pass over windows of ``context`` tokens."""

    matrices: int  # the layers' weights, each as often as it runs
    attention: float  # q kᵀ and the average of v, over the keys that a query may see, (context + 1) / 2 on average
    head: int

    @property
    def forward(self) -> float:
        return self.matrices + self.attention + self.head

    @property
    def training(self) -> float:
        """Forward and backward."""
        return (1 + BACKWARD) * self.forward


def per_token(shape: Shape, *, looped: bool) -> Flop:
    """Of a token in a full window. looped: recurrence is active, so its layers count once a pass."""
    encoder, decoder = shape.order(looped)
    passes = len(encoder) + len(decoder)
    keys_and_values = 2 * shape.kv_heads * shape.head_width
    weights = shape.width * (2 * shape.width + keys_and_values + 2 * shape.mlp_width)
    keys = (shape.context + 1) / 2
    return Flop(
        matrices=2 * passes * weights,
        attention=2 * passes * 2 * shape.width * keys,
        head=2 * shape.width * shape.vocabulary,
    )


def utilisation(shape: Shape, *, looped: bool, tokens_per_second: float, peak: float) -> float:
    """MFU of training: the model's FLOP in a second over what the device could do. peak: FLOP/s, of all devices."""
    return per_token(shape, looped=looped).training * tokens_per_second / peak
