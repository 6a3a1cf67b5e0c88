"""golf/room/room.py and worker.py: the door, and the clean process behind it"""

import contextlib
import time

import numpy as np
import pytest
from conftest import ROOT
from strangers import Plan, score, settings, tokens

from golf.codec import code_bundle
from golf.ground.errors import BadArtifact
from golf.room import room as rooms
from golf.room.room import OutOfTime, Room
from golf.score.sealed import Sealed


def test_a_method_is_asked_through_the_door_and_answers_with_numbers(room):
    with room.sit() as sitting:
        sitting.begin(stride=4, chunks=2)
        nll, rows = sitting.score(tokens(1, 2), tokens(3, 4), np.array([1]))
        row = sitting.predict(tokens(1, 2, 3))
        sitting.update(Sealed(0, tokens(2, 3, 4), False, "seal"))

    assert (nll.dtype, nll.tolist()) == (np.float32, [3, 3])
    assert (rows.dtype, rows.tolist()) == (np.float64, [[-1.5] * 5])
    assert row.tolist() == [3] * 5
    assert (sitting.calls, sitting.moved) == (1, 0)
    assert sitting.facts["documents"] == "independent"
    assert sitting.facts["disputed"] == ["causal SLOT"]
    assert sitting.facts["predicts"] is True
    assert sitting.here.first


def test_every_sitting_is_opened_anew(room):
    assert [score(room, "counts").tolist() for _ in range(2)] == [[1, 1]] * 2


def test_a_state_that_moves_while_scoring_is_seen_where_one_looks(room):
    found = []
    for watched in (True, False):
        with room.sit(watched=watched) as sitting:
            sitting.begin(stride=4, plan=Plan("counts"))
            sitting.score(tokens(1), tokens(2))
            sitting.aside = True
            sitting.score(tokens(1), tokens(2))
            found.append((sitting.calls, sitting.moved, len(sitting.state)))
    assert found == [(1, 1, 64), (1, 0, 0)]


def test_an_answer_that_is_not_there_by_the_deadline_is_not_waited_for(theirs):
    def wait() -> None:
        with own.sit() as sitting:
            sitting.begin(stride=4, plan=Plan("sleeps"))
            own.deadline = time.time() + 0.3
            sitting.score(tokens(1), tokens(2))

    with Room(settings(theirs), theirs) as own, pytest.raises(OutOfTime, match="score"):
        wait()
    assert time.time() < own.deadline + 20


@pytest.fixture
def timed(room):
    """The room, with a deadline far away."""
    room.deadline = time.time() + 1e8
    yield room
    room.deadline = None


def test_what_is_asked_apart_puts_the_deadline_off_whatever_comes_of_it(timed):
    before = timed.deadline
    with timed.sit() as sitting:
        sitting.begin(stride=4)
        with contextlib.suppress(KeyError), sitting.apart():
            sitting.score(tokens(1), tokens(2))
            assert timed.deadline is None
            time.sleep(0.05)
            raise KeyError
    assert 0.05 <= timed.deadline - before < 50
    assert (sitting.calls, sitting.aside) == (0, False)


def test_without_a_deadline_what_is_asked_apart_sets_none(room):
    with room.sit() as sitting, sitting.apart():
        pass
    assert room.deadline is None


def test_seconds_of_hashing_put_the_deadline_off(timed):
    before = timed.deadline
    with timed.sit(watched=True) as sitting:
        sitting.begin(stride=4)
        sitting.score(tokens(1), tokens(2))
    assert timed.deadline - before == pytest.approx(sitting.watch_s, abs=1e-5)


@pytest.mark.parametrize("deed", ["keeps_globally", "keeps_in_its_class"])
def test_what_is_kept_in_the_module_or_the_class_moves_the_state_too(room, deed):
    with room.sit(watched=True) as sitting:
        sitting.begin(stride=4, plan=Plan(deed))
        sitting.score(tokens(1), tokens(2))
    assert sitting.moved == 1


