import json
from multiprocessing import Pipe

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from golf.evaluation.sandbox import protocol

ARRAYS = st.lists(
    st.sampled_from(protocol.DTYPES).flatmap(
        lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=0, min_side=0))
    ),
    max_size=4,
)
PAYLOADS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))


@pytest.fixture
def connections():
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


@given(st.text(), PAYLOADS, ARRAYS)
def test_a_message_comes_out_as_it_went_in(kind, payload, sent):
    ours, theirs = Pipe()
    with ours, theirs:
        protocol.send(ours, kind, payload, *sent)
        got_kind, got_payload, got = protocol.receive(theirs)

    assert (got_kind, got_payload) == (kind, payload)
    assert [(a.dtype, a.shape, a.tobytes()) for a in got] == [(a.dtype, a.shape, a.tobytes()) for a in sent]


def test_arrays_arrive_as_copies_that_can_be_written_to(connections):
    sent = np.arange(20)[::2]
    protocol.send(connections[0], "x", None, sent)
    _, payload, (got,) = protocol.receive(connections[1])
    got[0] = 7

    assert payload == {}
    assert sent[0] == 0


def test_a_closed_connection_is_reported(connections):
    connections[0].close()
    with pytest.raises(protocol.ConnectionClosedError):
        protocol.receive(connections[1])
    with pytest.raises(protocol.ConnectionClosedError):
        protocol.send(connections[1], "x")


def message(header, body=b"") -> bytes:
    return json.dumps(header).encode() + b"\n" + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\n",
        b"[" * 100_000,
        message([]),
        message({}),
        message({"kind": "x", "payload": {}}),
        message({"kind": "x", "payload": [], "arrays": []}),
        message({"kind": "x", "payload": {}, "arrays": 3}),
        message({"kind": "x", "payload": {}, "arrays": [["object", [1]]]}, bytes(8)),
        message({"kind": "x", "payload": {}, "arrays": [["float32", [2]]]}, bytes(4)),
        message({"kind": "x", "payload": {}, "arrays": [["float32", ["2"]]]}, bytes(8)),
        message({"kind": "x", "payload": {}, "arrays": [["float32", [-1, -2]]]}, bytes(8)),
        message({"kind": "x", "payload": {}, "arrays": [["float32", [1 << 62]]]}, bytes(8)),
    ],
    ids=range(13),
)
def test_bytes_that_are_no_message_are_refused(connections, data):
    connections[0].send_bytes(data)
    with pytest.raises(ValueError, match=r"\w"):
        protocol.receive(connections[1])


def test_a_message_over_the_size_limit_is_refused_before_it_is_read(connections, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_MESSAGE_BYTES", 1000)
    connections[0].send_bytes(bytes(1001))
    with pytest.raises(ValueError, match="a size of 1001 bytes"):
        protocol.receive(connections[1])
