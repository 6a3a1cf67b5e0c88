"""The size limit: payload plus code against ``compress.limit_bytes``, and where the bytes go."""

from pathlib import Path
from typing import Any

from golf.compression import reader
from golf.errors import BudgetExceededError

__all__ = ["measure_sections", "require_within_limit", "tabulate_sizes"]


def require_within_limit(payload_bytes: int, code_bytes: int, limit_bytes: int, reserve_bytes: int) -> dict[str, int]:
    """Return the sizes of sizes.json, in bytes.

    reserve_bytes: what quantize left free for the code (``compress.code_reserve_bytes``).
    Raises BudgetExceededError, which says what to change, when payload and code together exceed ``limit_bytes``.
    """
    artifact_bytes = payload_bytes + code_bytes
    if artifact_bytes > limit_bytes:
        hint = "choose coarser steps (raise quantize.base_step, or quantize.matrix_clip and quantize.embed_clip)"
        if payload_bytes <= limit_bytes - reserve_bytes:  # the model fits; the code is larger than its reserve
            hint = f"raise compress.code_reserve_bytes from {reserve_bytes:,} to at least {code_bytes:,}, or {hint}"
        raise BudgetExceededError(
            f"compress.limit_bytes: the artifact has {artifact_bytes:,} bytes (model {payload_bytes:,} + code "
            f"{code_bytes:,}), {artifact_bytes - limit_bytes:,} over the limit of {limit_bytes:,}; {hint}, or lower "
            "model.n_layers, model.d_model or model.vocab_size"
        )
    return {
        "payload_bytes": payload_bytes,
        "code_bytes": code_bytes,
        "artifact_bytes": artifact_bytes,
        "limit_bytes": limit_bytes,
        "headroom_bytes": limit_bytes - artifact_bytes,
    }


def measure_sections(path: str | Path) -> dict[str, int]:
    """Return the bytes of each section of a .golf file and of its header; they add up to the file's.

    Raises ArtifactError.
    """
    header, bodies = reader.read_packed(path)
    sizes = {section.name: len(body) for section, body in zip(header.sections, bodies, strict=True)}
    return {"header": Path(path).stat().st_size - sum(sizes.values()), **sizes}


def tabulate_sizes(section_bytes: dict[str, int], sizes: dict[str, int]) -> list[dict[str, Any]]:
    """Return the rows of sizes.csv, which add up to the limit: each section of the file, the code, and the headroom."""
    parts = {**section_bytes, "code": sizes["code_bytes"], "headroom": sizes["headroom_bytes"]}
    return [{"part": name, "bytes": size} for name, size in parts.items()]
