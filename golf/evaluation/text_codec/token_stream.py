"""The pass that encoder and decoder share: the evaluator's chunks, scored token by token, learned from chunk by chunk.

After a chunk the predictor gets the same ``ScoredChunk`` on both sides, from a ledger of the pass itself: its nll are
those of the distributions that coded the tokens, and a token's bytes are those of its piece, which need no text.
"""

# V vocabulary; position p of a stream predicts token p + 1

import zlib

import numpy as np

from golf.errors import DivergenceError
from golf.evaluation.ledger import Ledger
from golf.evaluation.text_codec.next_token import NextTokenSource
from golf.evaluation.text_codec.range_coder import PROBABILITY_FLOOR, TokenCoder
from golf.inference.interface import ScoringSession
from golf.pipeline.progress import Progress

__all__ = ["code_stream"]

_CHECKED_BITS = 1 << 16  # coded since the last checksum, after which the chunk ends with one: it adds 0.05 %
_REPORT_TOKENS = 64  # between two lines of progress


def code_stream(
    predictor: ScoringSession,
    source: NextTokenSource,
    coder: TokenCoder,
    tokens: np.ndarray,
    ledger: Ledger,
    *,
    piece_bytes: np.ndarray,
    chunk_tokens: int,
    progress: Progress,
) -> float:
    """Code every token of ``tokens`` after its first, and write it there; return the bits of all by their nll.

    predictor: reset for this pass; ``source`` is made from it. tokens: uint16 [N], of which only the first is read.
    piece_bytes: int [V], the bytes of each piece.
    Raises DivergedError where a checksum differs, DivergenceError when a distribution is not finite.
    """
    n_targets, checksum, bits, checked_bits = len(tokens) - 1, 0, 0.0, 0.0
    begin_s = progress.elapsed_s()
    for begin in range(0, n_targets, chunk_tokens):
        end = min(n_targets, begin + chunk_tokens)
        source.begin_chunk(begin, end)
        token_probs = np.empty(end - begin)
        for position in range(begin, end):
            probs_V = source.next_probs(tokens, position + 1)
            if not np.isfinite(probs_V[0]):  # one that is not finite makes all of them so
                raise DivergenceError(f"target {position}: its distribution is not finite; lower ttt.lr")
            tokens[position + 1] = token = coder.code_token(probs_V)
            token_probs[position - begin] = probs_V[token]
            if position % _REPORT_TOKENS == 0:
                speed = position / max(progress.elapsed_s() - begin_s, 1e-9)
                progress.update(position, at=f"{speed:,.0f} tok/s")
        nll = -np.log(token_probs + PROBABILITY_FLOOR)
        targets = tokens[begin + 1 : end + 1]
        scored_chunk = ledger.append(tokens[begin : end + 1], nll, piece_bytes[targets], is_last=end == n_targets)
        checksum = zlib.crc32(targets.astype("<u2").tobytes(), checksum)
        bits += float(nll.sum()) / float(np.log(2))
        if bits - checked_bits >= _CHECKED_BITS:
            coder.code_checksum(checksum)
            checked_bits = bits
        predictor.update(scored_chunk)
    return bits
