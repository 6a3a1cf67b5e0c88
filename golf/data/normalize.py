"""The normalized text on which every model is scored: a document as the challenge's normalizer, nmt_nfkc, leaves it.

It is computed once, before any transform or tokenizer sees the document. A document therefore has the same bytes under
every tokenizer, and a tokenizer's own normalizer does not decide what its tokens must decode to: with one that folds
case, folded text would be compared with folded text and nothing would be found missing (PRs #1578, #1585, #1670;
disputed in #1604).
"""

import functools

import sentencepiece

__all__ = ["casefold", "normalize"]


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
    normalized = _normalizer().normalize(raw)
    while normalized != raw:
        raw, normalized = normalized, _normalizer().normalize(normalized)
    return normalized


def casefold(text: str) -> str:
    """Equal for two texts that differ only in case."""
    return text.casefold()
