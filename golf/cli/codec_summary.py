"""Describe what each codec packs in a .golf file."""

from collections.abc import Sequence

from golf.compression.reader import Section
from golf.pipeline.progress import format_count

__all__ = ["describe_codecs"]

_NAMES = {"trellis": "trellis (ans along a trellis)"}  # no value of compress.codec: quantize.coding chooses it


def describe_codecs(sections: Sequence[Section]) -> str:
    """Return how many tensors and bytes each codec packs, that of the most bytes first.

    A file has several: floating-point tensors and small integer sections go through Brotli whatever compress.codec is.
    """
    totals: dict[str, tuple[int, int]] = {}
    for section in sections:
        n_bytes, n_tensors = totals.get(section.codec, (0, 0))
        totals[section.codec] = n_bytes + section.packed_bytes, n_tensors + len(section.shapes)
    by_bytes = sorted(totals.items(), key=lambda entry: entry[1], reverse=True)
    parts = [
        f"codec {_NAMES.get(codec, codec)}: {format_count(n_tensors, 'tensor')}, {n_bytes:,} bytes"
        for codec, (n_bytes, n_tensors) in by_bytes
    ]
    return "; ".join(parts) or "no tensors"
