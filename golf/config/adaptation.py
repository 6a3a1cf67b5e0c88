"""The sections of params.yaml for the methods of test-time training, and the plan that holds what a method needs."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from golf.config.sections import TTTConfig
from golf.config.ttt_methods import has_adapters, has_phases
from golf.config.validation import Decay, Range
from golf.config.value_types import Count, LearningRateOrZero, WeightDecay

__all__ = ["LoRAConfig", "PhasedConfig", "TTTPlan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoRAConfig:
    """Adapters that learn within one document; read if ttt.method is lora, or phased with phased.lora_lr."""

    rank: Annotated[int, Range(low=1, high=4096)]  # of each adapter
    alpha: Annotated[float, Range(low=0, high=100_000)]  # an adapter adds alpha / rank times its product
    q: bool  # adapt queries
    k: bool  # adapt keys
    v: bool  # adapt values
    o: bool  # adapt the output of attention
    mlp: bool  # adapt the output of the MLP
    head: bool  # adapt the logits
    beta1: Decay  # AdamW's decay of the first moment; 0: no momentum
    beta2: Decay  # AdamW's decay of the second moment
    weight_decay: WeightDecay  # of the adapters
    seed: Annotated[int, Range(low=0, high=2**32 - 1)]  # of the adapters' first weights

    def validate(self) -> Iterator[tuple[str, str]]:
        if not any((self.q, self.k, self.v, self.o, self.mlp, self.head)):
            yield "head", "q, k, v, o, mlp and head are all false, so nothing would learn; set one to true"


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasedConfig:
    """Score-first SGD over the documents that are scored; read if ttt.method is phased."""

    phases: Annotated[int, Range(low=1, high=1000)]  # how often it trains
    prefix_documents: Count  # scored documents of the last phase; of phase i of n, i / n of them
    chunk_tokens: Count  # tokens between two steps of the rate, which falls as a cosine within each phase
    lora_lr: LearningRateOrZero | None  # learning rate of the section lora, which adapts beside it; null: no adapters

    def validate(self) -> Iterator[tuple[str, str]]:
        if self.prefix_documents < self.phases:
            yield "prefix_documents", f"must be at least phases = {self.phases}, got {self.prefix_documents}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TTTPlan(TTTConfig):
    """The section ttt with those sections that its method reads; None for the others. plan.json holds it as ttt."""

    lora: LoRAConfig | None
    phased: PhasedConfig | None

    @classmethod
    def from_sections(cls, ttt: TTTConfig, lora: LoRAConfig, phased: PhasedConfig) -> "TTTPlan":
        """Return the plan of a run with these sections."""
        own = {field.name: getattr(ttt, field.name) for field in dataclasses.fields(TTTConfig)}
        return cls(
            **own,
            lora=lora if has_adapters(ttt.method, phased.lora_lr) else None,
            phased=phased if has_phases(ttt.method) else None,
        )
