"""A session with an opened predictor in the sandbox: send its calls, check every answer."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np

from golf.distributed.context import DistContext
from golf.errors import PredictorError
from golf.evaluation.sandbox.channel import INTERFACE_HINT, SessionChannel
from golf.inference.interface import MemorySettings, ScoredChunk, TTTSettings

__all__ = ["SandboxSession", "SessionRecord"]

_STATE_HASH = re.compile(r"[0-9a-f]{64}")


class SandboxSession:
    """An opened predictor, with the calls of ``golf.inference.interface.ScoringSession``.

    Each answer is checked for shape and dtype.

    ctx: what it runs on, as the host decides it. info: what the predictor declares of itself. initial_state_hash: the
    state's hash after ``reset``. n_score_calls: scores in this pass. access_report: what the process accessed, with the
    record of its fence; filled in when the session ends.
    """

    def __init__(self, channel: SessionChannel, ctx: DistContext, info: dict[str, Any]) -> None:
        self._channel, self.ctx, self.info = channel, ctx, info
        self.access_report: dict[str, Any] = {}
        self._start_pass()

    def _start_pass(self) -> None:
        self.initial_state_hash = ""
        self._n_sent_tokens = self.n_score_calls = 0

    def reset(
        self,
        *,
        stride: int,
        ttt_cfg: TTTSettings | None = None,
        memory_cfg: MemorySettings | None = None,
        n_chunks: int = 1,
        order: str = "stream",
    ) -> None:
        """Start a pass."""
        self._start_pass()
        payload = {
            "stride": stride,
            "ttt_cfg": ttt_cfg and dataclasses.asdict(cast(Any, ttt_cfg)),
            "memory_cfg": memory_cfg and dataclasses.asdict(cast(Any, memory_cfg)),
            "n_chunks": n_chunks,
            "order": order,
        }
        self._channel.send("reset", payload)
        state_hash = str(self._channel.expect_reply("reset", fields={"state_hash": str})[0]["state_hash"])
        if not _STATE_HASH.fullmatch(state_hash):
            raise PredictorError(f"{self._channel.predictor}: reset must answer with a hash; {INTERFACE_HINT}")
        self.initial_state_hash = state_hash

    def _take_new_tokens(self, prefix: np.ndarray) -> np.ndarray:
        """The end of ``prefix`` that the predictor has not been given in this pass."""
        tokens = prefix[self._n_sent_tokens :]
        self._n_sent_tokens += len(tokens)
        return tokens

    def score(self, prefix: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        """Return the nll of each token of ``chunk``: [n]. All prefixes of a pass are of one stream.

        Raises PredictorError when the predictor fails or answers with another shape or dtype.
        """
        self._channel.send("score", {"prefix_length": len(prefix)}, self._take_new_tokens(prefix), chunk)
        nll = self._channel.expect_reply("score", n_arrays=1)[1][0]
        self.n_score_calls += 1
        self._check_array("score", "floats", nll, (len(chunk),))
        return nll

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        """Return the log-probabilities [V] of the token after ``prefix``."""
        self._channel.send("predict", {"prefix_length": len(prefix)}, self._take_new_tokens(prefix))
        log_probs = self._channel.expect_reply("predict", n_arrays=1)[1][0]
        self._check_array("predict", "log-probabilities", log_probs, (None,))
        return log_probs

    def update(self, scored_chunk: ScoredChunk) -> None:
        """Let the predictor learn from a chunk whose scores are sealed."""
        payload = {
            "index": scored_chunk.index,
            "is_last": scored_chunk.is_last,
            "chain_hash": scored_chunk.chain_hash,
        }
        self._channel.send("update", payload, scored_chunk.tokens[:0], scored_chunk.tokens)
        self._channel.expect_reply("update")

    def _check_array(self, call: str, content: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
        """Raises PredictorError unless ``array`` has this shape; None is a vocabulary size, which may not be 0."""
        is_match = (
            array.dtype.kind == "f"
            and array.ndim == len(shape)
            and all(
                actual == expected or (expected is None and actual > 0)
                for expected, actual in zip(shape, array.shape, strict=True)
            )
        )
        if not is_match:
            expected_shape = ", ".join("V" if size is None else str(size) for size in shape)
            raise PredictorError(
                f"{self._channel.predictor}: {call} must return {content} of shape [{expected_shape}], "
                f"got {list(array.shape)}; {INTERFACE_HINT}"
            )


@dataclass(frozen=True)
class SessionRecord:
    """What remains of a session that has ended.

    ctx: what it ran on. info: what the predictor declared of itself. initial_state_hash, n_score_calls: of its last
    pass. access_report: what its process accessed, with the record of its fence.
    """

    ctx: DistContext
    info: dict[str, Any]
    initial_state_hash: str
    n_score_calls: int
    access_report: dict[str, Any]

    @classmethod
    def from_session(cls, session: SandboxSession) -> Self:
        """Return the record of a session whose ``with`` block has ended."""
        return cls(session.ctx, session.info, session.initial_state_hash, session.n_score_calls, session.access_report)
