"""Interpolated modified Kneser-Ney over tokens, pruned and packed into a file of a given size.

Counts and discounts are those of Chen and Goodman (1998): the highest order has raw counts, a lower one counts the
distinct tokens before an n-gram, and what starts with BOS, which has no token before it, keeps its raw count. Where an
n-gram is pruned, its suffix gets its count instead of 1 (the revised Kneser pruning of Siivola, Hirsimäki and Virpioja,
2007), so that lower orders know what they must predict; with a whole order pruned, the next one has raw counts.

An n-gram is worth its discounted count times the log of what storing it gains over backing off. Those worth most are
kept, and the n-grams that are their prefixes, without which the file could not hold them. ``ngram_file`` has the
formula of the model and the layout of the file.
"""

# V vocabulary size; N n-grams of one order. An n-gram's node is its place among those of its order.

from dataclasses import dataclass

import brotli
import numpy as np
from ngram_file import HEADER, STREAM_SIZE
from scoreboard_data import fit_largest

_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # for counts too few to estimate them
_FIRST_BYTES_PER_NGRAM = 2.0  # the first guess
_MAX_BINS = 256


@dataclass(frozen=True)
class NgramCounts:
    """The n-grams of one order in a text.

    keys: int64 [N], ascending: node of the first tokens × V + last token. raw: int64 [N], occurrences. suffixes: int64
    [N], the node of the n-gram without its first token. after_bos: bool [N], the first token is BOS.
    """

    keys: np.ndarray
    raw: np.ndarray
    suffixes: np.ndarray
    after_bos: np.ndarray


