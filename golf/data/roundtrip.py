"""Decode a split and compare it with its index: no text is lost, and the counted bytes are those of that text.

This is the measurement behind checks M-a to M-c. A score divides by bytes, so the tokens must decode to the text whose
bytes are counted. A tokenizer that folds case decodes to a different, easier text (#1604); one that counts a space
twice, or counts control glyphs as text, claims bytes that do not exist (PRs #1687, #1711, #2071, #2138).
"""

from dataclasses import dataclass

import numpy as np

from golf.data import transforms
from golf.data.eval_stream import EvalStream
from golf.data.split_reader import TokenSplit
from golf.data.splitting import sha256_casefolded_text, sha256_text
from golf.data.tokenizer import Tokenizer

__all__ = ["RoundtripReport", "check_roundtrip"]


@dataclass(frozen=True)
class RoundtripReport:
    """How the decoded documents of a split compare with its index.

    n_documents: all. n_mismatch: those whose text differs from the index, which names the normalized text by its hash;
    n_case_only: of these, those that differ only in case. text_bytes: UTF-8 length of all decoded texts, which is that
    of the normalized texts only where none differs. token_bytes: bytes counted for all tokens. n_miscounted: documents
    where these two differ.
    first_failure: number, from 0, of the first document that differs or is miscounted, or None.
    """

    n_documents: int
    n_mismatch: int
    n_case_only: int
    text_bytes: int
    token_bytes: int
    n_miscounted: int
    first_failure: int | None


def check_roundtrip(split: TokenSplit, tokenizer: Tokenizer, transform_name: str) -> RoundtripReport:
    """Decode every document, undo the transform and compare with the index; undecodable text counts as 0 bytes.

    transform_name: from the manifest. Raises InputError for an unknown transform, ArtifactError when the split was
    written with another tokenizer or the tokens' bytes do not add up to the index's total.
    """
    transform = transforms.get_transform(transform_name)
    stream = EvalStream.from_split(split, tokenizer)
    starts = split.find_document_starts()
    texts = [transform.decode_pieces(tokenizer.ids_to_bytes(ids)) for ids in np.split(stream.tokens, starts[1:])]
    token_bytes = np.add.reduceat(np.concatenate([[0], stream.target_bytes]), starts)
    text_bytes = np.array([len((text or "").encode()) for text in texts])
    is_miscounted = text_bytes != token_bytes
    text_rows = list(zip(texts, split.documents, strict=True))
    is_mismatch = np.array([text is None or sha256_text(text) != row["text_sha256"] for text, row in text_rows])
    is_case_equal = [
        text is not None and sha256_casefolded_text(text) == row["casefolded_text_sha256"] for text, row in text_rows
    ]
    failures = np.flatnonzero(is_mismatch | is_miscounted)
    return RoundtripReport(
        n_documents=len(texts),
        n_mismatch=int(is_mismatch.sum()),
        n_case_only=int((is_mismatch & is_case_equal).sum()),
        text_bytes=int(text_bytes.sum()),
        token_bytes=int(token_bytes.sum()),
        n_miscounted=int(is_miscounted.sum()),
        first_failure=int(failures[0]) if len(failures) else None,
    )
