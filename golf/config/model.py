"""ModelConfig: the section ``model`` of params.yaml, which is also stored in the artifact."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from golf.config.validation import Range

__all__ = ["GATE_INPUTS", "ModelConfig"]

_Index = Annotated[int, Range(low=0, high=65535)]
_Scale = Annotated[float, Range(low=1e-6, high=1_000_000)]
GATE_INPUTS = 12  # dimensions that a narrow gate reads: SmearGate, and the attention gates sparse and output


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The dimensions of the network of PR #1493; ``profiles/record.yaml`` holds that submission's values."""

    vocab_size: Annotated[int, Range(low=260, high=65536)]  # token ids; they fit the shards' uint16
    n_layers: Annotated[int, Range(low=1, high=256)]  # transformer blocks
    d_model: Annotated[int, Range(low=1, high=16384)]  # width of the residual stream
    n_heads: Annotated[int, Range(low=1, high=1024)]  # query heads
    n_kv_heads: Annotated[int, Range(low=1, high=1024)]  # key/value heads; divides n_heads
    d_ff: Annotated[int, Range(low=1, high=65536)]  # hidden width of the MLP
    context_length: Annotated[int, Range(low=2, high=1 << 20)]  # tokens that the model sees at once
    rope_dims: _Index  # dimensions of each head that RoPE rotates
    rope_base: Annotated[float, Range(low=1, high=10**12)]  # base of RoPE's angles
    qk_gain: _Scale  # initial gain of every query head
    leaky_slope: Annotated[float, Range(low=-10, high=10)]  # slope of LeakyReLU before it is squared
    softcap: _Scale  # bound of the logits: softcap · tanh(z / softcap)
    embed_std: _Scale  # standard deviation of the tied embedding at the start
    recur_start: _Index  # first layer of the repeated segment
    recur_end: _Index  # last layer of the repeated segment
    recur_passes: Annotated[int, Range(low=1, high=64)]  # times that the segment runs once activated; 1: no recurrence
    parallel_residual_from: _Index  # first layer whose attention and MLP read the same input; n_layers: none
    xsa_from: _Index  # first layer with exclusive self-attention, docs/references.md#xsa; n_layers: none
    # id that starts a document, at which attention then ends; null: it crosses documents
    doc_mask_bos_id: _Index | None
    # gate on each head's output, docs/references.md#attention-gates; dense: from all dimensions, starts at 0.95 |
    # sparse: from the first 12, starts at 0.5 | output: from the first 12, starts at 1
    attn_gate: Literal["none", "dense", "sparse", "output"]
    # id that starts a document, at which the SmearGate is masked, docs/references.md#smear-gate; null: no SmearGate
    smear_gate_bos_id: _Index | None
    # tokens, the current one included, that the causal convolution before each block's attention reads,
    # docs/references.md#short-conv; 1: none
    conv_kernel: Annotated[int, Range(low=1, high=64)]
    two_lane_from: _Index | None  # first layer with two residual lanes, docs/references.md#two-lanes; null: none
    # soft cap of its own for positive and for negative logits, docs/references.md#asym-softcap; both start at softcap
    # and learn from test-time training alone
    asym_softcap: bool

    @property
    def head_dim(self) -> int:
        """Dimensions of one head."""
        return self.d_model // self.n_heads

    @property
    def n_skips(self) -> int:
        """The number of skip connections, which is largest with recurrence."""
        encoder, decoder = self.layer_order(recurrent=True)
        return min(len(encoder), len(decoder))

    def layer_order(self, recurrent: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the physical layers in the order in which they run: encoder half and decoder half of the U-Net."""
        layers = list(range(self.n_layers))
        if recurrent:
            segment = layers[self.recur_start : self.recur_end + 1]
            layers[self.recur_start : self.recur_end + 1] = segment * self.recur_passes
        half = len(layers) // 2
        return tuple(layers[:half]), tuple(layers[half:])

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.d_model % self.n_heads:
            yield "d_model", f"must be a multiple of n_heads = {self.n_heads}, got {self.d_model}"
        elif self.rope_dims > self.head_dim or self.rope_dims % 2:
            yield "rope_dims", f"must be even and at most d_model / n_heads = {self.head_dim}, got {self.rope_dims}"
        if self.n_heads % self.n_kv_heads:
            yield "n_kv_heads", f"must divide n_heads = {self.n_heads}, got {self.n_kv_heads}"
        if not self.recur_start <= self.recur_end < self.n_layers:
            yield (
                "recur_end",
                "recur_start <= recur_end < n_layers must hold, "
                f"got {self.recur_start}, {self.recur_end}, {self.n_layers}",
            )
        if self.doc_mask_bos_id is not None and self.doc_mask_bos_id >= self.vocab_size:
            yield "doc_mask_bos_id", f"must be below vocab_size = {self.vocab_size}, got {self.doc_mask_bos_id}"
        for key in ("parallel_residual_from", "xsa_from"):
            if getattr(self, key) > self.n_layers:
                yield key, f"must be at most n_layers = {self.n_layers}, got {getattr(self, key)}"
