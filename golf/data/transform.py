"""What is done to a text before it is tokenised, by the name that ``fetch.transform`` gives it; all of it is undone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golf.data import caseops
from golf.data.tokenizer import Tokenizer
from golf.ground.errors import BadInput


@dataclass(frozen=True)
class Transform:
    """apply and restore: restore(apply(text)) == text; restore raises ValueError for what apply never writes.

    symbols: characters that a tokenizer must know as pieces. carried: uint16 bytes of text that each of a document's
    pieces carries; None where the challenge's rule tells them from the ids (golf.data.text_bytes).
    """

    apply: Callable[[str], str]
    restore: Callable[[str], str]
    symbols: tuple[str, ...] = ()
    carried: Callable[[list[bytes]], np.ndarray] | None = None

    def read(self, pieces: list[bytes]) -> str | None:
        """The text that a document's tokens give back, from what they spell; None where that is no text.

        One leading space is dropped: it is the dummy prefix of models that add one, and nobody is charged for it.
        """
        try:
            return self.restore(b"".join(pieces).decode().removeprefix(" "))
        except ValueError:  # no UTF-8, or not written by apply
            return None


def same(text: str) -> str:
    return text


BY_NAME = {
    "none": Transform(same, same),
    "caseops": Transform(caseops.apply, caseops.restore, caseops.OPERATORS, caseops.carried),
}


def of(name: str) -> Transform:
    """Raises BadInput for a name that this program does not know."""
    if name not in BY_NAME:
        raise BadInput(f"transform {name!r} is unknown, so texts can't be read back; known are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def token_bytes(
    change: Transform, tokenizer: Tokenizer, tokens: list[np.ndarray], texts: list[str], names: list[str]
) -> list[np.ndarray]:
    """uint16 bytes that each token of each document carries, when its tokens give its text back with just its bytes.

    tokens: ids of each document, BOS in front; texts: the canonical ones, before ``change``. names: for the message.
    Raises BadInput naming the first document that doesn't come back.
    """
    found = []
    for name, text, ids in zip(names, texts, tokens, strict=True):
        pieces, size = tokenizer.spell(ids), len(text.encode())
        found.append(change.carried(pieces))
        if change.read(pieces) != text or found[-1].sum(dtype=np.int64) != size:
            raise BadInput(
                f"{name}: its tokens do not give its text of {size:,} bytes back; {tokenizer.name} does not keep what "
                "fetch.transform wrote; set fetch.tokenizer: train, or fetch.transform: none"
            )
    return found
