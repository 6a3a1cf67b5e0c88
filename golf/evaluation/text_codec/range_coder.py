"""Range coding of tokens under distributions that are known one at a time, with the same call on both sides.

A token is coded in two steps, its block of about √V neighboring ids and then its place in the block, each under a
distribution quantized to 24 bits by the constriction library (docs/references.md#ans): fixed-point numbers that follow
from the floats alone, and none of them 0. Two steps of 64 symbols take less time than one of 4,096, and give a token a
probability of 2^-48 at least.

Checksums go through the same coder, as bytes of equal probability, so the stream is one sequence of 32-bit words.
"""

# V vocabulary, K blocks, S ids of a block

import math
from collections.abc import Sequence
from typing import Protocol

import constriction
import numpy as np

__all__ = ["PROBABILITY_FLOOR", "DivergedError", "TokenCoder", "TokenDecoder", "TokenEncoder"]

_WORD_BYTES = 4
PROBABILITY_FLOOR = 1e-15  # added to every probability, so that each block has one
_BYTE_MODEL_SIZE = 256


class DivergedError(Exception):
    """The decoder's distributions are not those of the encoder."""


class TokenCoder(Protocol):
    """One side of the stream: the encoder knows what comes next, the decoder finds out."""

    def code_token(self, probs_V: np.ndarray) -> int:
        """Write or read the next token under its distribution, float64 [V]."""

    def code_checksum(self, checksum: int) -> None:
        """Write a number below 2^32, or read one. Raises DivergedError when the one that was read differs."""


class _Blocks:
    """Ids as (block, place in the block), and probabilities laid out that way."""

    def __init__(self, vocab_size: int) -> None:
        self.size = max(2, math.isqrt(vocab_size - 1) + 1)
        self._n_blocks = max(2, -(-vocab_size // self.size))
        self._padded = np.zeros(self._n_blocks * self.size)
        self.vocab_size = vocab_size

    def arrange(self, probs_V: np.ndarray) -> np.ndarray:
        """Return [K, S], the same memory at each call; the last block is filled up with improbable places."""
        self._padded[: self.vocab_size] = probs_V
        self._padded += PROBABILITY_FLOOR
        return self._padded.reshape(self._n_blocks, self.size)


def _categorical(weights: np.ndarray) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(weights, perfect=False)


class TokenEncoder:
    """Writes ``tokens`` in order."""

    def __init__(self, vocab_size: int, tokens: Sequence[int]) -> None:
        self._blocks, self._tokens = _Blocks(vocab_size), iter(tokens)
        self._coder = constriction.stream.queue.RangeEncoder()
        self._byte_model = _categorical(np.ones(_BYTE_MODEL_SIZE))

    def code_token(self, probs_V: np.ndarray) -> int:
        token = int(next(self._tokens))
        block, place = divmod(token, self._blocks.size)
        probs_KS = self._blocks.arrange(probs_V)
        self._coder.encode(block, _categorical(probs_KS.sum(1)))
        self._coder.encode(place, _categorical(probs_KS[block]))
        return token

    def code_checksum(self, checksum: int) -> None:
        for byte in checksum.to_bytes(4, "little"):
            self._coder.encode(byte, self._byte_model)

    def to_bytes(self) -> bytes:
        """Return all that was written. Zero bytes at the end are left out: the decoder reads zeros beyond the end."""
        return self._coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


class TokenDecoder:
    """Reads tokens from what an encoder wrote."""

    def __init__(self, vocab_size: int, data: bytes) -> None:
        self._blocks = _Blocks(vocab_size)
        padded = data + bytes(-len(data) % _WORD_BYTES)
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        self._byte_model = _categorical(np.ones(_BYTE_MODEL_SIZE))

    def code_token(self, probs_V: np.ndarray) -> int:
        probs_KS = self._blocks.arrange(probs_V)
        block = self._decode(_categorical(probs_KS.sum(1)))
        token = block * self._blocks.size + self._decode(_categorical(probs_KS[block]))
        if token >= self._blocks.vocab_size:
            raise DivergedError
        return token

    def code_checksum(self, checksum: int) -> None:
        if bytes(self._decode(self._byte_model) for _ in range(4)) != checksum.to_bytes(4, "little"):
            raise DivergedError

    def _decode(self, model: constriction.stream.model.Categorical) -> int:
        try:
            return int(self._coder.decode(model))
        except (AssertionError, ValueError):  # the library's word for data that no encoder writes
            raise DivergedError from None
