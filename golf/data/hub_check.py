"""What an export must hold: documents and tokens by its manifest, and the challenge's canonical count of bytes."""

from pathlib import Path

import numpy as np

from golf.data import hub
from golf.data.hub import CURE, Export
from golf.data.shard import read_shard
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.data.twins import Documents
from golf.ground.errors import BadArtifact

SLACK = 1e-7  # of the known counts, which were computed from losses logged with eight decimals
WINDOW = 2048  # the challenge's evaluation drops the targets beyond its last whole window (record-stack 1.1)


def totals(where: Path, export: Export, val: Documents, train: Documents) -> None:
    """Documents and tokens add up to the manifest's totals, as far as they were fetched. Raises BadArtifact."""
    found = {"docs_val": len(val), "tokens_val": int(val.starts[-1])}
    if export.whole:
        found |= {"docs_train": len(train), "tokens_train": int(train.starts[-1])}
    for key, value in found.items():
        if export.stats.get(key, value) != value:
            problem = f"{export.variant} has {key} {value:,}, its manifest says {export.stats[key]:,}"
            raise BadArtifact(where, problem, CURE)
    if "tokens_train" in export.stats and not export.whole:
        part_of_train(where, export, [len(shard) for shard in train.shards])


def part_of_train(where: Path, export: Export, lengths: list[int]) -> None:
    """Shards have one length, so that as many as there are in all hold the manifest's tokens, the last one shorter."""
    files, tokens = export.stats["files_train"], export.stats["tokens_train"]
    if len(set(lengths)) > 1 or not (files - 1) * lengths[0] < tokens <= files * lengths[0]:
        problem = f"train shards of {min(lengths):,} to {max(lengths):,} tokens are not cut from {tokens:,} in {files}"
        raise BadArtifact(where, f"{export.variant}: {problem}", CURE)


def token_bytes(val: Documents, sidecar: list[Path], tokenizer: Tokenizer) -> np.ndarray:
    """int64 [tokens]: bytes of text that each token of val carries, by the sidecar where there is one.

    Raises BadArtifact where a sidecar is not cut as its shard is, or gives bytes to a BOS.
    """
    tokens = np.concatenate(val.shards)
    if not sidecar:
        return np.concatenate([np.zeros(1, dtype=np.int64), ByteTable.of(tokenizer).count(tokens)])
    parts = [read_shard(path) for path in sidecar]
    for part, shard in zip(parts, val.shards, strict=True):
        if len(part) != len(shard):
            raise BadArtifact(part.path, f"a sidecar of {len(part):,} tokens, its shard has {len(shard):,}", CURE)
    found = np.concatenate(parts).astype(np.int64)
    if found[tokens == tokenizer.bos].any():
        raise BadArtifact(parts[0].path, "the sidecar gives bytes to a BOS, which is no text", CURE)
    return found


def canonical_bytes(where: Path, export: Export, sizes: np.ndarray) -> None:
    """The bytes that the contest's own evaluation counts (record-stack 6.1), where they are known. sizes: of val's
    tokens. Raises BadArtifact.
    """
    known = hub.KNOWN.get(export.variant)
    if known is None:
        return
    targets = (len(sizes) - 1) // WINDOW * WINDOW
    found = int(sizes[1 : targets + 1].sum())
    if targets != known.targets or abs(found - known.bytes) > SLACK * known.bytes:
        problem = f"{export.variant}: val has {found:,} bytes in {targets:,} targets"
        raise BadArtifact(where, f"{problem}, the challenge's has {known.bytes:,} in {known.targets:,}", CURE)
