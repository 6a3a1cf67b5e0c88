"""The host's end of a session's connection: send calls, wait for answers no longer than allowed, refuse malformed ones.

Whatever the predictor's process sends, or does not send, ends in one PredictorError, GolfError or SandboxTimeoutError.
"""

import select
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from golf.errors import GolfError, PredictorError
from golf.evaluation.sandbox import protocol
from golf.evaluation.timer import EvalTimer

__all__ = ["INTERFACE_HINT", "SandboxTimeoutError", "SessionChannel", "is_readable"]

INTERFACE_HINT = "docs/evaluation-rules.md shows the predictor interface"
_NO_FIELDS: Mapping[str, type] = MappingProxyType({})
_MAX_POLL_S = 86_400.0  # poll() overflows for waits of some weeks
_STALL_S = 60.0  # within which a message that has begun goes on
_MAX_MESSAGE_CHARS = 4_000  # of an error's text from the sandbox


class SandboxTimeoutError(Exception):
    """A call was not answered before the timer's limit. The sandbox cannot be reused: a late reply may still arrive."""


class _Owner(Protocol):
    """What a channel needs of its ``Sandbox``."""

    predictor: str
    timer: EvalTimer


class SessionChannel:
    """A session's connection.

    call_limit_s: seconds for an answer while the timer has no limit. describe_end: says how
    the process ended during a call. externalize_paths: puts paths into a message as the user knows them.
    """

    def __init__(
        self,
        owner: _Owner,
        conn: Connection,
        call_limit_s: float,
        describe_end: Callable[[str], str],
        externalize_paths: Callable[[str], str],
    ) -> None:
        self._owner, self._conn, self._call_limit_s = owner, conn, call_limit_s
        self._describe_end, self._externalize_paths = describe_end, externalize_paths
        self.predictor = owner.predictor

    @property
    def timer(self) -> EvalTimer:
        return self._owner.timer

    def send(self, kind: str, payload: dict[str, Any] | None = None, *arrays: np.ndarray) -> None:
        """Send a call. Raises PredictorError when the process is gone."""
        try:
            protocol.send(self._conn, kind, payload, *arrays)
        except protocol.ConnectionClosedError:
            raise self.explain_end(kind) from None

    def expect_reply(
        self, call: str, *, n_arrays: int = 0, fields: Mapping[str, type] = _NO_FIELDS, kind: str = "reply"
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return the answer to a call: its payload and arrays. fields: what the payload must hold, with types.

        Raises GolfError as golf's own code raised it in the sandbox, PredictorError for any other failure of the
        predictor, SandboxTimeoutError at the timer's limit.
        """
        actual_kind, payload, arrays = self._receive(call)
        if actual_kind == kind:
            self.check_fields(call, payload, fields)
            if len(arrays) != n_arrays:
                raise self._refuse(call, f"{len(arrays)} arrays, not {n_arrays}")
            return payload, arrays
        if actual_kind not in ("golf_error", "violation", "raised"):
            raise self._refuse(call, f"of kind {actual_kind[:40]!r}")
        self.check_fields(call, payload, {"message": str})
        text = payload["message"][:_MAX_MESSAGE_CHARS]
        message = self._externalize_paths("".join(c if c.isprintable() or c == "\n" else "?" for c in text))
        if actual_kind == "golf_error":
            raise GolfError(message)
        failure = message if actual_kind == "violation" else f"{call} raised {message}"
        raise PredictorError(f"{self.predictor}: {failure}; {INTERFACE_HINT}")

    def check_fields(self, call: str, payload: dict[str, Any], fields: Mapping[str, type]) -> None:
        """Raise PredictorError unless the payload holds each field with its type; lists are of strings."""
        for key, kind in fields.items():
            value = payload.get(key)
            if type(value) is not kind or (isinstance(value, list) and not all(isinstance(e, str) for e in value)):
                raise self._refuse(call, f"without a valid {key!r}")

    def _refuse(self, call: str, problem: str) -> PredictorError:
        return PredictorError(f"{self.predictor}: the reply to {call} is malformed: {problem}; {INTERFACE_HINT}")

    def explain_end(self, call: str) -> PredictorError:
        """Return the error for a process that has ended during a call."""
        return PredictorError(f"{self.predictor}: its process {self._describe_end(call)}; {INTERFACE_HINT}")

    def _receive(self, call: str) -> protocol.Message:
        """The next message, complete."""
        sent_at = time.monotonic()
        received_at: float | None = None  # the last part of a message that has begun

        def wait(fd: int) -> None:
            nonlocal received_at
            now = time.monotonic()
            timer_s = self.timer.remaining_s()
            limits = [] if timer_s is None else [timer_s]
            if timer_s is None:
                limits.append(sent_at + self._call_limit_s - now)
            if received_at is not None:
                limits.append(received_at + _STALL_S - now)
            if not is_readable(fd, min(limits, default=None)):
                if timer_s is not None and timer_s <= min(limits):
                    raise SandboxTimeoutError(call)
                raise PredictorError(f"{self.predictor}: no whole answer to {call} came in time; {INTERFACE_HINT}")
            received_at = time.monotonic()

        try:
            return protocol.receive(self._conn, wait)
        except protocol.ConnectionClosedError:
            raise self.explain_end(call) from None
        except ValueError as error:
            raise self._refuse(call, str(error)[:_MAX_MESSAGE_CHARS]) from None


def is_readable(fd: int, timeout_s: float | None) -> bool:
    """Return whether there are bytes to read, or the other end is closed, within some seconds; None waits forever."""
    deadline = None if timeout_s is None else time.monotonic() + max(0.0, timeout_s)
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while True:
        remaining_s = _MAX_POLL_S if deadline is None else min(_MAX_POLL_S, deadline - time.monotonic())
        if poller.poll(max(0.0, remaining_s) * 1000):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