def count_ngrams(tokens: np.ndarray, bos: int, vocab_size: int, max_order: int) -> list[NgramCounts]:
    """The n-grams of each order from 2 on. BOS is the first or last token of an n-gram, never inside one."""
    tokens = tokens.astype(np.int64)
    nodes, levels = tokens, []  # nodes: of the n-gram of the last order that starts at each position; -1: none
    for order in range(2, max_order + 1):
        n_starts = len(tokens) - order + 1
        contexts = nodes[:n_starts]
        if order > 2:
            contexts = np.where(tokens[order - 2 : order - 2 + n_starts] == bos, -1, contexts)
        starts = np.flatnonzero(contexts >= 0)
        keys, first, inverse, raw = np.unique(
            contexts[starts] * vocab_size + tokens[starts + order - 1],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        positions = starts[first]
        levels.append(NgramCounts(keys, raw, nodes[positions + 1], tokens[positions] == bos))
        nodes = np.full(n_starts, -1)
        nodes[starts] = inverse
    return levels


def estimate_discounts(counts: np.ndarray) -> np.ndarray:
    """float64 [4]: what is taken off a count of 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == count)) for count in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0, *_FALLBACK_DISCOUNTS])
    y = n1 / (n1 + 2 * n2)
    raw = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return np.array([0, *(min(max(value, 0), count) for count, value in enumerate(raw, 1))])


@dataclass(frozen=True)
class Estimate:
    """The model for one choice of n-grams.

    unigrams: float64 [V]. weights, gains: by order from 2 on, float64 [N], for all n-grams of the text: a(h w) as if it
    were kept, and the nats that keeping it saves. kept: bool [N].
    """

    unigrams: np.ndarray
    weights: list[np.ndarray]
    gains: list[np.ndarray]
    kept: list[np.ndarray]


def estimate(levels: list[NgramCounts], vocab_size: int, kept: list[np.ndarray]) -> Estimate:
    """Estimate weights with the n-grams ``kept``, and what each n-gram is worth beside these."""
    counts = [levels[-1].raw.astype(np.float64)]
    for order in range(len(levels) - 1, -1, -1):  # the order of the suffixes of levels[order]
        n_nodes = len(levels[order - 1].keys) if order else vocab_size
        lower = np.bincount(levels[order].suffixes, np.where(kept[order], 1.0, counts[0]), n_nodes)
        if order:
            lower = np.where(levels[order - 1].after_bos, levels[order - 1].raw, lower)
        counts.insert(0, lower)
    discounted = [np.maximum(c - estimate_discounts(c)[np.minimum(c, 3).astype(np.int64)], 0) for c in counts]
    unigrams = discounted[0] / counts[0].sum()
    unigrams += (1 - unigrams.sum()) / vocab_size
    probabilities, weights, gains = unigrams, [], []
    for level, is_kept, count, value in zip(levels, kept, counts[1:], discounted[1:], strict=True):
        parents, n_parents = level.keys // vocab_size, len(probabilities)
        weight = value / np.maximum(np.bincount(parents, count, n_parents), 1)[parents]
        backoff = 1 - np.bincount(parents, np.where(is_kept, weight, 0), n_parents)[parents]
        lower = probabilities[level.suffixes]
        backoff_without = backoff + np.where(is_kept, weight, 0)
        stored = weight + (backoff_without - weight) * lower
        backed_off = backoff_without * lower
        with np.errstate(divide="ignore"):
            gains.append((level.raw - (count - value)) * np.log(stored / np.maximum(backed_off, 1e-300)))
        weights.append(weight)
        probabilities = np.where(is_kept, stored, backed_off)
    return Estimate(unigrams, weights, gains, kept)


def choose_ngrams(
    levels: list[NgramCounts], gains: list[np.ndarray], vocab_size: int, n_ngrams: int
) -> list[np.ndarray]:
    """bool [N] of each order: the ``n_ngrams`` of the largest gains above 0, and their prefixes."""
    all_gains = np.concatenate(gains)
    n_ngrams = min(n_ngrams, len(all_gains))
    threshold = np.partition(all_gains, len(all_gains) - n_ngrams)[len(all_gains) - n_ngrams] if n_ngrams else np.inf
    kept = [gain >= max(threshold, 1e-9) for gain in gains]
    for order in range(len(levels) - 1, 0, -1):
        kept[order - 1][levels[order].keys[kept[order]] // vocab_size] = True
    return kept


def fit(levels: list[NgramCounts], vocab_size: int, limit_bytes: int, width: float) -> bytes:
    """The packed model with as many n-grams as fit in ``limit_bytes``. width: of a bin of log weights.

    Empty if no model fits.
    """
    gains = estimate(levels, vocab_size, [np.ones(len(level.keys), dtype=bool) for level in levels]).gains

    def pack_largest(n_ngrams: int) -> bytes:
        kept = choose_ngrams(levels, gains, vocab_size, n_ngrams)
        return pack(levels, vocab_size, estimate(levels, vocab_size, kept), width)

    def measure_size(n_ngrams: int) -> int:
        return len(pack_largest(n_ngrams))

    n_total = sum(len(gain) for gain in gains)
    data = pack_largest(fit_largest(measure_size, n_total, limit_bytes, per_byte=1 / _FIRST_BYTES_PER_NGRAM))
    return data if len(data) <= limit_bytes else b""


def pack(levels: list[NgramCounts], vocab_size: int, model: Estimate, width: float) -> bytes:
    """The file of ``ngram_file``. width: of a bin of log weights."""
    streams = list(_bin_weights(model.unigrams, width))
    unigrams = np.frombuffer(streams[1], "<f4")[np.frombuffer(streams[0], np.uint8)]
    ranks = np.empty(vocab_size, dtype=np.int64)
    ranks[np.argsort(-unigrams.astype(np.float64), kind="stable")] = np.arange(vocab_size)
    nodes, n_parents = ranks, vocab_size  # nodes: of each n-gram of the last order, in the file
    for level, weights, kept in zip(levels, model.weights, model.kept, strict=True):
        members = np.flatnonzero(kept)
        keys = nodes[level.keys[members] // vocab_size] * vocab_size + ranks[level.keys[members] % vocab_size]
        members, keys = members[np.argsort(keys)], np.sort(keys)
        nodes = np.full(len(kept), -1)
        nodes[members] = np.arange(len(members))
        parents, siblings = keys // vocab_size, keys % vocab_size
        is_first = np.diff(parents, prepend=-1) > 0
        gaps = siblings - np.where(is_first, -1, np.concatenate([[-1], siblings[:-1]])[: len(keys)])
        n_bits = np.maximum(np.frexp(gaps.astype(np.float64))[1] - 3, 0).astype(np.int64)
        symbols = np.where(gaps < 8, gaps, 4 * n_bits + (gaps >> n_bits))
        n_children = np.bincount(parents, minlength=n_parents)
        streams += [np.stack([n_children % 256, n_children // 256]).astype(np.uint8).tobytes()]
        streams += [symbols.astype(np.uint8).tobytes(), _write_bits(gaps, n_bits)]
        streams += _bin_weights(weights[members], width)
        n_parents = len(members)
    packed = [brotli.compress(stream, quality=11, lgwin=24) for stream in streams]
    body = b"".join(STREAM_SIZE.pack(len(stream)) + stream for stream in packed)
    return HEADER.pack(vocab_size, len(levels) + 1) + body


def _bin_weights(weights: np.ndarray, width: float) -> tuple[bytes, bytes]:
    """The bin of each weight, and the means of the bins. Weights under the last bin go into it."""
    bins = np.round(-np.log(np.maximum(weights, 1e-300)) / width).astype(np.int64)
    bins = np.minimum(bins - (bins.min() if len(bins) else 0), _MAX_BINS - 1)
    sizes = np.bincount(bins)
    means = np.bincount(bins, weights) / np.maximum(sizes, 1)
    return bins.astype(np.uint8).tobytes(), means.astype("<f4").tobytes()


def _write_bits(values: np.ndarray, n_bits: np.ndarray) -> bytes:
    """The lowest ``n_bits`` bits of each value, the highest of them first."""
    shifts = np.repeat(np.cumsum(n_bits), n_bits) - 1 - np.arange(int(n_bits.sum()))
    return np.packbits((np.repeat(values, n_bits) >> shifts & 1).astype(np.uint8)).tobytes()
