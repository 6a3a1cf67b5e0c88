"""Token shard files in the challenge's format, written atomically and read in pieces.

A shard is 256 little-endian int32 (20240520, 1, number of tokens, zeros) and then that many little-endian uint16
(docs/references.md#hub-format). Shards are read with pread, not memory-mapped: truncating a mapped file kills the
process with SIGBUS, while a short read raises an error that names the file.
"""

import hashlib
import os
import weakref
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import DTypeLike

from golf.artifacts import io
from golf.errors import ArtifactError

__all__ = ["HEADER_BYTES", "MAGIC", "RERUN_HINT", "VERSION", "ShardReader", "read_shard", "write_shard"]

MAGIC, VERSION, HEADER_BYTES = 20240520, 1, 1024
RERUN_HINT = "make it again with: dvc repro -f fetch"


class ShardReader:
    """uint16 array [tokens] in an open file. shard[i], shard[a:b] and np.asarray(shard) each read from the file.

    It keeps reading the file that was opened, even when another file replaces it on disk.
    Raises ArtifactError when the file has been truncated since.
    """

    def __init__(self, path: Path | str, fd: int, n_tokens: int) -> None:
        self.path, self.fd, self._n_tokens = path, fd, n_tokens
        weakref.finalize(self, os.close, fd)

    def __len__(self) -> int:
        return self._n_tokens

    @overload
    def __getitem__(self, index: int) -> np.uint16: ...
    @overload
    def __getitem__(self, index: slice) -> np.ndarray: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | np.uint16:
        if not isinstance(index, slice):
            return self._read(range(self._n_tokens)[index], 1)[0]
        start, stop, step = index.indices(self._n_tokens)
        if step != 1:
            raise ValueError(f"a shard can only be read with step 1, got {step}")
        return self._read(start, max(0, stop - start))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint16, copy=False)

    def _read(self, start: int, count: int) -> np.ndarray:
        """uint16 [count]: the tokens from ``start`` on, which must lie within the shard."""
        token_ids = np.empty(count, dtype="<u2")
        remaining, offset = token_ids.view(np.uint8).data, HEADER_BYTES + 2 * start
        while remaining:
            n_read = os.preadv(self.fd, [remaining], offset)
            if not n_read:
                expected_bytes, actual_bytes = HEADER_BYTES + 2 * self._n_tokens, os.fstat(self.fd).st_size
                problem = f"was truncated while in use: {expected_bytes:,} bytes when opened, now {actual_bytes:,}"
                raise ArtifactError(self.path, problem, RERUN_HINT)
            remaining, offset = remaining[n_read:], offset + n_read
        return token_ids


def write_shard(path: Path | str, tokens: np.ndarray) -> str:
    """Write ids [n] as one shard file; returns its sha256."""
    header = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    body = np.ascontiguousarray(tokens, dtype="<u2")
    with io.atomic_write(path) as partial_path, open(partial_path, "wb") as file:
        file.write(header.data)
        file.write(body.data)
    hasher = hashlib.sha256(header.data)
    hasher.update(body.data)
    return hasher.hexdigest()


def read_shard(path: Path | str) -> ShardReader:
    """Open a shard after checking its magic, version and size. Raises ArtifactError."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ArtifactError(path, "no such shard", RERUN_HINT) from None
    try:
        n_tokens = _read_token_count(path, fd)
    except BaseException:
        os.close(fd)
        raise
    return ShardReader(path, fd, n_tokens)


def _read_token_count(path: Path | str, fd: int) -> int:
    """Number of tokens from the header, checked against the file's size."""
    try:
        header, size = os.pread(fd, HEADER_BYTES, 0), os.fstat(fd).st_size
    except IsADirectoryError:
        raise ArtifactError(path, "no such shard", RERUN_HINT) from None
    if len(header) < HEADER_BYTES:
        problem = f"a shard starts with a header of {HEADER_BYTES} bytes, this file has {size}"
        raise ArtifactError(path, problem, RERUN_HINT)
    magic, version, n_tokens = map(int, np.frombuffer(header, dtype="<i4", count=3))
    if magic != MAGIC:
        raise ArtifactError(path, f"not a token shard: magic {magic}, expected {MAGIC}", RERUN_HINT)
    if version != VERSION:
        raise ArtifactError(path, f"shard version {version}, only version {VERSION} is supported", RERUN_HINT)
    if n_tokens < 1 or size != HEADER_BYTES + 2 * n_tokens:
        problem = f"its header says {n_tokens:,} tokens, its size {(size - HEADER_BYTES) / 2:,}"
        raise ArtifactError(path, problem, RERUN_HINT)
    return n_tokens
