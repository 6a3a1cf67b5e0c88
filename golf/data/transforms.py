"""What is done to a text before it is tokenised, by the name that ``fetch.transform`` gives it; all of it is undone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golf.data import caseops
from golf.data.tokenizer import Tokenizer
from golf.errors import InputError


@dataclass(frozen=True)
class Transform:
    """apply and restore: restore(apply(text)) == text; restore raises ValueError for what apply never writes.

    symbols: characters that a tokenizer must know as pieces. carried: uint16 bytes of text that each of a document's
    pieces carries; None where the challenge's rule tells them from the ids (golf.data.byte_counts).
    """

    encode: Callable[[str], str]
    decode: Callable[[str], str]
    symbols: tuple[str, ...] = ()
    count_piece_bytes: Callable[[list[bytes]], np.ndarray] | None = None

    def decode_pieces(self, pieces: list[bytes]) -> str | None:
        """The text that a document's tokens give back, from what they spell; None where that is no text.

        One leading space is dropped: it is the dummy prefix of models that add one, and nobody is charged for it.
        """
        try:
            return self.decode(b"".join(pieces).decode().removeprefix(" "))
        except ValueError:  # no UTF-8, or not written by apply
            return None


def _identity(text: str) -> str:
    return text


TRANSFORMS = {
    "none": Transform(_identity, _identity),
    "caseops": Transform(caseops.encode, caseops.decode, caseops.OPERATORS, caseops.count_piece_bytes),
}


def get_transform(name: str) -> Transform:
    """Raises BadInput for a name that this program does not know."""
    if name not in TRANSFORMS:
        raise InputError(
            f"transform {name!r} is unknown, so texts can't be read back; known are {', '.join(TRANSFORMS)}"
        )
    return TRANSFORMS[name]


def count_token_bytes(
    transform: Transform, tokenizer: Tokenizer, token_ids: list[np.ndarray], texts: list[str], names: list[str]
) -> list[np.ndarray]:
    """uint16 bytes that each token of each document carries, when its tokens give its text back with just its bytes.

    tokens: ids of each document, BOS in front; texts: the canonical ones, before ``change``. names: for the message.
    Raises BadInput naming the first document that doesn't come back.
    """
    byte_counts = []
    for name, text, ids in zip(names, texts, token_ids, strict=True):
        pieces, n_bytes = tokenizer.ids_to_bytes(ids), len(text.encode())
        byte_counts.append(transform.count_piece_bytes(pieces))
        if transform.decode_pieces(pieces) != text or byte_counts[-1].sum(dtype=np.int64) != n_bytes:
            raise InputError(
                f"{name}: its tokens do not give its text of {n_bytes:,} bytes back; {tokenizer.name} does not keep what "
                "fetch.transform wrote; set fetch.tokenizer: train, or fetch.transform: none"
            )
    return byte_counts
