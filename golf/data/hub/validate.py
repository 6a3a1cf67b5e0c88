"""Validate an export: its documents and tokens by the manifest, its bytes by the challenge's canonical count."""

from pathlib import Path

import numpy as np

from golf.data.byte_counts import TokenByteTable
from golf.data.hub import manifest
from golf.data.hub.dedup import DocumentIndex
from golf.data.hub.manifest import REVISION_HINT, Export
from golf.data.shard_file import read_shard
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError

__all__ = ["EVAL_WINDOW_TOKENS", "check_byte_count", "check_totals", "read_val_token_bytes"]

_BYTES_REL_TOLERANCE = 1e-7  # the known counts are computed from losses logged with eight decimals
EVAL_WINDOW_TOKENS = 2048  # the challenge's train_gpt.py does not evaluate the targets after its last whole window


def check_totals(location: Path, export: Export, val: DocumentIndex, train: DocumentIndex) -> None:
    """Compare documents and tokens with the manifest's totals, as far as they were fetched. Raises ArtifactError."""
    actual_totals = {"docs_val": len(val), "tokens_val": int(val.starts[-1])}
    if export.has_all_train:
        actual_totals |= {"docs_train": len(train), "tokens_train": int(train.starts[-1])}
    for key, value in actual_totals.items():
        if export.stats.get(key, value) != value:
            problem = f"{key} of {export.variant} is {value:,}, its manifest says {export.stats[key]:,}"
            raise ArtifactError(location, problem, REVISION_HINT)
    if "tokens_train" in export.stats and not export.has_all_train:
        _check_shard_sizes(location, export, [len(shard) for shard in train.shards])


def _check_shard_sizes(location: Path, export: Export, lengths: list[int]) -> None:
    """All shards but the last have one length, so the manifest's number of shards must fit its number of tokens."""
    n_files, n_tokens = export.stats["files_train"], export.stats["tokens_train"]
    if len(set(lengths)) > 1 or not (n_files - 1) * lengths[0] < n_tokens <= n_files * lengths[0]:
        problem = (
            f"{n_files} train shards of {min(lengths):,} to {max(lengths):,} tokens can't hold {n_tokens:,} tokens"
        )
        raise ArtifactError(location, f"{export.variant}: {problem}", REVISION_HINT)


def read_val_token_bytes(val: DocumentIndex, sidecar_paths: list[Path], tokenizer: Tokenizer) -> np.ndarray:
    """Return int64 [tokens]: bytes of text of each token of val, from the sidecar if there is one, else by the rule.

    Raises ArtifactError when a sidecar is not as long as its shard, or gives bytes to a BOS.
    """
    tokens = np.concatenate(val.shards)
    if not sidecar_paths:
        return np.concatenate(
            [np.zeros(1, dtype=np.int64), TokenByteTable.from_tokenizer(tokenizer).count_bytes(tokens)]
        )
    sidecar_shards = [read_shard(path) for path in sidecar_paths]
    for sidecar_shard, shard in zip(sidecar_shards, val.shards, strict=True):
        if len(sidecar_shard) != len(shard):
            raise ArtifactError(
                sidecar_shard.path,
                f"a sidecar of {len(sidecar_shard):,} tokens for a shard of {len(shard):,}",
                REVISION_HINT,
            )
    byte_counts = np.concatenate(sidecar_shards).astype(np.int64)
    if byte_counts[tokens == tokenizer.bos].any():
        problem = "the sidecar gives bytes to a BOS, which is not text"
        raise ArtifactError(sidecar_shards[0].path, problem, REVISION_HINT)
    return byte_counts


def check_byte_count(location: Path, export: Export, token_bytes: np.ndarray) -> None:
    """Compare val's bytes with those that the challenge's own evaluation counts, if they are known.

    token_bytes: int64 [tokens] of val. Raises ArtifactError.
    """
    known_totals = manifest.KNOWN_TOTALS.get(export.variant)
    if known_totals is None:
        return
    n_targets = (len(token_bytes) - 1) // EVAL_WINDOW_TOKENS * EVAL_WINDOW_TOKENS
    n_bytes = int(token_bytes[1 : n_targets + 1].sum())
    if (
        n_targets != known_totals.n_targets
        or abs(n_bytes - known_totals.n_bytes) > _BYTES_REL_TOLERANCE * known_totals.n_bytes
    ):
        problem = f"{export.variant}: val has {n_bytes:,} bytes in {n_targets:,} targets"
        expected = f"the challenge's has {known_totals.n_bytes:,} in {known_totals.n_targets:,}"
        raise ArtifactError(location, f"{problem}, {expected}", REVISION_HINT)
