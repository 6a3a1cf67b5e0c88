"""CaseOps (PR #1729): encode a capital as an operator and a lowercase letter, and back (docs/references.md#caseops).

Every maximal run of ASCII letters is encoded by the first rule that applies: an all-lowercase run stays as it is; one
capital followed by lowercase letters, or a lone capital, becomes TITLE + lowercase; two or more capitals become CAPS +
lowercase; any other run gets TITLE in front if it starts with a capital, and NEXT before each later capital. An
operator character in the text itself is preceded by ESCAPE. Everything else stays unchanged.

Difference from #1729, which encodes the raw text and lets the tokenizer's nmt_nfkc normalizer run over the operators,
and whose sidecar charges white space that no token decodes to. Neither is exact: "ABﬁ" is encoded as CAPS "abﬁ",
normalized to "abfi" and decoded as "ABFI"; on 200 FineWeb documents its sidecar claims 1,489,515 bytes for 1,489,418.
Here the text is normalized first (golf.data.normalize) and encoded second, and the tokenizer trained on it does not
normalize (identity). Its tokens therefore decode to exactly the normalized text, and their bytes add up to that
text's, the same denominator as without the transform. Nine of those 200 documents get other ids than in #1729.
A third-party model that applies nmt_nfkc itself, such as the challenge's own, is exact too, except where a lowercase
letter composes with an accent and its capital does not ("H̱"); fetch rejects such a document by name.
"""

import re

import numpy as np

__all__ = ["OPERATORS", "count_piece_bytes", "decode", "encode"]

_TITLE, _CAPS, _NEXT, _ESCAPE = OPERATORS = ("\ue001", "\ue002", "\ue003", "\ue004")
_WORD_OR_OPERATOR = re.compile("[A-Za-z]+|[\ue001-\ue004]")
_CAPITAL_LETTER = re.compile("[A-Z]")
_ENCODED_UNIT = re.compile(f"{_ESCAPE}([\ue001-\ue004])|{_CAPS}([a-z]+)|[{_TITLE}{_NEXT}]([a-z])")
# An operator in UTF-8; an escaped one is matched together with its escape.
_OPERATOR_UTF8 = re.compile(rb"\xee\x80(?:\x84\xee\x80[\x81-\x84]|[\x81-\x84])")
_OPERATOR_BYTES = len(_TITLE.encode())


def encode(text: str) -> str:
    """Return ``text`` without ASCII capitals; different texts give different results."""
    return _WORD_OR_OPERATOR.sub(_encode_word, text)


def _encode_word(match: re.Match[str]) -> str:
    word = match[0]
    if word in OPERATORS:
        return _ESCAPE + word
    if len(word) > 1 and word.isupper():
        return _CAPS + word.lower()
    head = _TITLE + word[0].lower() if word[0].isupper() else word[0]
    return head + _CAPITAL_LETTER.sub(lambda capital: _NEXT + capital[0].lower(), word[1:])


def decode(text: str) -> str:
    """Return the text that ``encode`` was given. Raises ValueError for a text that ``encode`` never returns."""
    decoded = _ENCODED_UNIT.sub(lambda match: match[1] or (match[2] or match[3]).upper(), text)
    if encode(decoded) != text:
        raise ValueError("not CaseOps text: it has a capital letter, or an operator where none is allowed")
    return decoded


def count_piece_bytes(pieces: list[bytes]) -> np.ndarray:
    """Return uint16 [pieces]: bytes of decoded text that each piece stands for; their sum is the text's UTF-8 length.

    pieces: UTF-8 of the tokens of one document, in order. A piece may hold operators and letters together, or parts
    of either. A letter's case does not change its length, so every byte counts 1 unless it belongs to an operator.
    An escaped operator is text and counts; its escape does not. One leading space counts 0: it is a dummy prefix.
    """
    encoded_bytes = b"".join(pieces)
    byte_weights = np.ones(len(encoded_bytes), dtype=np.int64)
    byte_weights[: encoded_bytes.startswith(b" ")] = 0
    for match in _OPERATOR_UTF8.finditer(encoded_bytes):
        byte_weights[match.start() : match.start() + _OPERATOR_BYTES] = 0
    cumulative = np.concatenate([[0], np.cumsum(byte_weights)])
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return np.diff(cumulative[ends], prepend=0).astype(np.uint16)
