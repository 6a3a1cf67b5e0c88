"""Where the evaluator cuts a stream into chunks: the order in which scoring, learning and proof follow."""

import numpy as np

__all__ = ["get_chunk_tokens", "list_chunk_ends"]

_MIN_UNPROVEN_TOKENS = 4096  # in smaller chunks the scorer's batches of windows are not full


def get_chunk_tokens(mode: str, headline: str, ttt_chunk_tokens: int) -> int:
    """Return the targets of a chunk in a scoring mode: ``ttt.chunk_tokens`` where it is proven or learns, else more.

    The proof draws its places from each chunk of the headline.
    """
    return ttt_chunk_tokens if mode in (headline, "ttt") else max(ttt_chunk_tokens, _MIN_UNPROVEN_TOKENS)


def list_chunk_ends(tokens: np.ndarray, chunk_tokens: int, order: str) -> list[int]:
    """Return the row after each chunk's last target; row r is the target ``tokens[r + 1]``.

    tokens: [N], the stream. order: ``evaluate.order``. stream: chunks of ``chunk_tokens`` targets. documents: each is
    the next piece, of at most as many targets, of one document. The stream's first token starts each document; as a
    target it stands for the end of the document before, so it belongs to that one's last piece.
    """
    n_targets = len(tokens) - 1
    is_start = tokens[1:] == tokens[0] if order == "documents" else np.zeros(n_targets, bool)
    piece_ends = sorted({*(np.flatnonzero(is_start) + 1).tolist(), n_targets})
    return [
        end
        for begin, piece_end in zip([0, *piece_ends], piece_ends, strict=False)
        for end in [*range(begin + chunk_tokens, piece_end, chunk_tokens), piece_end]
    ]
