"""The model's shape: the one section of params.yaml that travels inside the artifact."""

from dataclasses import dataclass
from typing import Annotated

from golf.ground.schema import Bound, Natural, Positive


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The network of PR #1493 in numbers; ``profiles/record.yaml`` holds the record's own."""

    vocabulary: Annotated[int, Bound(low=260, high=65536)]  # ids fit the shards' uint16
    layers: Annotated[int, Bound(low=1, high=256)]
    width: Annotated[int, Bound(low=1, high=16384)]
    heads: Annotated[int, Bound(low=1, high=1024)]
    kv_heads: Annotated[int, Bound(low=1, high=1024)]
    mlp_width: Annotated[int, Bound(low=1, high=65536)]
    context: Annotated[int, Bound(low=2, high=1 << 20)]  # tokens the model sees at once
    rope_dims: Natural  # rotated dimensions of each head
    rope_base: Positive
    qk_gain: Positive  # initial gain of every head
    leaky_slope: float  # of LeakyReLU before the square
    softcap: Positive
    embed_std: Positive  # of the tied embedding at the start
    loop_start: Natural  # first and last layer of the repeated segment
    loop_end: Natural
    loop_passes: Annotated[int, Bound(low=1, high=64)]  # times the segment runs once activated; 1 = no recurrence
    parallel_from: Natural  # first layer whose attention and MLP read the same input; = layers: none
    xsa_from: Natural  # first layer with exclusive self-attention; = layers: none
    document_bos: Natural | None  # id that starts a document, which attention then does not leave; null: it does

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def skips(self) -> int:
        """Rows of the skip tables: those that the looped order uses."""
        encoder, decoder = self.order(looped=True)
        return min(len(encoder), len(decoder))

    def order(self, looped: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Physical layers in the order they run: the encoder half and the decoder half of the U-Net."""
        every = list(range(self.layers))
        if looped:
            segment = every[self.loop_start : self.loop_end + 1]
            every[self.loop_start : self.loop_end + 1] = segment * self.loop_passes
        half = len(every) // 2
        return tuple(every[:half]), tuple(every[half:])

    def problems(self):
        if self.width % self.heads:
            yield "width", f"{self.width} does not split over heads = {self.heads}"
        elif self.rope_dims > self.head_width or self.rope_dims % 2:
            yield "rope_dims", f"must be even and at most the head's width {self.head_width}, got {self.rope_dims}"
        if self.heads % self.kv_heads:
            yield "kv_heads", f"{self.kv_heads} does not divide heads = {self.heads}"
        if not self.loop_start <= self.loop_end < self.layers:
            yield (
                "loop_end",
                f"needs loop_start <= loop_end < layers, got {self.loop_start}, {self.loop_end}, {self.layers}",
            )
        if self.document_bos is not None and self.document_bos >= self.vocabulary:
            yield "document_bos", f"must be below vocabulary = {self.vocabulary}, got {self.document_bos}"
        for key in ("parallel_from", "xsa_from"):
            if getattr(self, key) > self.layers:
                yield key, f"must be at most layers = {self.layers}, got {getattr(self, key)}"
