"""Which optional modules of the predictor a run packs, so that it pays for the code that it uses.

The function that needs an optional module imports it. compress leaves the others out of the code archive.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from golf.config.model import ModelConfig
from golf.config.ttt_methods import has_adapters, has_phases

__all__ = ["OPTIONAL_MODULES", "RunParts", "list_unused_modules"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunParts:
    """The settings of a run that name parts of the predictor.

    codecs: those of the artifact's sections. ttt_method: ``ttt.method``. has_ngrams: ``memory.orders`` names an order.
    has_adapters: the method, or ``phased.lora_lr``, names the section lora. order: ``evaluate.order``.
    memory_scope: ``memory.scope``. has_cache, has_tilt, has_low_rank, has_rotation: ``memory.cache_tokens``,
    ``memory.tilt_order``, ``quantize.lqer`` and ``quantize.rotate`` are not null.
    """

    model: ModelConfig
    codecs: frozenset[str]
    ttt_method: str
    has_adapters: bool
    order: str
    has_ngrams: bool
    memory_scope: str
    has_cache: bool
    has_tilt: bool
    has_low_rank: bool
    has_rotation: bool

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Mapping[str, Any]], model: ModelConfig, codecs: Collection[str]
    ) -> Self:
        """Return the parts of a run. settings: the keys of each section."""
        method, memory = settings["ttt"]["method"], settings["memory"]
        return cls(
            model=model,
            codecs=frozenset(codecs),
            ttt_method=method,
            has_adapters=has_adapters(method, settings["phased"]["lora_lr"]),
            order=settings["evaluate"]["order"],
            has_ngrams=bool(memory["orders"]),
            memory_scope=memory["scope"],
            has_cache=memory["cache_tokens"] is not None,
            has_tilt=memory["tilt_order"] is not None,
            has_low_rank=settings["quantize"]["lqer"] is not None,
            has_rotation=settings["quantize"]["rotate"] is not None,
        )


OPTIONAL_MODULES: Mapping[str, Callable[[RunParts], bool]] = {  # each with the condition under which a run uses it
    "golf/compression/ans.py": lambda parts: not parts.codecs.isdisjoint({"ans", "trellis"}),
    "golf/compression/low_rank.py": lambda parts: parts.has_low_rank,
    "golf/compression/rotation.py": lambda parts: parts.has_rotation,
    "golf/compression/stored_weights.py": lambda parts: parts.has_low_rank or parts.has_rotation,
    "golf/compression/trellis.py": lambda parts: "trellis" in parts.codecs,
    "golf/inference/document_memory.py": lambda parts: parts.has_ngrams and parts.memory_scope == "document",
    "golf/inference/document_scorer.py": lambda parts: parts.order == "documents",
    "golf/inference/lora.py": lambda parts: parts.has_adapters,
    "golf/inference/neural_cache.py": lambda parts: parts.has_cache,
    "golf/inference/ngram_memory.py": lambda parts: parts.has_ngrams,
    "golf/inference/phased_sgd.py": lambda parts: has_phases(parts.ttt_method),
    "golf/inference/score_first_sgd.py": lambda parts: parts.ttt_method in ("score_first", "phased"),
    "golf/inference/token_tilt.py": lambda parts: parts.has_tilt,
    "golf/model/gates.py": lambda parts: parts.model.attn_gate != "none",
    "golf/model/residual_lanes.py": lambda parts: parts.model.two_lane_from is not None,
    "golf/model/short_conv.py": lambda parts: parts.model.conv_kernel > 1,
    "golf/model/smear_gate.py": lambda parts: parts.model.smear_gate_bos_id is not None,
}


def list_unused_modules(parts: RunParts) -> list[str]:
    """Return the optional modules that a run of these ``parts`` never imports."""
    return [module for module, is_used in OPTIONAL_MODULES.items() if not is_used(parts)]
