"""Reading a split's text back from its tokens: proof that nothing was lost and that the bytes counted are its own.

Checks M-a to M-c: a score divides by bytes, so the tokens must give back the text that those bytes are of. A tokenizer
that folds case gives back another, easier text (#1604); one that counts a space twice or its control glyphs as text
claims bytes that aren't there (PRs #1687, #1711, #2071, #2138).
"""

from dataclasses import dataclass

import numpy as np

from golf.data import normalize, transforms
from golf.data.eval_stream import EvalStream
from golf.data.split_reader import TokenSplit
from golf.data.splitting import sha256_text
from golf.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class RoundtripReport:
    """What came back of a split.

    documents: all; differing: those whose text is not the index's; folded: of these, such as differ in case alone.
    text_bytes: of all texts read back, UTF-8; token_bytes: of all tokens; miscounted: documents where the two differ.
    first: number, from 0, of the first document that differs or is miscounted; None where none is.
    """

    n_documents: int
    n_mismatch: int
    n_case_only: int
    text_bytes: int
    token_bytes: int
    n_miscounted: int
    first_failure: int | None


def check_roundtrip(split: TokenSplit, tokenizer: Tokenizer, transform_name: str) -> RoundtripReport:
    """Decode every document, undo the transform and compare with the index; text that can't be decoded is 0 bytes.

    transform_name: as in the manifest. Raises BadInput for a transform that is unknown, BadArtifact where the split and
    the tokenizer don't belong together or the tokens' bytes are not the index's in all.
    """
    transform = transforms.get_transform(transform_name)
    stream = EvalStream.from_split(split, tokenizer)
    starts = split.document_starts()
    texts = [transform.decode_pieces(tokenizer.ids_to_bytes(ids)) for ids in np.split(stream.tokens, starts[1:])]
    token_bytes = np.add.reduceat(np.concatenate([[0], stream.target_bytes]), starts)
    text_bytes = np.array([len((text or "").encode()) for text in texts])
    is_miscounted = text_bytes != token_bytes
    text_rows = list(zip(texts, split.documents, strict=True))
    is_mismatch = np.array([text is None or sha256_text(text) != row["text"] for text, row in text_rows])
    is_case_equal = [
        text is not None and sha256_text(normalize.casefold(text)) == row["text_folded"] for text, row in text_rows
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
