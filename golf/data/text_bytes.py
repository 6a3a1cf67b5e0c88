"""How many bytes of text each token stands for, by the challenge's rule: the denominator of bits per byte.

A byte piece is 1. A control, unknown or unused piece is 0 and a boundary. Any other piece is the UTF-8 length of what
follows its leading "▁", plus 1 for that "▁" unless the token before is a boundary (openai/parameter-golf, train_gpt.py;
charging the space in both places is the error of PRs #1687, #1698, #1711, #1712, #1734).
"""

from dataclasses import dataclass

import numpy as np

from golf.data.tokenizer import SPACE, Tokenizer
from golf.ground.errors import BadInput


@dataclass(frozen=True)
class ByteTable:
    """By id: ``base`` int64, bytes without the leading space; ``space`` bool, has one; ``boundary`` bool, no text."""

    base: np.ndarray
    space: np.ndarray
    boundary: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "ByteTable":
        ids = range(tokenizer.vocabulary)
        boundary = np.array([tokenizer.silent(i) for i in ids], dtype=bool)
        byte = np.array([tokenizer.is_byte(i) for i in ids], dtype=bool)
        length = np.array([len(piece.removeprefix(SPACE).encode()) for piece in tokenizer.pieces], dtype=np.int64)
        spaced = np.array([piece.startswith(SPACE) for piece in tokenizer.pieces], dtype=bool)
        base = np.where(boundary, 0, np.where(byte, 1, length))
        return cls(base, spaced & ~boundary & ~byte, boundary)

    def count(self, tokens: np.ndarray) -> np.ndarray:
        """int64 [n - 1]: bytes of tokens[1:], each as the target that follows tokens[:-1]. tokens: ids [n]."""
        before, target = tokens[:-1], tokens[1:]
        return self.base[target] + (self.space[target] & ~self.boundary[before])


def check(tokenizer: Tokenizer, tokens: list[np.ndarray], texts: list[str], names: list[str]) -> np.ndarray:
    """int64 [documents]: each document's bytes by the rule, found equal to its normalised text's UTF-8 length.

    tokens: ids of each document, BOS in front. names: for the message.
    Raises BadInput naming the first document where the two differ: this tokenizer's score would be a wrong one.
    """
    table = ByteTable.of(tokenizer)
    counted = np.array([table.count(ids).sum() for ids in tokens], dtype=np.int64)
    for name, text, found in zip(names, texts, counted, strict=True):
        real = len(tokenizer.normalise(text).encode())
        if found != real:
            raise BadInput(
                f"{name}: its tokens stand for {found:,} bytes by the challenge's rule, its normalised text has "
                f"{real:,}; {tokenizer.name} does not fit the rule; set fetch.tokenizer: train or another model"
            )
    return counted
