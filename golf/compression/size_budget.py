"""Bytes against their limit."""

from golf.errors import BudgetExceededError


def check_size(payload_bytes: int, code_bytes: int, limit_bytes: int, reserve_bytes: int) -> dict[str, int]:
    """payload + code against the limit, in bytes. reserve: what was kept for the code when the model was quantised.

    Raises OverBudget with what to turn.
    """
    artifact_bytes = payload_bytes + code_bytes
    if artifact_bytes > limit_bytes:
        hint = "choose coarser steps (raise quantize.base_step, or quantize.matrix_clip and quantize.embed_clip)"
        if payload_bytes <= limit_bytes - reserve_bytes:  # it kept to what was left for it
            hint = f"raise compress.code_reserve_bytes, {reserve_bytes:,} now, to at least {code_bytes:,}, or {hint}"
        raise BudgetExceededError(
            f"compress.limit_bytes: the artifact is {artifact_bytes:,} bytes (model {payload_bytes:,} + code {code_bytes:,}), "
            f"{artifact_bytes - limit_bytes:,} over {limit_bytes:,}; {hint}, or lower model.n_layers, model.d_model or model.vocab_size"
        )
    return {
        "payload_bytes": payload_bytes,
        "code_bytes": code_bytes,
        "artifact_bytes": artifact_bytes,
        "limit_bytes": limit_bytes,
        "headroom_bytes": limit_bytes - artifact_bytes,
    }


def breakdown(section_bytes: dict[str, int], sizes: dict[str, int]) -> list[dict]:
    """Where the limit goes, for the plot: a row for each section of the file, the code, and what is left."""
    parts = {**section_bytes, "code": sizes["code_bytes"], "headroom": sizes["headroom_bytes"]}
    return [{"part": name, "bytes": size} for name, size in parts.items()]
