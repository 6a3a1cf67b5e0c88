"""Reversible text transforms applied before tokenizing, by the name given in fetch.transform."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golf.data import caseops
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError

__all__ = ["TRANSFORMS", "Transform", "count_token_bytes", "get_transform"]


@dataclass(frozen=True)
class Transform:
    """A pair of functions with decode(encode(text)) == text.

    decode raises ValueError for a text that encode never returns.
    symbols: characters that the tokenizer must have as pieces.
    count_piece_bytes: uint16 [pieces], bytes of the decoded text that each piece of a document stands for; None where
    the challenge's rule computes them from the ids (golf.data.byte_counts).
    """

    encode: Callable[[str], str]
    decode: Callable[[str], str]
    symbols: tuple[str, ...] = ()
    count_piece_bytes: Callable[[list[bytes]], np.ndarray] | None = None

    def decode_pieces(self, pieces: list[bytes]) -> str | None:
        """Return a document's text from the bytes of its tokens; None if they are not UTF-8 or decode rejects them.

        One leading space is dropped: it is the dummy prefix of models that add one, and it counts 0 bytes.
        """
        try:
            return self.decode(b"".join(pieces).decode().removeprefix(" "))
        except ValueError:
            return None


def _identity(text: str) -> str:
    return text


TRANSFORMS = {
    "none": Transform(_identity, _identity),
    "caseops": Transform(caseops.encode, caseops.decode, caseops.OPERATORS, caseops.count_piece_bytes),
}


def get_transform(name: str) -> Transform:
    """Return the transform of this name. Raises InputError for an unknown name."""
    if name not in TRANSFORMS:
        raise InputError(
            f"transform {name!r} is unknown, so its texts can't be decoded; allowed are {', '.join(TRANSFORMS)}"
        )
    return TRANSFORMS[name]


def count_token_bytes(
    transform: Transform, tokenizer: Tokenizer, token_ids: list[np.ndarray], texts: list[str], names: list[str]
) -> list[np.ndarray]:
    """Return uint16 [tokens] of each document: bytes of text of each token, by ``transform.count_piece_bytes``.

    token_ids: of each document, BOS first. texts: normalized, before ``encode``. names: of the documents, for messages.
    Raises InputError naming the first document whose tokens don't decode to its text and to exactly its bytes.
    """
    if transform.count_piece_bytes is None:
        raise ValueError("this transform's bytes follow from the ids: use byte_counts.count_and_verify")
    byte_counts = []
    for name, text, ids in zip(names, texts, token_ids, strict=True):
        pieces, n_bytes = tokenizer.ids_to_bytes(ids), len(text.encode())
        byte_counts.append(transform.count_piece_bytes(pieces))
        if transform.decode_pieces(pieces) != text or byte_counts[-1].sum(dtype=np.int64) != n_bytes:
            raise InputError(
                f"{name}: its tokens do not decode to its text of {n_bytes:,} bytes: {tokenizer.name} changes what "
                "fetch.transform wrote; set fetch.tokenizer: train, or fetch.transform: none"
            )
    return byte_counts
