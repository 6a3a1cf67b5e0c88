"""Bytes of text per token by the challenge's rule: the denominator of bits per byte (docs/references.md#bpb).

A byte piece counts 1. A control, unknown or unused piece counts 0 and is a boundary. Any other piece counts the UTF-8
length of what follows its leading "▁", plus 1 for that "▁" unless the previous token is a boundary
(openai/parameter-golf, train_gpt.py). Counting the space in both places is the error of PRs #1687, #1698, #1711, #1712
and #1734.

The text is the document's as golf.data.normalize (nmt_nfkc) leaves it, whatever the tokenizer: what a tokenizer's own
normalizer makes of it, such as folded case, is another text with other bytes (PRs #1578, #1604).
"""

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from golf.data.tokenizer import SPACE_SYMBOL, Tokenizer
from golf.errors import InputError

__all__ = ["TokenByteTable", "count_and_verify"]

_BLOCK_TOKENS = 1 << 16  # decoded and counted at once, so that a long document takes little memory
_EXCERPT_BYTES = 24  # of a text, shown in a message
_OTHER_MODEL_HINT = "set fetch.tokenizer: train, or another model"


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
        """Return int64 [n - 1]: bytes of the targets tokens[1:], given the tokens before them. tokens: ids [n]."""
        previous, target = tokens[:-1], tokens[1:]
        return self.base_bytes[target] + (self.has_leading_space[target] & ~self.is_boundary[previous])


def count_and_verify(
    tokenizer: Tokenizer, token_ids: list[np.ndarray], texts: list[str], names: list[str]
) -> np.ndarray:
    """Return int64 [documents]: each document's bytes by the rule, which are the UTF-8 length of its text.

    token_ids: of each document, BOS first. texts: as golf.data.normalize leaves them. names: of the documents, for the
    message. Raises InputError naming the first document whose tokens don't decode to exactly its text, or stand for
    another number of bytes by the rule: scores with this tokenizer would be wrong.
    """
    byte_table = TokenByteTable.from_tokenizer(tokenizer)
    byte_counts = []
    for name, text, ids in zip(names, texts, token_ids, strict=True):
        text_utf8 = text.encode()
        _require_text(tokenizer, ids, text_utf8, name)
        starts = range(1, len(ids), _BLOCK_TOKENS)  # of the targets
        blocks = (byte_table.count_bytes(ids[start - 1 : start + _BLOCK_TOKENS]) for start in starts)
        byte_counts.append(sum(int(block.sum()) for block in blocks))
        if byte_counts[-1] != len(text_utf8):
            raise InputError(
                f"{name}: its tokens stand for {byte_counts[-1]:,} bytes by the challenge's rule, its normalized text "
                f"has {len(text_utf8):,}; {tokenizer.name} does not fit the rule; {_OTHER_MODEL_HINT}"
            )
    return np.array(byte_counts, dtype=np.int64)


def _require_text(tokenizer: Tokenizer, ids: np.ndarray, text_utf8: bytes, name: str) -> None:
    """Raises InputError unless the ids decode to this text. One leading space is the prefix that some models add."""
    position = 0
    for start in range(0, len(ids), _BLOCK_TOKENS):
        decoded = b"".join(tokenizer.ids_to_bytes(ids[start : start + _BLOCK_TOKENS]))
        if start == 0:
            decoded = decoded.removeprefix(b" ")
        expected = text_utf8[position : position + len(decoded)]
        if decoded != expected:
            pairs = enumerate(zip(decoded, expected, strict=False))
            same = next((number for number, (got, expected_byte) in pairs if got != expected_byte), len(expected))
            while same and decoded[same] & 0xC0 == 0x80:  # within a character
                same -= 1
            _refuse_text(tokenizer, name, position + same, text_utf8, decoded[same:])
        position += len(decoded)
    if position < len(text_utf8):
        _refuse_text(tokenizer, name, position, text_utf8, b"")


def _refuse_text(tokenizer: Tokenizer, name: str, position: int, text_utf8: bytes, decoded: bytes) -> NoReturn:
    excerpts = (text[:_EXCERPT_BYTES].decode(errors="replace") for text in (decoded, text_utf8[position:]))
    got, expected = (repr(excerpt) if excerpt else "nothing" for excerpt in excerpts)
    raise InputError(
        f"{name}: its tokens decode to {got} instead of {expected} at byte {position:,}: {tokenizer.name} changes the "
        f"text, but bytes are counted of the text as nmt_nfkc leaves it; {_OTHER_MODEL_HINT}"
    )
