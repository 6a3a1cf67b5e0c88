"""A packed n-gram model, and scoring with it: what the Kneser-Ney row of the scoreboard submits.

p(w | h) = a(h w) + (1 - Σ_v a(h v)) p(w | h'), where h' is h without its oldest token and a(h w) is 0 for an n-gram
that is not stored. Whatever the weights a are, as long as those of a context add up to less than 1, p adds up to 1; so
the file holds n-grams and weights alone, and no numbers for backing off. The unigrams hold every token.

The n-grams of order k are sorted by (node of their first k - 1 tokens, rank of their last token), where a node is the
place of an n-gram among those of its order, and a rank the place of a token by falling unigram weight. An order has
five Brotli streams: how many children each node of order k - 1 has, the gaps between the ranks of siblings as symbols
of three significant bits, the other bits of the gaps, and the weights as bins of equal width in log a and their means.
No n-gram runs over BOS, which is the first token of a context or the last of an n-gram.
"""

# V vocabulary size; N n-grams of one order

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import brotli
import numpy as np

HEADER = struct.Struct("<IB")  # vocabulary size, highest order
STREAM_SIZE = struct.Struct("<I")
_MAX_CONTEXT_WEIGHT = 1 - 2.0**-16  # where rounding makes a context's weights too large, this is what they add up to


@dataclass
class Level:
    """n-grams of one order. keys: int64 [N], ascending: parent node × V + rank. weights: float64 [N], a."""

    keys: np.ndarray
    weights: np.ndarray


class NgramModel:
    """unigrams: float64 [V], by rank, adding up to 1. ranks: int64 [V], by token. levels: of the orders from 2 on."""

    def __init__(self, unigrams: np.ndarray, ranks: np.ndarray, levels: list[Level]) -> None:
        self.unigrams, self.ranks, self.levels = unigrams, ranks, levels
        self.vocab_size = n_parents = len(unigrams)
        self.backoffs = []  # by order: float64 [nodes], 1 - Σ a of the children
        for level in levels:
            parents = level.keys // self.vocab_size
            totals = np.bincount(parents, level.weights, n_parents)
            level.weights = level.weights * np.minimum(1, _MAX_CONTEXT_WEIGHT / np.maximum(totals, 0.5))[parents]
            self.backoffs.append(1 - np.bincount(parents, level.weights, n_parents))
            n_parents = len(level.keys)

    def score(self, tokens: np.ndarray, bos: int) -> np.ndarray:
        """The nll in nats of tokens[1:], each given those before it: float64 [n - 1]."""
        nodes = ranks = self.ranks[tokens]  # nodes: of the n-gram that starts at each position; -1: not stored
        probabilities = self.unigrams[ranks]
        for order, (level, backoffs) in enumerate(zip(self.levels, self.backoffs, strict=True), 2):
            n_starts = max(0, len(tokens) - order + 1)
            contexts = nodes[:n_starts]
            if order > 2:
                contexts = np.where(tokens[order - 2 : order - 2 + n_starts] == bos, -1, contexts)
            keys = np.where(contexts < 0, -1, contexts * self.vocab_size + ranks[order - 1 :])
            nodes = _find(level.keys, keys)
            weights = np.where(nodes < 0, 0, np.append(level.weights, 0)[nodes])
            probabilities[order - 1 :] *= np.where(contexts < 0, 1, np.append(backoffs, 1)[contexts])
            probabilities[order - 1 :] += weights
        return -np.log(probabilities[1:])


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """int64: the place of each wanted key; -1 where it is not among the keys, which are ascending."""
    places = np.searchsorted(keys, wanted)
    return np.where(np.append(keys, -2)[places] == wanted, places, -1)


def unpack(data: bytes) -> NgramModel:
    """The model of a file."""
    vocab_size, max_order = HEADER.unpack_from(data)
    streams = _iter_streams(data)
    unigrams = _read_weights(streams)
    ranks = np.empty(vocab_size, dtype=np.int64)
    by_rank = np.argsort(-unigrams, kind="stable")
    ranks[by_rank] = np.arange(vocab_size)
    levels, n_parents = [], vocab_size
    for _ in range(max_order - 1):
        low, high = np.frombuffer(next(streams), np.uint8).reshape(2, -1).astype(np.int64)
        n_children = low + 256 * high
        symbols = np.frombuffer(next(streams), np.uint8).astype(np.int64)
        n_bits = np.maximum(symbols // 4 - 1, 0)
        gaps = (np.where(symbols < 8, symbols, 4 + symbols % 4) << n_bits) + _read_bits(next(streams), n_bits)
        sums = np.concatenate([[0], np.cumsum(gaps)])
        before = np.repeat(sums[np.cumsum(n_children) - n_children], n_children)
        keys = np.repeat(np.arange(n_parents), n_children) * vocab_size + sums[1:] - before - 1
        levels.append(Level(keys, _read_weights(streams)))
        n_parents = len(keys)
    return NgramModel(unigrams[by_rank] / unigrams.sum(), ranks, levels)


def _iter_streams(data: bytes) -> Iterator[bytes]:
    position = HEADER.size
    while position < len(data):
        start = position + STREAM_SIZE.size
        position = start + STREAM_SIZE.unpack_from(data, position)[0]
        yield brotli.decompress(data[start:position])


def _read_weights(streams: Iterator[bytes]) -> np.ndarray:
    bins, means = np.frombuffer(next(streams), np.uint8), np.frombuffer(next(streams), "<f4")
    return means.astype(np.float64)[bins]


def _read_bits(data: bytes, n_bits: np.ndarray) -> np.ndarray:
    """int64 [N]: numbers of ``n_bits`` bits each, the highest bit first."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=int(n_bits.sum()))
    shifts = np.repeat(np.cumsum(n_bits), n_bits) - 1 - np.arange(len(bits))
    owners = np.repeat(np.arange(len(n_bits)), n_bits)
    return np.bincount(owners, bits * 2.0**shifts, len(n_bits)).astype(np.int64)
