"""CaseOps (PR #1729, lossless_caps_caseops_v1): capitals written as an operator and a small letter, and back.

Of every maximal run of ASCII letters: all small stays; a capital and then small letters, or one lone capital, becomes
TITLE + small; two or more capitals CAPS + small; any other run has TITLE in front when it starts with a capital, and
NEXT before each later capital. An operator that is in the text itself gets ESCAPE in front. All else is untouched.

What is "raw". #1729 transforms the text as it comes and lets the tokenizer's nmt_nfkc run over the operators, and its
sidecar charges the bytes of white space that no token gives back. Neither is exact: "ABﬁ" is written CAPS "abﬁ",
normalised to "abfi" and read as "ABFI"; on 200 FineWeb documents the sidecar claims 1,489,515 bytes for 1,489,418. Here
the text is made canonical first (golf.data.normalize) and transformed second, and the model learned for it leaves text
alone (identity). So its tokens give the canonical text back, whatever is in it, and their bytes add up to that text's,
the same denominator as without the transform. Nine of those 200 documents get other ids than #1729's by it.
A foreign model with nmt_nfkc inside, the challenge's own among them, is exact too but for a small letter that composes
with an accent where its capital does not ("H̱"); fetch refuses such a document by name.
"""

import re

import numpy as np

TITLE, CAPS, NEXT, ESCAPE = OPERATORS = ("\ue001", "\ue002", "\ue003", "\ue004")
_WORD_OR_OPERATOR = re.compile("[A-Za-z]+|[\ue001-\ue004]")
_CAPITAL_LETTER = re.compile("[A-Z]")
_ENCODED_UNIT = re.compile(f"{ESCAPE}([\ue001-\ue004])|{CAPS}([a-z]+)|[{TITLE}{NEXT}]([a-z])")
_OPERATOR_UTF8 = re.compile(
    rb"\xee\x80(?:\x84\xee\x80[\x81-\x84]|[\x81-\x84])"
)  # in UTF-8, an escaped one with its escape
_OPERATOR_BYTES = len(TITLE.encode())


def encode(text: str) -> str:
    """``text`` without ASCII capitals; different texts give different results."""
    return _WORD_OR_OPERATOR.sub(_encode_word, text)


def _encode_word(match: re.Match) -> str:
    word = match[0]
    if word in OPERATORS:
        return ESCAPE + word
    if len(word) > 1 and word.isupper():
        return CAPS + word.lower()
    head = TITLE + word[0].lower() if word[0].isupper() else word[0]
    return head + _CAPITAL_LETTER.sub(lambda capital: NEXT + capital[0].lower(), word[1:])


def decode(text: str) -> str:
    """The text that ``apply`` was given. Raises ValueError for what ``apply`` never writes."""
    decoded = _ENCODED_UNIT.sub(lambda match: match[1] or (match[2] or match[3]).upper(), text)
    if encode(decoded) != text:
        raise ValueError("not written by CaseOps: an operator stands where it means nothing, or a capital stands bare")
    return decoded


def count_piece_bytes(pieces: list[bytes]) -> np.ndarray:
    """uint16 [pieces]: bytes of the restored text that each piece carries; they add up to all of them.

    pieces: what the tokens of one document spell, UTF-8, in order. Case changes no ASCII letter's length, so a byte
    carries itself, unless an operator owns it; an escaped operator is text, its escape is not. Pieces may hold
    operators and letters together, or parts of either. One leading space carries none: it is a dummy prefix.
    """
    encoded_bytes = b"".join(pieces)
    byte_weights = np.ones(len(encoded_bytes), dtype=np.int64)
    byte_weights[: encoded_bytes.startswith(b" ")] = 0
    for match in _OPERATOR_UTF8.finditer(encoded_bytes):
        byte_weights[match.start() : match.start() + _OPERATOR_BYTES] = 0
    cumulative = np.concatenate([[0], np.cumsum(byte_weights)])
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return np.diff(cumulative[ends], prepend=0).astype(np.uint16)