def test_a_worker_that_claims_more_hashing_seconds_than_the_call_took_gets_no_more():
    told = {"before": "a", "after": "a"}

    class Liar:
        def ask(self, *_):
            pass

        def extend(self, seconds):
            assert 0 <= seconds < 1e3

        def answer(self, _):
            return told, [np.zeros(1, np.float32)]

    facts = {"runtime": [0, 1, "cpu", "torch.float32"], "compile": "off", "attention": "sdpa", "note": ""}
    sitting = rooms.Sitting(Liar(), facts, watched=True)
    for claim in (1e9, -1e9, float("inf"), float("nan")):
        told["watch_s"] = claim
        sitting.score(tokens(1), tokens(2))
        assert 0 <= sitting.watch_s < 1e3


def test_the_secret_of_the_probes_does_not_enter_the_room(theirs, monkeypatch):
    monkeypatch.setenv("GOLF_SECRET", "0a1b")
    with Room(settings(theirs), theirs) as room:
        assert score(room, "secret").tolist() == [0, 0]


def test_the_state_at_the_start_of_a_pass_is_the_same_in_every_sitting_until_an_update(room):
    begun = []
    for _ in range(2):
        with room.sit() as sitting:
            for _ in range(2):
                sitting.begin(stride=4)
                begun.append(sitting.begun)
            sitting.update(Sealed(0, tokens(1, 2), True, "seal"))
            sitting.begin(stride=4)
            assert sitting.begun != begun[-1]
    assert len(set(begun)) == 1


@pytest.mark.parametrize("deed", ["base", "keeps"])
def test_a_method_can_reach_no_token_that_it_was_not_given(room, deed):
    text = np.arange(1, 2001, dtype=np.uint16)
    with room.sit() as sitting:
        for _ in range(2 if deed == "base" else 1):  # the second pass has forgotten the first
            sitting.begin(stride=4, plan=Plan(deed))
            for begin in (0, 1, 7, 500, 900):
                within = sitting.score(text[: begin + 1], text[begin + 1 : begin + 3])
                assert within.max() == (begin + 3 if deed == "keeps" else begin + 1)


def test_what_a_method_prints_is_no_answer(room, capfd):
    assert score(room, "prints").tolist() == [0, 0]
    assert capfd.readouterr().out == ""


def test_what_was_opened_is_reported_by_the_sitting_that_did_it(room):
    reports = []
    for deed in ("opens", "honest"):
        with room.sit() as sitting:
            sitting.begin(stride=4, plan=Plan(deed))
            sitting.score(tokens(1), tokens(2))
        reports.append(sitting.report)
    assert [report["files"] for report in reports] == [["/nowhere/val.bin"], []]
    assert reports[1]["opened"] > 0, "its own artifact, which is no offence"


def test_the_code_that_counts_is_what_the_method_reaches_and_it_goes_in_with_the_artifact_alone(theirs, room):
    assert list(room.sources) == ["helper.py", "mine/method.py"]
    assert room.sources == code_bundle.unpack(room.bundle, "bundle")
    assert (room.folder / "mine/method.py").read_bytes() == room.sources["mine/method.py"]
    assert rooms.counted("golf.method:Method", ROOT)[0] == "golf/__init__.py"
    inside = {path.relative_to(room.folder).as_posix() for path in room.folder.rglob("*") if path.is_file()}
    others = {path for path in inside if not path.startswith("golf/") and "__pycache__" not in path}
    assert others == {"helper.py", "mine/method.py", "weights.txt"}
    assert "golf/judge.py" not in inside
    assert "golf/method.py" not in inside


def test_the_code_of_a_bundle_runs_and_not_the_files_it_was_made_from(theirs, room, tmp_path):
    bundle = tmp_path / "code.tar.xz"
    bundle.write_bytes(room.bundle)
    with Room(settings(theirs), tmp_path / "without sources", code=bundle) as opened:
        assert score(opened, "counts").tolist() == [1, 1]


def test_a_bundle_that_does_not_hold_the_method_is_refused(theirs, tmp_path):
    bundle = tmp_path / "code.tar.xz"
    bundle.write_bytes(code_bundle.pack(["helper.py"], theirs))
    with pytest.raises(BadArtifact, match=r"code\.tar\.xz: holds no mine/method\.py"):
        Room(settings(theirs), theirs, code=bundle)
