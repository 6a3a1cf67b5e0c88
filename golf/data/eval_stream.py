"""A held-out split as whoever scores it needs it: its tokens, and the bytes of text that each target stands for."""

from dataclasses import dataclass

import numpy as np

from golf.data.byte_counts import TokenByteTable
from golf.data.split_reader import TokenSplit
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError


@dataclass(frozen=True)
class EvalStream:
    """tokens uint16 [N], bytes of each target int64 [N - 1]."""

    tokens: np.ndarray
    target_bytes: np.ndarray
    bos: int

    @classmethod
    def from_split(cls, split: TokenSplit, tokenizer: Tokenizer) -> "EvalStream":
        """Bytes are those of the split's sidecar where it has one, else by the challenge's rule.

        Raises BadArtifact when the split was written with another tokenizer, or the bytes are not its index's in all.
        """
        if split.tokenizer_sha256 != tokenizer.sha256:
            actual = f"artifacts/fetch/tokenizer.model is {tokenizer.sha256[:12]}"
            problem = f"was tokenised with {split.tokenizer_sha256[:12]}, {actual}"
            raise ArtifactError(f"artifacts/fetch/{split.name}", problem, "run fetch again")
        tokens = split.read_tokens()
        if split.token_bytes is None:
            target_bytes = TokenByteTable.from_tokenizer(tokenizer).count_bytes(tokens)
        else:
            target_bytes = np.concatenate(split.token_bytes)[1:].astype(np.int64)
        if target_bytes.sum(dtype=np.int64) != split.bytes:
            problem = f"its tokens stand for {target_bytes.sum():,} bytes, its index says {split.bytes:,}"
            raise ArtifactError(f"artifacts/fetch/{split.name}", problem, "run fetch again")
        return cls(tokens, target_bytes, split.bos)

    @property
    def n_targets(self) -> int:
        return len(self.tokens) - 1
