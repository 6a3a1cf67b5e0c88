"""The normalized text on which every model is scored: a document as the challenge's normalizer, nmt_nfkc, leaves it.

It is computed once, before any transform or tokenizer sees the document. A document therefore has the same bytes under
every tokenizer, and a tokenizer's own normalizer does not decide what its tokens must decode to: with one that folds
case, folded text would be compared with folded text and nothing would be found missing (PRs #1578, #1585, #1670;
disputed in #1604).

A long document is normalized piece by piece, because SentencePiece takes some 20 bytes of memory for each byte of its
input. It replaces, from left to right, the longest sequence of characters for which it has a rule. A cut changes
nothing where no rule has its characters on both sides, now or after a replacement (``iter_pieces``).
"""

import functools
from collections.abc import Container, Iterator

import sentencepiece

__all__ = ["casefold", "iter_normalized", "iter_pieces", "list_cased_letters", "normalize"]

_PIECE_CHARS = 1 << 14  # normalized at once
_SPACES = " \t\n\r"  # the normalizer turns each of them into a space, whatever its neighbors
_HANGUL_JAMO = range(0x1100, 0x1200)  # a vowel joins the consonant before it


@functools.cache
def _normalizer() -> sentencepiece.SentencePieceNormalizer:
    return sentencepiece.SentencePieceNormalizer(
        rule_name="nmt_nfkc", add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=True
    )


def normalize(raw: str) -> str:
    """Apply NFKC, drop control characters, collapse each run of white space to one space and strip the ends.

    The normalizer is applied until nothing changes: once is not enough, because dropping a control character between a
    letter and its accent lets the next pass compose the two. Every nmt_nfkc model leaves the result unchanged, even one
    with the table of an older Unicode (the challenge's CaseOps model differs from sentencepiece 0.2.3 in 159
    characters).
    """
    return "".join(iter_normalized(raw))


def iter_normalized(raw: str) -> Iterator[str]:
    """Yield the normalized text in parts, which take less memory than the whole where a character needs four bytes."""
    is_first = True
    for piece in iter_pieces(raw, _PIECE_CHARS):
        if normalized := _normalize_piece(piece):
            yield f" {normalized}" if piece[0] in _SPACES and not is_first else normalized  # each piece is stripped
            is_first = False


def _normalize_piece(raw: str) -> str:
    normalized = _normalizer().normalize(raw)
    while normalized != raw:
        raw, normalized = normalized, _normalizer().normalize(normalized)
    return normalized


def iter_pieces(text: str, piece_chars: int, joined: Container[str] = ()) -> Iterator[str]:
    """Cut a text where that changes nothing for the normalizer; joined, the pieces are the text.

    A cut follows a character that stands alone, and a space or another such character follows it. A piece has at least
    ``piece_chars`` characters, except the last, and more until the next place for a cut. joined: pairs of characters
    that must not be cut apart.
    """
    start, stop = 0, piece_chars
    while stop < len(text):
        before, after = text[stop - 1], text[stop]
        is_free = _stands_alone(before) and (after in _SPACES or _stands_alone(after))
        if is_free and before + after not in joined:
            yield text[start:stop]
            start, stop = stop, stop + piece_chars
        else:
            stop += 1
    if text:
        yield text[start:]


@functools.lru_cache(maxsize=1 << 16)
def _stands_alone(character: str) -> bool:
    """Whether the normalizer leaves a character as it is and never joins it to one before it.

    A subset of such characters: printable ASCII, and letters and digits of Unicode's first plane.
    """
    if character.isascii():
        return character.isprintable() and character != " "
    code = ord(character)
    is_candidate = character.isalnum() and code < 1 << 16 and code not in _HANGUL_JAMO
    return is_candidate and _normalizer().normalize(character) == character


@functools.cache
def list_cased_letters() -> list[str]:
    """Return every letter that has a case and is normalized text."""
    cased = (character for character in map(chr, range(0x110000)) if character.casefold() != character)
    return [character for character in cased if normalize(character) == character]


def casefold(text: str) -> str:
    """Return a text that is equal for two texts that differ only in case."""
    return text.casefold()
