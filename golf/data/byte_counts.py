"""How many bytes of text each token stands for, by the challenge's rule: the denominator of bits per byte.

A byte piece is 1. A control, unknown or unused piece is 0 and a boundary. Any other piece is the UTF-8 length of what
follows its leading "▁", plus 1 for that "▁" unless the token before is a boundary (openai/parameter-golf, train_gpt.py;
charging the space in both places is the error of PRs #1687, #1698, #1711, #1712, #1734).
"""

from dataclasses import dataclass

import numpy as np

from golf.data.tokenizer import SPACE_SYMBOL, Tokenizer
from golf.errors import InputError


@dataclass(frozen=True)
class TokenByteTable:
    """By id: ``base`` int64, bytes without the leading space; ``space`` bool, has one; ``boundary`` bool, no text."""

    base_bytes: np.ndarray
    has_leading_space: np.ndarray
    is_boundary: np.ndarray

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer) -> "TokenByteTable":
        ids = range(tokenizer.vocab_size)
        is_boundary = np.array([tokenizer.is_special(i) for i in ids], dtype=bool)
        is_byte = np.array([tokenizer.is_byte(i) for i in ids], dtype=bool)
        piece_bytes = np.array(
            [len(piece.removeprefix(SPACE_SYMBOL).encode()) for piece in tokenizer.pieces], dtype=np.int64
        )
        has_space = np.array([piece.startswith(SPACE_SYMBOL) for piece in tokenizer.pieces], dtype=bool)
        base_bytes = np.where(is_boundary, 0, np.where(is_byte, 1, piece_bytes))
        return cls(base_bytes, has_space & ~is_boundary & ~is_byte, is_boundary)

    def count_bytes(self, tokens: np.ndarray) -> np.ndarray:
        """int64 [n - 1]: bytes of tokens[1:], each as the target that follows tokens[:-1]. tokens: ids [n]."""
        previous, target = tokens[:-1], tokens[1:]
        return self.base_bytes[target] + (self.has_leading_space[target] & ~self.is_boundary[previous])


def count_and_verify(tokenizer: Tokenizer, tokens: list[np.ndarray], texts: list[str], names: list[str]) -> np.ndarray:
    """int64 [documents]: each document's bytes by the rule, found equal to its normalised text's UTF-8 length.

    tokens: ids of each document, BOS in front. names: for the message.
    Raises BadInput naming the first document where the two differ: this tokenizer's score would be a wrong one.
    """
    byte_table = TokenByteTable.from_tokenizer(tokenizer)
    byte_counts = np.array([byte_table.count_bytes(ids).sum() for ids in tokens], dtype=np.int64)
    for name, text, n_bytes in zip(names, texts, byte_counts, strict=True):
        expected_bytes = len(tokenizer.normalize(text).encode())
        if n_bytes != expected_bytes:
            raise InputError(
                f"{name}: its tokens stand for {n_bytes:,} bytes by the challenge's rule, its normalised text has "
                f"{expected_bytes:,}; {tokenizer.name} does not fit the rule; set fetch.tokenizer: train or another model"
            )
    return byte_counts
