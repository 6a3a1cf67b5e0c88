"""The techniques that ``techniques.py`` measures: each alone, against a default of the same seed.

``docs/techniques.md`` has a row for each, with the same key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BOS", "DEFAULT", "TECHNIQUES", "Technique"]

BOS = "the id that starts a document"  # stands for it in settings, as it is known only after fetch
_ROW_GRID = {"quantize.grid": "row", "quantize.coding": "scalar", "quantize.rate_weight": 0.0}
_TTT_SECTIONS = {"ttt", "lora", "phased", "memory"}  # they act in the ttt mode alone


@dataclass(frozen=True)
class Technique:
    """key: the first cell of its row in docs/techniques.md, without backticks. group: the section there.

    settings: dotted keys of params.yaml and their values. attempts: more settings, of which the first counts whose file
    keeps the limit; one that fills the limit by itself needs none.
    """

    key: str
    group: str
    settings: Mapping[str, Any]
    attempts: tuple[Mapping[str, Any], ...] = field(default=({},))

    @property
    def modes(self) -> tuple[str, ...]:
        """The scoring modes in which it can act."""
        sections = {key.partition(".")[0] for key in self.settings}
        return ("ttt",) if sections and sections <= _TTT_SECTIONS else ("sliding", "ttt")


DEFAULT = Technique("default", "default", {})

# First those that share the trained default of the seed.
TECHNIQUES: tuple[Technique, ...] = (
    Technique("ttt.method: none", "adaptation", {"ttt.method": "none"}),
    Technique(
        "ttt.method: lora",
        "adaptation",
        {"ttt.method": "lora", "ttt.lr": 0.003, "ttt.chunk_tokens": 256, "ttt.batch_tokens": 256},
    ),
    Technique(
        "ttt.method: phased",
        "adaptation",
        {"ttt.method": "phased", "ttt.freeze_blocks": 0, "ttt.lr": 0.003, "phased.prefix_documents": 12},
    ),
    Technique(
        "phased.lora_lr",
        "adaptation",
        {
            "ttt.method": "phased",
            "ttt.freeze_blocks": 0,
            "ttt.lr": 0.003,
            "ttt.chunk_tokens": 256,
            "ttt.batch_tokens": 256,
            "phased.prefix_documents": 12,
            "phased.lora_lr": 0.003,
        },
    ),
    Technique("evaluate.order: documents", "adaptation", {"evaluate.order": "documents"}),
    Technique("memory.orders: []", "memory", {"memory.orders": []}),
    Technique("memory.cache_tokens: null", "memory", {"memory.cache_tokens": None}),
    Technique("memory.scope: document", "memory", {"memory.scope": "document"}),
    Technique("memory.tilt_order", "memory", {"memory.tilt_order": 15}),
    Technique("memory.tilt_order, memory.hedge: []", "memory", {"memory.tilt_order": 15, "memory.hedge": []}),
    Technique("memory.tilt_order, memory.orders: []", "memory", {"memory.tilt_order": 15, "memory.orders": []}),
    Technique(
        "quantize.grid: row",
        "quantization",
        _ROW_GRID,
        tuple(
            {"quantize.matrix_clip": clip, "quantize.embed_clip": round(1.55 * clip, 2)}
            for clip in (24.0, 26.0, 28.0, 30.0, 33.0, 37.0, 42.0)
        ),
    ),
    Technique("quantize.coding: scalar", "quantization", {"quantize.coding": "scalar"}),
    Technique("quantize.rate_weight: 0.0", "quantization", {"quantize.rate_weight": 0.0}),
    Technique("quantize.rotate", "quantization", {"quantize.rotate": 0}),
    Technique("quantize.lqer", "quantization", {"quantize.lqer": 4}),
    Technique("quantize.refine_steps", "quantization", {"quantize.refine_steps": 16}),
    Technique("calibrate.source: self", "quantization", {"calibrate.source": "self"}),
    Technique("ema.share: 0.0", "training", {"ema.share": 0.0}),
    Technique("ema.share", "training", {"ema.share": 0.6}),
    Technique("model.attn_gate: dense", "model", {"model.attn_gate": "dense"}),
    Technique("model.attn_gate: sparse", "model", {"model.attn_gate": "sparse"}),
    Technique("model.attn_gate: output", "model", {"model.attn_gate": "output"}),
    Technique("model.smear_gate_bos_id: null", "model", {"model.smear_gate_bos_id": None}),
    Technique("model.two_lane_from", "model", {"model.two_lane_from": 3}),
    Technique("model.conv_kernel: 1", "model", {"model.conv_kernel": 1}),
    Technique("model.asym_softcap", "model", {"model.asym_softcap": True}),
    Technique("train.context_schedule", "training", {"train.context_schedule": [[128, 0.4], [256, 1.0]]}),
    Technique("train.decay_schedule: linear", "training", {"train.decay_schedule": "linear"}),
    Technique("train.decay_schedule: cautious", "training", {"train.decay_schedule": "cautious"}),
    Technique("train.ema_nesterov_beta", "training", {"train.ema_nesterov_beta": 0.3}),
    Technique("train.data_order: documents", "training", {"train.data_order": "documents"}),
    Technique("train.data_order: compressible_first", "training", {"train.data_order": "compressible_first"}),
    Technique("train.data_order: compressible_last", "training", {"train.data_order": "compressible_last"}),
    Technique("train.norm_dropout_frac", "training", {"train.norm_dropout_frac": 0.01}),
    Technique("train.normuon_beta2", "training", {"train.normuon_beta2": 0.95}),
    Technique("train.ns_coefficients: polar_express", "training", {"train.ns_coefficients": "polar_express"}),
    Technique("model.doc_mask_bos_id", "model", {"model.doc_mask_bos_id": BOS}),
    Technique("model.recur_passes", "model", {"model.recur_passes": 2}),
    Technique("model.xsa_from: 5", "model", {"model.xsa_from": 5}),
    Technique("model.parallel_residual_from: 5", "model", {"model.parallel_residual_from": 5}),
)
