"""Bytes against their limit."""

from golf.ground.errors import OverBudget


def weigh(payload: int, code: int, limit: int, reserve: int) -> dict[str, int]:
    """payload + code against the limit, in bytes. reserve: what was kept for the code when the model was quantised.

    Raises OverBudget with what to turn.
    """
    total = payload + code
    if total > limit:
        cure = "choose coarser steps (raise quantize.level, or quantize.matrix_clip and quantize.embed_clip)"
        if payload <= limit - reserve:  # it kept to what was left for it
            cure = f"raise compress.code_reserve_bytes, {reserve:,} now, to at least {code:,}, or {cure}"
        raise OverBudget(
            f"compress.limit_bytes: the artifact is {total:,} bytes (model {payload:,} + code {code:,}), "
            f"{total - limit:,} over {limit:,}; {cure}, or lower model.layers, model.width or model.vocabulary"
        )
    return {
        "payload_bytes": payload,
        "code_bytes": code,
        "artifact_bytes": total,
        "limit_bytes": limit,
        "headroom_bytes": limit - total,
    }


def table(sections: dict[str, int], weighed: dict[str, int]) -> list[dict]:
    """Where the limit goes, for the plot: a row for each section of the file, the code, and what is left."""
    parts = {**sections, "code": weighed["code_bytes"], "headroom": weighed["headroom_bytes"]}
    return [{"part": name, "bytes": size} for name, size in parts.items()]
