"""golf/evaluation/text_codec/range_coder.py: exact round trips under any distributions, in as many bits as they say"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.evaluation.text_codec.range_coder import PROBABILITY_FLOOR, DivergedError, TokenDecoder, TokenEncoder

N_TOKENS = 40


def draw_distributions(seed: int, vocab_size: int, concentration: float) -> np.ndarray:
    """float64 [N_TOKENS, V]: flat for a large concentration, peaked for a small one, with exact zeros."""
    return np.random.default_rng(seed).dirichlet(np.full(vocab_size, concentration), N_TOKENS)


def encode(probs: np.ndarray, tokens: list[int]) -> bytes:
    coder = TokenEncoder(probs.shape[1], tokens)
    for row in probs:
        coder.code_token(row)
    coder.code_checksum(0xDEADBEEF)
    return coder.to_bytes()


def decode_all(decoder: TokenDecoder, probs: np.ndarray) -> list[int]:
    tokens = [decoder.code_token(row) for row in probs]
    decoder.code_checksum(0xDEADBEEF)
    return tokens


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 3, 260, 4096, 65536]),
    st.sampled_from([1e-3, 0.1, 100.0]),
    st.booleans(),
)
def test_tokens_come_back_in_their_code_length(seed, vocab_size, concentration, is_likely):
    probs, rng = draw_distributions(seed, vocab_size, concentration), np.random.default_rng(seed)
    tokens = [int(rng.choice(vocab_size, p=row) if is_likely else rng.integers(vocab_size)) for row in probs]
    data = encode(probs, tokens)
    assert decode_all(TokenDecoder(vocab_size, data), probs) == tokens
    bits = -np.log2(probs[np.arange(N_TOKENS), tokens] + PROBABILITY_FLOOR).sum()
    assert len(data) <= bits / 8 + 4 + 8, "4 bytes of checksum, 8 to end the stream"


def test_other_distributions_do_not_go_unnoticed():
    probs, tokens = draw_distributions(0, 260, 1.0), list(range(N_TOKENS))
    decoder = TokenDecoder(260, encode(probs, tokens))
    probs[7, 7] *= 0.9
    with pytest.raises(DivergedError):  # from a token that is none, or from the checksum
        decode_all(decoder, probs)
