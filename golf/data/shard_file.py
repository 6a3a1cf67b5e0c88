"""One token shard: a file in the challenge's format, written whole and read piece by piece.

256 little-endian int32 (20240520, 1, number of tokens, zeros), then that many little-endian uint16 (openai/
parameter-golf, data/). It is read, not mapped: a mapped file that somebody cuts short ends the process by SIGBUS,
without a word; a read that comes back short names the file.
"""

import hashlib
import os
import weakref

import numpy as np

from golf.artifacts import io
from golf.errors import ArtifactError

MAGIC, VERSION, HEADER_BYTES = 20240520, 1, 1024
RERUN_HINT = "run fetch again, or bring it back with: dvc checkout fetch"


class ShardReader:
    """uint16 numbers [tokens] in an open file. shard[i], shard[a:b] and np.asarray(shard) read, each anew.

    The file stays the one that was opened, whatever takes its name. Raises BadArtifact when it has become shorter.
    """

    def __init__(self, path, fd: int, n_tokens: int):
        self.path, self.fd, self._n_tokens = path, fd, n_tokens
        weakref.finalize(self, os.close, fd)

    def __len__(self) -> int:
        return self._n_tokens

    def __getitem__(self, index: int | slice) -> np.ndarray | np.uint16:
        if not isinstance(index, slice):
            return self._read(range(self._n_tokens)[index], 1)[0]
        start, stop, step = index.indices(self._n_tokens)
        if step != 1:
            raise ValueError(f"a shard is read in one piece, not with step {step}")
        return self._read(start, max(0, stop - start))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.uint16, copy=False)

    def _read(self, start: int, count: int) -> np.ndarray:
        """uint16 [count] from ``start`` on, which is within the shard."""
        token_ids = np.empty(count, dtype="<u2")
        remaining, offset = memoryview(token_ids).cast("B"), HEADER_BYTES + 2 * start
        while remaining:
            n_read = os.preadv(self.fd, [remaining], offset)
            if not n_read:
                expected_bytes, actual_bytes = HEADER_BYTES + 2 * self._n_tokens, os.fstat(self.fd).st_size
                problem = f"was cut short while it was read: {expected_bytes:,} bytes when opened, now {actual_bytes:,}"
                raise ArtifactError(self.path, problem, RERUN_HINT)
            remaining, offset = remaining[n_read:], offset + n_read
        return token_ids


def write_shard(path, tokens: np.ndarray) -> str:
    """Write ids [n] as one shard; returns the file's sha256."""
    header = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    body = np.ascontiguousarray(tokens, dtype="<u2")
    with io.atomic_write(path) as partial_path, open(partial_path, "wb") as file:
        file.write(header.data)
        file.write(body.data)
    hasher = hashlib.sha256(header.data)
    hasher.update(body.data)
    return hasher.hexdigest()


def read_shard(path) -> ShardReader:
    """A shard by structure alone: magic, version, exact size. Raises BadArtifact."""
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


def _read_token_count(path, fd: int) -> int:
    """Tokens by the header, which the size must bear out."""
    try:
        header, size = os.pread(fd, HEADER_BYTES, 0), os.fstat(fd).st_size
    except IsADirectoryError:
        raise ArtifactError(path, "no such shard", RERUN_HINT) from None
    if len(header) < HEADER_BYTES:
        raise ArtifactError(
            path, f"a shard starts with {HEADER_BYTES} bytes of header, this file has {size}", RERUN_HINT
        )
    magic, version, n_tokens = map(int, np.frombuffer(header, dtype="<i4", count=3))
    if magic != MAGIC:
        raise ArtifactError(path, f"not a token shard: magic {magic}, expected {MAGIC}", RERUN_HINT)
    if version != VERSION:
        raise ArtifactError(path, f"shard version {version}, this program reads {VERSION}", RERUN_HINT)
    if n_tokens < 1 or size != HEADER_BYTES + 2 * n_tokens:
        raise ArtifactError(
            path, f"{n_tokens:,} tokens by its header, {(size - HEADER_BYTES) / 2:,} by its size", RERUN_HINT
        )
    return n_tokens
