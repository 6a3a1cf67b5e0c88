"""Reading a split's text back from its tokens: proof that nothing was lost and that the bytes counted are its own.

Checks M-a to M-c: a score divides by bytes, so the tokens must give back the text that those bytes are of. A tokenizer
that folds case gives back another, easier text (#1604); one that counts a space twice or its control glyphs as text
claims bytes that aren't there (PRs #1687, #1711, #2071, #2138).
"""

from dataclasses import dataclass

import numpy as np

from golf.data import canonical, transform
from golf.data.shards import Split
from golf.data.split import digest
from golf.data.stream import Stream
from golf.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class ReadBack:
    """What came back of a split.

    documents: all; differing: those whose text is not the index's; folded: of these, such as differ in case alone.
    text_bytes: of all texts read back, UTF-8; token_bytes: of all tokens; miscounted: documents where the two differ.
    first: number, from 0, of the first document that differs or is miscounted; None where none is.
    """

    documents: int
    differing: int
    folded: int
    text_bytes: int
    token_bytes: int
    miscounted: int
    first: int | None


def read_back(split: Split, tokenizer: Tokenizer, transform_name: str) -> ReadBack:
    """Decode every document, undo the transform and compare with the index; text that can't be decoded is 0 bytes.

    transform_name: as in the manifest. Raises BadInput for a transform that is unknown, BadArtifact where the split and
    the tokenizer don't belong together or the tokens' bytes are not the index's in all.
    """
    change = transform.of(transform_name)
    stream = Stream.of(split, tokenizer)
    starts = split.starts()
    texts = [change.read(tokenizer.spell(ids)) for ids in np.split(stream.tokens, starts[1:])]
    token_bytes = np.add.reduceat(np.concatenate([[0], stream.bytes]), starts)
    text_bytes = np.array([len((text or "").encode()) for text in texts])
    miscounted = text_bytes != token_bytes
    pairs = list(zip(texts, split.documents, strict=True))
    differing = np.array([text is None or digest(text) != row["text"] for text, row in pairs])
    folded = [text is not None and digest(canonical.folded(text)) == row["text_folded"] for text, row in pairs]
    offending = np.flatnonzero(differing | miscounted)
    return ReadBack(
        documents=len(texts),
        differing=int(differing.sum()),
        folded=int((differing & folded).sum()),
        text_bytes=int(text_bytes.sum()),
        token_bytes=int(token_bytes.sum()),
        miscounted=int(miscounted.sum()),
        first=int(offending[0]) if len(offending) else None,
    )
