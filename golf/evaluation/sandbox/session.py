"""A session with an opened predictor in the sandbox: send its calls, check every answer."""

import dataclasses
import re
import time
from collections.abc import Sequence
from typing import Any, cast, overload

import numpy as np

from golf.distributed.context import DistContext
from golf.errors import PredictorError
from golf.evaluation.sandbox.channel import INTERFACE_HINT, SessionChannel
from golf.inference.interface import MemorySettings, ScoredChunk, Scores, TTTSettings

__all__ = ["SandboxSession"]

_STATE_HASH = re.compile(r"[0-9a-f]{64}")


class SandboxSession:
    """An opened predictor, with the calls of ``golf.inference.interface.ScoringSession``.

    Each answer is checked for shape and dtype. Calls made while the sandbox's timer is paused, as probes are, do not
    count as scores and are not hashed.

    ctx: what it runs on, as the host decides it. info: what the predictor declares of itself. initial_state_hash: the
    state's hash after ``reset``. hash_state: whether the state is hashed before and after each score that counts.
    state_hash: that hash before the last score; "" without. n_score_calls: scores that counted in this pass.
    n_state_changes: how many of them changed the state. access_report: what the process accessed, with the record of
    its fence; filled in when the session ends.
    """

    def __init__(self, channel: SessionChannel, ctx: DistContext, info: dict[str, Any], hash_state: bool) -> None:
        self._channel, self.ctx, self.info, self.hash_state = channel, ctx, info, hash_state
        self.access_report: dict[str, Any] = {}
        self._start_pass()

    def _start_pass(self) -> None:
        self.initial_state_hash = self.state_hash = ""
        self._n_sent_tokens = self.n_score_calls = self.n_state_changes = 0

    def reset(
        self,
        *,
        stride: int,
        ttt_cfg: TTTSettings | None = None,
        memory_cfg: MemorySettings | None = None,
        n_chunks: int = 1,
    ) -> None:
        """Start a pass."""
        self._start_pass()
        payload = {
            "stride": stride,
            "ttt_cfg": ttt_cfg and dataclasses.asdict(cast(Any, ttt_cfg)),
            "memory_cfg": memory_cfg and dataclasses.asdict(cast(Any, memory_cfg)),
            "n_chunks": n_chunks,
        }
        self._channel.send("reset", payload)
        self.initial_state_hash = self._take_state_hash("reset")

    def _take_state_hash(self, call: str) -> str:
        """The hash in the answer to ``call``. Raises PredictorError for anything else."""
        state_hash = str(self._channel.expect_reply(call, fields={"state_hash": str})[0]["state_hash"])
        if not _STATE_HASH.fullmatch(state_hash):
            raise PredictorError(f"{self._channel.predictor}: {call} must answer with a hash; {INTERFACE_HINT}")
        return state_hash

    def _hash_state(self) -> str:
        """The state's hash now. The timer excludes the seconds until the answer is here."""
        sent_at = time.perf_counter()
        self._channel.send("hash_state")
        state_hash = self._take_state_hash("hash_state")
        self._channel.timer.exclude(time.perf_counter() - sent_at)
        return state_hash

    def _take_new_tokens(self, prefix: np.ndarray) -> np.ndarray:
        """The end of ``prefix`` that the predictor has not been given in this pass."""
        tokens = prefix[self._n_sent_tokens :]
        self._n_sent_tokens += len(tokens)
        return tokens

    @overload
    def score(self, prefix: np.ndarray, chunk: np.ndarray, positions: None = None) -> np.ndarray: ...
    @overload
    def score(
        self, prefix: np.ndarray, chunk: np.ndarray, positions: Sequence[int] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]: ...
    @overload
    def score(
        self, prefix: np.ndarray, chunk: np.ndarray, positions: Sequence[int] | np.ndarray | None = None
    ) -> Scores: ...
    def score(
        self, prefix: np.ndarray, chunk: np.ndarray, positions: Sequence[int] | np.ndarray | None = None
    ) -> Scores:
        """nll [n]; with ``positions`` [r] also log-probabilities [r, V]. All prefixes of a pass are of one stream.

        Raises PredictorError when the predictor fails or answers with other shapes or dtypes.
        """
        is_counted = not self._channel.timer.is_paused
        is_hashed = self.hash_state and is_counted
        if is_hashed:
            self.state_hash = self._hash_state()
        position_arrays = () if positions is None else (np.array(positions, dtype=np.int64),)
        self._channel.send(
            "score", {"prefix_length": len(prefix)}, self._take_new_tokens(prefix), chunk, *position_arrays
        )
        _, arrays = self._channel.expect_reply("score", n_arrays=1 if positions is None else 2)
        self.n_score_calls += is_counted
        if is_hashed:
            self.n_state_changes += self._hash_state() != self.state_hash
        self._check_array("score", "floats", arrays[0], (len(chunk),))
        if positions is None:
            return arrays[0]
        self._check_array("score with positions", "log-probabilities", arrays[1], (len(positions), None))
        return arrays[0], arrays[1]

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        """Log-probabilities [V] of the token after ``prefix``."""
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
