"""A held-out split as one stream for evaluation: tokens, and the bytes of text of each target."""

from dataclasses import dataclass

import numpy as np

from golf.data.byte_counts import TokenByteTable
from golf.data.contamination import find_clean_targets
from golf.data.split_reader import TokenSplit
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError

__all__ = ["EvalStream"]


@dataclass(frozen=True)
class EvalStream:
    """A split's tokens as one sequence.

    tokens: uint16 [N]. target_bytes: int64 [N - 1], bytes of tokens[1:]. bos: the id that starts a document.
    is_clean: bool [N - 1], no byte of the target lies in a match with train; None where fetch did not measure it.
    """

    tokens: np.ndarray
    target_bytes: np.ndarray
    bos: int
    is_clean: np.ndarray | None = None

    @classmethod
    def from_split(cls, split: TokenSplit, tokenizer: Tokenizer) -> "EvalStream":
        """Take the bytes from the split's sidecar if it has one, else compute them by the challenge's rule.

        Raises ArtifactError when the split was written with another tokenizer, or when the bytes do not add up to the
        index's total.
        """
        location = f"artifacts/fetch/{split.name}"
        if split.tokenizer_sha256 != tokenizer.sha256:
            actual = f"artifacts/fetch/tokenizer.model is {tokenizer.sha256[:12]}"
            problem = f"was tokenized with {split.tokenizer_sha256[:12]}, {actual}"
            raise ArtifactError(location, problem, "run fetch again")
        tokens = split.read_tokens()
        if split.token_bytes is None:
            target_bytes = TokenByteTable.from_tokenizer(tokenizer).count_bytes(tokens)
        else:
            target_bytes = np.concatenate(split.token_bytes)[1:].astype(np.int64)
        if target_bytes.sum(dtype=np.int64) != split.n_bytes:
            problem = f"its tokens stand for {target_bytes.sum():,} bytes, its index says {split.n_bytes:,}"
            raise ArtifactError(location, problem, "run fetch again")
        return cls(tokens, target_bytes, split.bos, find_clean_targets(split.documents, target_bytes))

    @property
    def n_targets(self) -> int:
        return len(self.tokens) - 1
