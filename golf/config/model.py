"""The model's shape: the one section of params.yaml that travels inside the artifact."""

from dataclasses import dataclass
from typing import Annotated

from golf.config.validation import NonNegativeInt, PositiveFloat, Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network of PR #1493 in numbers; ``profiles/record.yaml`` holds the record's own."""

    vocab_size: Annotated[int, Range(low=260, high=65536)]  # ids fit the shards' uint16
    n_layers: Annotated[int, Range(low=1, high=256)]
    d_model: Annotated[int, Range(low=1, high=16384)]
    n_heads: Annotated[int, Range(low=1, high=1024)]
    n_kv_heads: Annotated[int, Range(low=1, high=1024)]
    d_ff: Annotated[int, Range(low=1, high=65536)]
    context_length: Annotated[int, Range(low=2, high=1 << 20)]  # tokens the model sees at once
    rope_dims: NonNegativeInt  # rotated dimensions of each head
    rope_base: PositiveFloat
    qk_gain: PositiveFloat  # initial gain of every head
    leaky_slope: float  # of LeakyReLU before the square
    softcap: PositiveFloat
    embed_std: PositiveFloat  # of the tied embedding at the start
    recur_start: NonNegativeInt  # first and last layer of the repeated segment
    recur_end: NonNegativeInt
    recur_passes: Annotated[int, Range(low=1, high=64)]  # times the segment runs once activated; 1 = no recurrence
    parallel_residual_from: NonNegativeInt  # first layer whose attention and MLP read the same input; = layers: none
    xsa_from: NonNegativeInt  # first layer with exclusive self-attention; = layers: none
    doc_mask_bos_id: (
        NonNegativeInt | None
    )  # id that starts a document, which attention then does not leave; null: it does

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @property
    def n_skips(self) -> int:
        """Rows of the skip tables: those that the looped order uses."""
        encoder, decoder = self.layer_order(recurrent=True)
        return min(len(encoder), len(decoder))

    def layer_order(self, recurrent: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Physical layers in the order they run: the encoder half and the decoder half of the U-Net."""
        layers = list(range(self.n_layers))
        if recurrent:
            segment = layers[self.recur_start : self.recur_end + 1]
            layers[self.recur_start : self.recur_end + 1] = segment * self.recur_passes
        half = len(layers) // 2
        return tuple(layers[:half]), tuple(layers[half:])

    def validate(self):
        if self.d_model % self.n_heads:
            yield "d_model", f"{self.d_model} does not split over n_heads = {self.n_heads}"
        elif self.rope_dims > self.head_dim or self.rope_dims % 2:
            yield "rope_dims", f"must be even and at most the head's width {self.head_dim}, got {self.rope_dims}"
        if self.n_heads % self.n_kv_heads:
            yield "n_kv_heads", f"{self.n_kv_heads} does not divide n_heads = {self.n_heads}"
        if not self.recur_start <= self.recur_end < self.n_layers:
            yield (
                "recur_end",
                f"needs loop_start <= loop_end < layers, got {self.recur_start}, {self.recur_end}, {self.n_layers}",
            )
        if self.doc_mask_bos_id is not None and self.doc_mask_bos_id >= self.vocab_size:
            yield "doc_mask_bos_id", f"must be below vocab_size = {self.vocab_size}, got {self.doc_mask_bos_id}"
        for key in ("parallel_residual_from", "xsa_from"):
            if getattr(self, key) > self.n_layers:
                yield key, f"must be at most n_layers = {self.n_layers}, got {getattr(self, key)}"
