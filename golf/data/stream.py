"""A held-out split as whoever scores it needs it: its tokens, and the bytes of text that each target stands for."""

from dataclasses import dataclass

import numpy as np

from golf.data.shards import Split
from golf.data.text_bytes import ByteTable
from golf.data.tokenizer import Tokenizer
from golf.ground.errors import BadArtifact


@dataclass(frozen=True)
class Stream:
    """tokens uint16 [N], bytes of each target int64 [N - 1]."""

    tokens: np.ndarray
    bytes: np.ndarray
    bos: int

    @classmethod
    def of(cls, split: Split, tokenizer: Tokenizer) -> "Stream":
        """Bytes are those of the split's sidecar where it has one, else by the challenge's rule.

        Raises BadArtifact when the split was written with another tokenizer, or the bytes are not its index's in all.
        """
        if split.tokenizer_sha256 != tokenizer.sha256:
            found = f"artifacts/fetch/tokenizer.model is {tokenizer.sha256[:12]}"
            problem = f"was tokenised with {split.tokenizer_sha256[:12]}, {found}"
            raise BadArtifact(f"artifacts/fetch/{split.name}", problem, "run fetch again")
        tokens = split.all()
        if split.token_bytes is None:
            n_bytes = ByteTable.of(tokenizer).count(tokens)
        else:
            n_bytes = np.concatenate(split.token_bytes)[1:].astype(np.int64)
        if n_bytes.sum(dtype=np.int64) != split.bytes:
            problem = f"its tokens stand for {n_bytes.sum():,} bytes, its index says {split.bytes:,}"
            raise BadArtifact(f"artifacts/fetch/{split.name}", problem, "run fetch again")
        return cls(tokens, n_bytes, split.bos)

    @property
    def targets(self) -> int:
        return len(self.tokens) - 1
