"""General compressors as predictors: primed with train text, they code val as the end of one stream.

The cost of val is size(prime + val) - size(prime). What would be submitted is the prime, compressed by the same
compressor, and a few lines of glue. The prime is the end of a pool of train text: ``make_pool`` puts the preferred
documents last, because a compressor knows best what it saw last.
"""

import importlib.metadata
import lzma
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scoreboard_data import fit_largest

PARTS = ("first", "last", "spread", "nearest")  # which documents of train are preferred
_NGRAM_BYTES = 8  # of the strings whose overlap with dev makes a document near
FIRST_RATIO = 4.0
_MIN_MEMORY_BYTES, MAX_MEMORY_BYTES = 64 << 20, 2047 << 20  # of PPMd's model

Settings = dict[str, Any]


def code_ppmd(pieces: Iterable[bytes], variant: str, order: int, memory_bytes: int) -> list[bytes]:
    """The parts of one PPMd stream: what is written after each piece, and at the end. variant: H or I."""
    import pyppmd

    if variant == "H":
        encoder = pyppmd.Ppmd7Encoder(order, memory_bytes)
    else:
        encoder = pyppmd.Ppmd8Encoder(order, memory_bytes, pyppmd.PPMD8_RESTORE_METHOD_RESTART)
    return [*(encoder.encode(piece) for piece in pieces), encoder.flush()]


def compress_ppmd(data: bytes, variant: str, order: int, memory_bytes: int) -> bytes:
    return b"".join(code_ppmd([data], variant, order, memory_bytes))


def compress_zpaq(data: bytes, method: str) -> bytes:
    import zpaq

    return zpaq.compress(data, threads=1, method=method)


def compress_brotli(data: bytes, quality: int, lgwin: int) -> bytes:
    import brotli

    return brotli.compress(data, quality=quality, lgwin=lgwin)


def compress_xz(data: bytes, lc: int, pb: int) -> bytes:
    preset = 9 | lzma.PRESET_EXTREME
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": 1 << 26, "lc": lc, "lp": 0, "pb": pb}]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def compress_zstd(data: bytes, level: int, window_log: int) -> bytes:
    import zstandard

    options = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_log, write_content_size=False)
    return zstandard.ZstdCompressor(compression_params=options).compress(data)


def compress_bzip3(data: bytes) -> bytes:
    import bz3

    return bz3.compress(data, max(1 << 17, len(data)))  # one block


@dataclass(frozen=True)
class Compressor:
    """One compressor.

    compress: bytes and a setting to bytes. settings: those tried on dev, the first of them with each part of train.
    package: of the index, None for the standard library. code_pieces: the same as a stream, where what each piece costs
    can be read off. is_fast: whether its part and setting are chosen anew for every size of file; a slow one keeps
    those chosen for the smallest.
    """

    title: str
    compress: Callable[..., bytes]
    settings: tuple[Settings, ...]
    package: str | None = None
    code_pieces: Callable[..., list[bytes]] | None = None
    is_fast: bool = False

    def find_version(self) -> str | None:
        """The version of the package; None if it is not installed."""
        try:
            return importlib.metadata.version(self.package) if self.package else "standard library"
        except importlib.metadata.PackageNotFoundError:
            return None

    @property
    def glue(self) -> Callable[..., Any]:
        """What the compressed prime needs beside the library."""
        return self.code_pieces or self.compress


def _ppmd_settings(variant: str, orders: tuple[int, ...]) -> tuple[Settings, ...]:
    return tuple({"variant": variant, "order": order, "memory_bytes": None} for order in orders)


COMPRESSORS = {
    "ppmd-h": Compressor(
        "PPMd var. H",
        compress_ppmd,
        _ppmd_settings("H", (16, 8, 12, 24, 32, 48, 64)),
        "pyppmd",
        code_ppmd,
        is_fast=True,
    ),
    "ppmd-i": Compressor(
        "PPMd var. I", compress_ppmd, _ppmd_settings("I", (16, 8, 12)), "pyppmd", code_ppmd, is_fast=True
    ),
    "zpaq": Compressor("ZPAQ", compress_zpaq, ({"method": "55,128,1"}, {"method": "55,128,0"}), "zpaq"),
    "brotli": Compressor("Brotli", compress_brotli, ({"quality": 11, "lgwin": 24},), "brotli"),
    "xz": Compressor("xz", compress_xz, ({"lc": 3, "pb": 0}, {"lc": 4, "pb": 0})),
    "zstd": Compressor("Zstandard", compress_zstd, ({"level": 22, "window_log": 27},), "zstandard"),
    "bzip3": Compressor("bzip3", compress_bzip3, ({},), "bzip3"),
}


