"""golf/evaluation/sandbox/channel.py: whatever a process answers, or does not, ends in one message in time"""

import json
import struct
import threading
import time
from multiprocessing import Pipe
from types import SimpleNamespace

import numpy as np
import pytest

from golf.errors import GolfError, PredictorError
from golf.evaluation.sandbox import channel as channel_module
from golf.evaluation.sandbox import protocol
from golf.evaluation.sandbox.channel import SandboxTimeoutError, SessionChannel
from golf.evaluation.timer import EvalTimer


@pytest.fixture
def connections():
    host_end, process_end = Pipe()
    with host_end, process_end:
        yield host_end, process_end


def make_channel(conn, limit_s=None, call_limit_s=20.0) -> SessionChannel:
    owner = SimpleNamespace(predictor="mine:Own", timer=EvalTimer(limit_s=limit_s))
    return SessionChannel(owner, conn, call_limit_s, lambda call: f"ended during {call}", lambda text: text)


def frame(header: object, body: bytes = b"") -> bytes:
    data = json.dumps(header).encode() + b"\n" + body
    return struct.pack("!i", len(data)) + data


def reply(payload=None, arrays=(), kind="reply"):
    return {"kind": kind, "payload": payload or {}, "arrays": list(arrays)}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (frame(reply(kind="exited")), "of kind 'exited'"),
        (frame(reply(kind=["reply"])), "kind, payload and arrays must be"),
        (frame({"kind": "reply"}), "KeyError"),
        (frame([1, 2]), "not a message"),
        (frame(reply([]) | {"payload": [1]}), "kind, payload and arrays must be"),
        (frame(reply({"state_hash": 3})), "without a valid 'state_hash'"),
        (frame(reply({}, kind="raised")), "without a valid 'message'"),
        (frame(reply({"state_hash": "a"}, [["float32", [1]]]), bytes(4)), "1 arrays, not 0"),
        (frame(reply({}, [["object", [1]]]), bytes(8)), "array dtype must be one of"),
        (frame(reply({}, [["float32", [-1]]]), bytes(8)), "shape must be a list of sizes"),
        (frame(reply({}, [["float32", [2**40, 2**40]]]), bytes(8)), "shape must be a list of sizes"),
        (frame(reply({}, [["float32", [2**30, 2**30]]]), bytes(8)), "malformed"),
        (frame(reply({}, [["float32", 3]]), bytes(8)), "shape must be a list of sizes"),
        (frame(reply({}, [3]), bytes(8)), "not a message"),
        (frame(reply(), bytes(8)), "8 bytes belong to no array"),
        (struct.pack("!i", 12) + b"\xff" * 12, "malformed"),
        (struct.pack("!i", 200_000) + b"[" * 200_000, "malformed"),
        (struct.pack("!i", -1) + struct.pack("!Q", 1 << 60), "a size of -1 bytes"),
    ],
)
def test_a_malformed_answer_is_refused_in_one_message(connections, sent, words):
    sender = threading.Thread(target=connections[1]._send, args=[sent], daemon=True)
    sender.start()
    with pytest.raises(PredictorError, match=words) as caught:
        make_channel(connections[0]).expect_reply("reset", fields={"state_hash": str})
    assert str(caught.value).startswith("mine:Own: the reply to reset is malformed: ")
    assert len(str(caught.value)) < 5000


def test_an_error_text_is_cut_and_cannot_steer_the_terminal(connections):
    protocol.send(connections[1], "golf_error", {"message": "\x1b[2J" + "a" * 100_000})
    with pytest.raises(GolfError) as caught:
        make_channel(connections[0]).expect_reply("open")
    assert str(caught.value).startswith("?[2Jaaa")
    assert len(str(caught.value)) <= 4000


@pytest.mark.parametrize("part", [b"", b"\0", struct.pack("!i", 100) + b"{"])
def test_a_message_that_stops_halfway_is_not_waited_for_beyond_the_limit(connections, part):
    connections[1]._send(part)
    started_at = time.monotonic()
    with pytest.raises(SandboxTimeoutError, match="score"):
        make_channel(connections[0], limit_s=0.2).expect_reply("score")
    assert time.monotonic() - started_at < 10


def test_without_a_limit_a_call_takes_no_longer_than_the_whole_evaluation_may(connections):
    with pytest.raises(PredictorError, match="no whole answer to score came in time"):
        make_channel(connections[0], call_limit_s=0.2).expect_reply("score")


def test_a_message_that_has_begun_must_go_on(connections, monkeypatch):
    monkeypatch.setattr(channel_module, "_STALL_S", 0.2)
    connections[1]._send(struct.pack("!i", 100) + b"{")
    with pytest.raises(PredictorError, match="no whole answer to score came in time"):
        make_channel(connections[0], call_limit_s=3600.0).expect_reply("score")


def test_an_endless_message_is_not_waited_for_beyond_the_limit(connections):
    def send_for_ever() -> None:
        connections[1]._send(struct.pack("!i", protocol.MAX_MESSAGE_BYTES))
        try:
            while True:
                connections[1]._send(bytes(10))
                time.sleep(0.01)
        except (OSError, TypeError):  # closed
            pass

    threading.Thread(target=send_for_ever, daemon=True).start()
    with pytest.raises(SandboxTimeoutError, match="score"):
        make_channel(connections[0], limit_s=0.3).expect_reply("score")


def test_the_end_of_the_process_is_named(connections):
    connections[1].close()
    with pytest.raises(PredictorError, match="its process ended during score"):
        make_channel(connections[0]).expect_reply("score")


def test_a_whole_answer_is_taken(connections):
    protocol.send(connections[1], "reply", {"state_hash": "a"}, np.ones(2, np.float32))
    payload, arrays = make_channel(connections[0], limit_s=9).expect_reply("x", n_arrays=1, fields={"state_hash": str})
    assert (payload, arrays[0].tolist()) == ({"state_hash": "a"}, [1, 1])
