"""Contradictions between the options of the section ``model`` and its dimensions.

They stand apart from ModelConfig, because the predictor's code is weighed and only params.yaml can have them.
"""

from collections.abc import Iterator

from golf.config.model import GATE_INPUTS, ModelConfig

__all__ = ["check_options"]


def check_options(model_cfg: ModelConfig) -> Iterator[tuple[str, str]]:
    """Yield (key of the section, message) for every contradiction."""
    if model_cfg.smear_gate_bos_id is not None and model_cfg.smear_gate_bos_id >= model_cfg.vocab_size:
        yield (
            "smear_gate_bos_id",
            f"must be below vocab_size = {model_cfg.vocab_size}, got {model_cfg.smear_gate_bos_id}",
        )
    if model_cfg.doc_mask_bos_id is not None and model_cfg.smear_gate_bos_id not in (None, model_cfg.doc_mask_bos_id):
        yield (
            "smear_gate_bos_id",
            f"must be model.doc_mask_bos_id = {model_cfg.doc_mask_bos_id}, got {model_cfg.smear_gate_bos_id}",
        )
    if model_cfg.d_model < GATE_INPUTS:
        for key, is_narrow in (
            ("attn_gate", model_cfg.attn_gate in ("sparse", "output")),
            ("smear_gate_bos_id", model_cfg.smear_gate_bos_id is not None),
        ):
            if is_narrow:
                yield key, f"reads the first {GATE_INPUTS} dimensions, but d_model is {model_cfg.d_model}"
    if model_cfg.two_lane_from is not None and model_cfg.recur_end < model_cfg.n_layers:
        first = 1 + max((*model_cfg.layer_order(False)[0], *model_cfg.layer_order(True)[0]), default=-1)
        if model_cfg.recur_passes > 1:
            first = max(first, model_cfg.recur_end + 1)
        if not first <= model_cfg.two_lane_from < model_cfg.n_layers:
            yield (
                "two_lane_from",
                f"must be a layer of the decoder half after the repeated ones, {first} to {model_cfg.n_layers - 1}, or "
                f"null, got {model_cfg.two_lane_from}",
            )
