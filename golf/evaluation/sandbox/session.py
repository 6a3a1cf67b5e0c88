"""A session with an opened predictor in the sandbox: send its calls, check every answer."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Protocol, cast, overload

import numpy as np
import torch

from golf.distributed.context import DistContext
from golf.errors import PredictorError
from golf.evaluation.timer import EvalTimer
from golf.inference.interface import MemorySettings, ScoredChunk, Scores, TTTSettings

__all__ = ["INTERFACE_HINT", "SandboxSession"]

INTERFACE_HINT = "docs/evaluation-rules.md shows the predictor interface"


class _Channel(Protocol):
    """What a session needs of its ``Sandbox``."""

    predictor: str
    timer: EvalTimer

    def send(self, kind: str, payload: dict[str, Any] | None = None, *arrays: np.ndarray) -> None: ...
    def expect_reply(self, call: str, expected_kind: str = "reply") -> tuple[dict[str, Any], list[np.ndarray]]: ...


class SandboxSession:
    """An opened predictor, with the calls of ``golf.inference.interface.ScoringSession``.

    Each answer is checked for shape and dtype. Calls made while the sandbox's timer is paused, as probes are, do not
    count as scores and are not hashed.

    info: what the process says of the predictor and its device. initial_state_hash: the state's hash after ``reset``.
    hash_state: whether the state is hashed before and after each score that counts. state_hash: that hash before the
    last score; "" without. n_score_calls: scores that counted in this pass. n_state_changes: how many of them changed
    the state.
    """

    def __init__(self, sandbox: _Channel, info: dict[str, Any], hash_state: bool) -> None:
        self._sandbox, self.info, self.hash_state = sandbox, info, hash_state
        self.access_report: dict[str, Any] = {}
        rank, world_size, device, dtype = info["context"]
        self.ctx = DistContext(
            rank,
            world_size,
            torch.device(device),
            getattr(torch, dtype.removeprefix("torch.")),
            info["compile"],
            info["attention"],
            info["description"],
        )
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
        self._sandbox.send("reset", payload)
        self.initial_state_hash = self._sandbox.expect_reply("reset")[0]["state_hash"]

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
        is_counted = not self._sandbox.timer.is_paused
        is_hashed = self.hash_state and is_counted
        payload = {"prefix_length": len(prefix), "hash_state": is_hashed}
        position_arrays = () if positions is None else (np.array(positions, dtype=np.int64),)
        self._sandbox.send("score", payload, self._take_new_tokens(prefix), chunk, *position_arrays)
        sent_at = time.perf_counter()
        reply, arrays = self._sandbox.expect_reply("score")
        self.n_score_calls += is_counted
        if is_hashed:
            self.state_hash = reply["hash_before"]
            self.n_state_changes += reply["hash_before"] != reply["hash_after"]
            # The process says how long it hashed, capped at the duration of the call.
            self._sandbox.timer.exclude(max(0.0, min(reply["hashing_s"], time.perf_counter() - sent_at)))
        self._check_array("score", "floats", arrays[0], (len(chunk),))
        if positions is None:
            return arrays[0]
        self._check_array("score with positions", "log-probabilities", arrays[1], (len(positions), None))
        return arrays[0], arrays[1]

    def predict(self, prefix: np.ndarray) -> np.ndarray:
        """Log-probabilities [V] of the token after ``prefix``."""
        self._sandbox.send("predict", {"prefix_length": len(prefix)}, self._take_new_tokens(prefix))
        log_probs = self._sandbox.expect_reply("predict")[1][0]
        self._check_array("predict", "log-probabilities", log_probs, (None,))
        return log_probs

    def update(self, scored_chunk: ScoredChunk) -> None:
        """Let the predictor learn from a chunk whose scores are sealed."""
        payload = {
            "index": scored_chunk.index,
            "is_last": scored_chunk.is_last,
            "chain_hash": scored_chunk.chain_hash,
        }
        self._sandbox.send("update", payload, scored_chunk.tokens[:0], scored_chunk.tokens)
        self._sandbox.expect_reply("update")

    def _check_array(self, call: str, content: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
        """Raises PredictorError unless ``array`` has this shape; None is a vocabulary size, which may not be 0."""
        is_match = array.ndim == len(shape) and all(
            actual == expected or (expected is None and actual > 0)
            for expected, actual in zip(shape, array.shape, strict=True)
        )
        if not is_match:
            expected_shape = ", ".join("V" if size is None else str(size) for size in shape)
            raise PredictorError(
                f"{self._sandbox.predictor}: {call} must return {content} of shape [{expected_shape}], "
                f"got {list(array.shape)}; {INTERFACE_HINT}"
            )