def measure_cost(
    measure_size: Callable[[bytes], int], prime: bytes, prime_size: int, text: bytes, separator: bytes
) -> int:
    """Bits of ``text`` after ``prime``: 8 × (size(prime + text) - size(prime)). The separator stands between them.

    measure_size: bytes after compression. prime_size: those of the prime alone.
    """
    return 8 * (measure_size(join_stream(prime, text, separator)) - prime_size)


def join_stream(prime: bytes, text: bytes, separator: bytes) -> bytes:
    return prime + separator + text if prime else text


def measure_pieces(
    code_pieces: Callable[[list[bytes]], list[bytes]],
    prime: bytes,
    prime_size: int,
    pieces: list[bytes],
    separator: bytes,
) -> list[float]:
    """Bits of each piece after ``prime``; they add up to what ``measure_cost`` gives.

    A range coder holds back the last bytes, so one piece's bits are off by a few; these errors cancel over the pieces.
    The last piece gets what the end of the stream adds.
    """
    sizes = [len(part) for part in code_pieces([prime + separator if prime else b"", *pieces])]
    bits = [8.0 * size for size in sizes[1:-1]]
    bits[-1] += 8.0 * (sizes[0] + sizes[-1] - prime_size)
    return bits


def make_pool(documents: list[bytes], dev_documents: list[bytes], part: str, separator: bytes) -> bytes:
    """The documents of train as one text, the preferred ones last. part: one of PARTS.

    first, last: by their place in train. spread: drawn at random. nearest: by the share of their strings of 8 bytes
    that occur in dev.
    """
    if part == "nearest":
        known = np.unique(np.concatenate([_hash_ngrams(document) for document in dev_documents]))
        order = np.argsort([_share_known(document, known) for document in documents], kind="stable")
    elif part == "spread":
        order = np.random.default_rng(0).permutation(len(documents))
    else:
        order = np.arange(len(documents)) if part == "last" else np.arange(len(documents))[::-1]
    return separator.join(documents[i] for i in order)


def _share_known(document: bytes, known: np.ndarray) -> float:
    """Share of the document's strings that are among ``known``, which is ascending."""
    ngrams = _hash_ngrams(document)
    places = np.minimum(np.searchsorted(known, ngrams), len(known) - 1)
    return float((known[places] == ngrams).mean())


def _hash_ngrams(document: bytes) -> np.ndarray:
    """uint64 [n]: each string of 8 bytes as a number; one 0 for a shorter document."""
    data = np.frombuffer(document, dtype=np.uint8).astype(np.uint64)
    if len(data) < _NGRAM_BYTES:
        return np.zeros(1, dtype=np.uint64)
    for width in (1, 2, 4):
        data = (data[:-width] << np.uint64(8 * width)) | data[width:]
    return data


def fit_prime(
    measure_size: Callable[[bytes], int],
    pool: bytes,
    limit_bytes: int,
    *,
    ratio: float = FIRST_RATIO,
    slack_frac: float,
) -> bytes:
    """The end of ``pool``, as much of it as compresses to at most ``limit_bytes``; empty if no byte fits.

    ratio: a guess, bytes of text for each byte of its file. slack_frac: of the limit, what may stay unused.
    """

    def measure_end(n_bytes: int) -> int:
        return measure_size(pool[len(pool) - n_bytes :])

    n_bytes = fit_largest(measure_end, len(pool), limit_bytes, per_byte=ratio, slack_frac=slack_frac)
    return pool[len(pool) - n_bytes :]


def find_memory(measure_size: Callable[[int], int]) -> int:
    """Bytes of memory, a power of two, with which PPMd never restarts.

    measure_size: from bytes of memory to those of a stream.

    Restarts end where more memory leaves the size as it is. Twice that much is returned, for a text a little longer;
    at most MAX_MEMORY_BYTES.
    """
    memory_bytes = _MIN_MEMORY_BYTES
    size = measure_size(memory_bytes)
    while memory_bytes < MAX_MEMORY_BYTES:
        doubled = min(2 * memory_bytes, MAX_MEMORY_BYTES)
        next_size = measure_size(doubled)
        if next_size == size:
            return doubled
        memory_bytes, size = doubled, next_size
    return memory_bytes
