"""One token shard: a file in the challenge's format, written whole and read piece by piece.

256 little-endian int32 (20240520, 1, number of tokens, zeros), then that many little-endian uint16 (openai/
parameter-golf, data/). It is read, not mapped: a mapped file that somebody cuts short ends the process by SIGBUS,
without a word; a read that comes back short names the file.
"""

import hashlib
import os
import weakref

import numpy as np

from golf.ground import store
from golf.ground.errors import BadArtifact

MAGIC, VERSION, HEADER = 20240520, 1, 1024
CURE = "run fetch again, or bring it back with: dvc checkout fetch"


class Shard:
    """uint16 numbers [tokens] in an open file. shard[i], shard[a:b] and np.asarray(shard) read, each anew.

    The file stays the one that was opened, whatever takes its name. Raises BadArtifact when it has become shorter.
    """

    def __init__(self, path, fd: int, tokens: int):
        self.path, self.fd, self.tokens = path, fd, tokens
        weakref.finalize(self, os.close, fd)

    def __len__(self) -> int:
        return self.tokens

    def __getitem__(self, index: int | slice) -> np.ndarray | np.uint16:
        if not isinstance(index, slice):
            return self.read(range(self.tokens)[index], 1)[0]
        start, stop, step = index.indices(self.tokens)
        if step != 1:
            raise ValueError(f"a shard is read in one piece, not with step {step}")
        return self.read(start, max(0, stop - start))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.uint16, copy=False)

    def read(self, start: int, count: int) -> np.ndarray:
        """uint16 [count] from ``start`` on, which is within the shard."""
        found = np.empty(count, dtype="<u2")
        left, at = memoryview(found).cast("B"), HEADER + 2 * start
        while left:
            got = os.preadv(self.fd, [left], at)
            if not got:
                before, now = HEADER + 2 * self.tokens, os.fstat(self.fd).st_size
                problem = f"was cut short while it was read: {before:,} bytes when opened, now {now:,}"
                raise BadArtifact(self.path, problem, CURE)
            left, at = left[got:], at + got
        return found


def write_shard(path, tokens: np.ndarray) -> str:
    """Write ids [n] as one shard; returns the file's sha256."""
    header = np.zeros(HEADER // 4, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    body = np.ascontiguousarray(tokens, dtype="<u2")
    with store.writing(path) as partial, open(partial, "wb") as file:
        file.write(header.data)
        file.write(body.data)
    total = hashlib.sha256(header.data)
    total.update(body.data)
    return total.hexdigest()


def read_shard(path) -> Shard:
    """A shard by structure alone: magic, version, exact size. Raises BadArtifact."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise BadArtifact(path, "no such shard", CURE) from None
    try:
        tokens = length(path, fd)
    except BaseException:
        os.close(fd)
        raise
    return Shard(path, fd, tokens)


def length(path, fd: int) -> int:
    """Tokens by the header, which the size must bear out."""
    try:
        start, size = os.pread(fd, HEADER, 0), os.fstat(fd).st_size
    except IsADirectoryError:
        raise BadArtifact(path, "no such shard", CURE) from None
    if len(start) < HEADER:
        raise BadArtifact(path, f"a shard starts with {HEADER} bytes of header, this file has {size}", CURE)
    magic, version, tokens = map(int, np.frombuffer(start, dtype="<i4", count=3))
    if magic != MAGIC:
        raise BadArtifact(path, f"not a token shard: magic {magic}, expected {MAGIC}", CURE)
    if version != VERSION:
        raise BadArtifact(path, f"shard version {version}, this program reads {VERSION}", CURE)
    if tokens < 1 or size != HEADER + 2 * tokens:
        raise BadArtifact(path, f"{tokens:,} tokens by its header, {(size - HEADER) / 2:,} by its size", CURE)
    return tokens
