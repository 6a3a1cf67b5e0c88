"""Bytes against their limit."""

from golf.ground.errors import OverBudget


def weigh(payload: int, code: int, limit: int) -> dict[str, int]:
    """payload + code against the limit, in bytes. Raises OverBudget with what to turn."""
    total = payload + code
    if total > limit:
        raise OverBudget(
            f"compress.limit_bytes: the artifact is {total:,} bytes (model {payload:,} + code {code:,}), "
            f"{total - limit:,} over {limit:,}; raise quantize.matrix_clip or quantize.embed_clip (coarser steps), "
            f"or lower model.layers, model.width or model.vocabulary"
        )
    return {
        "payload_bytes": payload,
        "code_bytes": code,
        "artifact_bytes": total,
        "limit_bytes": limit,
        "headroom_bytes": limit - total,
    }
