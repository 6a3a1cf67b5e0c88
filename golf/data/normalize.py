"""The text that every model is scored on: what the challenge's normaliser, nmt_nfkc, leaves of a document.

It is made once, before any transform or tokenizer sees the document. So a document has the same bytes under every
tokenizer, and no tokenizer's own rule decides what its tokens must give back: one that folds case would otherwise
compare folded text with folded text and find nothing missing (PRs #1578, #1585, #1670; disputed in #1604).
"""

import functools

import sentencepiece


@functools.cache
def _normalizer() -> sentencepiece.SentencePieceNormalizer:
    return sentencepiece.SentencePieceNormalizer(
        rule_name="nmt_nfkc", add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=True
    )


def normalize(raw: str) -> str:
    """NFKC, control characters dropped, each run of white space one space, none at the ends.

    Passes are made until nothing changes, as one is not enough: a control character that it drops between a letter and
    its accent lets the next pass compose the two. What is left is left alone by every nmt_nfkc model, also by one whose
    table is of an older Unicode (the challenge's CaseOps model differs from sentencepiece 0.2.3 in 159 characters).
    """
    normalized = _normalizer().normalize(raw)
    while normalized != raw:
        raw, normalized = normalized, _normalizer().normalize(normalized)
    return normalized


def casefold(canonical: str) -> str:
    """Equal for two texts that differ in case alone."""
    return canonical.casefold()
