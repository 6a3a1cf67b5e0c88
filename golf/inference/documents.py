"""Documents in a stream: the stream's first token starts each of them, and belongs to the one that it starts.

The document before predicts it: the end of a document is a part of it.
"""

from collections.abc import Iterator

import numpy as np

__all__ = ["find_document_start", "split_documents"]

_FIRST_LOOK = 4096  # tokens


def find_document_start(prefix: np.ndarray) -> int:
    """Return the index at which the document starts that the token after ``prefix`` continues."""
    n_seen = _FIRST_LOOK
    while not len(places := np.flatnonzero(prefix[-n_seen:] == prefix[0])):
        n_seen *= 4
    return max(0, len(prefix) - n_seen) + int(places[-1])


def split_documents(prefix: np.ndarray, chunk: np.ndarray) -> Iterator[tuple[np.ndarray, slice]]:
    """For each document in ``chunk``: (its tokens before these, their places in the chunk)."""
    start = find_document_start(prefix)
    tokens, n_before = np.append(prefix[start:], chunk), len(prefix) - start
    ends = [*(np.flatnonzero(chunk == prefix[0]) + 1).tolist(), len(chunk)]
    document, begin = 0, 0
    for end in ends:
        if begin < end:
            yield tokens[document : n_before + begin], slice(begin, end)
        document, begin = n_before + end - 1, end
