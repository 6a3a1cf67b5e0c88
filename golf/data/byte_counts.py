"""Bytes of text per token by the challenge's rule: the denominator of bits per byte (docs/references.md#bpb).

A byte piece counts 1. A control, unknown or unused piece counts 0 and is a boundary. Any other piece counts the UTF-8
length of what follows its leading "▁", plus 1 for that "▁" unless the previous token is a boundary
(openai/parameter-golf, train_gpt.py). Counting the space in both places is the error of PRs #1687, #1698, #1711, #1712
and #1734.
"""

from dataclasses import dataclass

import numpy as np

from golf.data.tokenizer import SPACE_SYMBOL, Tokenizer
from golf.errors import InputError


@dataclass(frozen=True)
class TokenByteTable:
    """The rule as arrays indexed by token id.

    base_bytes: int64, bytes without the leading space. has_leading_space: bool. is_boundary: bool, carries no text.
    """

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
        """int64 [n - 1]: bytes of the targets tokens[1:], given the tokens before them. tokens: ids [n]."""
        previous, target = tokens[:-1], tokens[1:]
        return self.base_bytes[target] + (self.has_leading_space[target] & ~self.is_boundary[previous])


def count_and_verify(
    tokenizer: Tokenizer, token_ids: list[np.ndarray], texts: list[str], names: list[str]
) -> np.ndarray:
    """int64 [documents]: each document's bytes by the rule, verified against its normalized text's UTF-8 length.

    token_ids: of each document, BOS first. names: of the documents, for the message.
    Raises InputError naming the first document where the two differ: scores with this tokenizer would be wrong.
    """
    byte_table = TokenByteTable.from_tokenizer(tokenizer)
    byte_counts = np.array([byte_table.count_bytes(ids).sum() for ids in token_ids], dtype=np.int64)
    for name, text, n_bytes in zip(names, texts, byte_counts, strict=True):
        expected_bytes = len(tokenizer.normalize(text).encode())
        if n_bytes != expected_bytes:
            raise InputError(
                f"{name}: its tokens stand for {n_bytes:,} bytes by the challenge's rule, its normalized text has "
                f"{expected_bytes:,}; {tokenizer.name} does not fit the rule; "
                "set fetch.tokenizer: train, or another model"
            )
    return byte_counts
