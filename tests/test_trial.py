"""golf/rules/trial.py, with sittings in this process"""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from sittings import Counts, Sitting, Table, stream

from golf.ground import params
from golf.ground.errors import GolfError, OverBudget
from golf.ground.stage import SECRET
from golf.room.room import OutOfTime
from golf.rules import ablations, audit, trial
from golf.rules.evidence import Case, Told

LAPTOP = params.read(ROOT / "profiles" / "laptop.yaml")
PLAN = dataclasses.replace(LAPTOP.ttt, chunk_tokens=24, stride=4)
CASE = Case(PLAN, Told(("train",)), Told(("dev",)), None)
CHECKS = [each.check for each in audit.not_run("") + ablations.not_run("")]


class FakeRoom:
    """Sittings of one method after another, opened by ``method()``."""

    def __init__(self, method):
        self.method, self.sat, self.deadline, self.deadlines = method, [], None, []

    @contextlib.contextmanager
    def sit(self, *, watched=False):
        sitting = Sitting(self.method())
        sitting.here = SimpleNamespace(**vars(sitting.here), first=False)
        sitting.watched, sitting.watch_s, sitting.report = watched, 0.25, {}
        self.sat.append(sitting)
        self.deadlines.append(self.deadline)
        yield sitting
        sitting.report = {"sitting": len(self.sat)}


def tried(method=lambda: Table(20), *, text=None, headline="ttt", alternatives=8, limit_s=600.0):
    how = dataclasses.replace(
        LAPTOP.evaluate, headline=headline, stride=4, probe_alternatives=alternatives, limit_s=limit_s
    )
    room = FakeRoom(method)
    text = stream(100, 20) if text is None else text
    return room, trial.run(room, CASE, text, how, context=8, vocabulary=20)


@pytest.mark.parametrize("headline", ["plain", "sliding", "ttt"])
def test_the_headline_comes_first_and_is_the_only_one_that_is_watched(headline):
    room, found = tried(headline=headline)
    assert next(iter(found.judged)) == headline
    assert set(found.judged) == {"plain", "sliding", "ttt"}
    assert [sitting.watched for sitting in room.sat] == [True, False, False, False]
    assert found.sitting is room.sat[0]
    assert [report["sitting"] for report in found.reports] == [1, 2, 3, 4]


@pytest.mark.parametrize("headline", ["plain", "ttt"])
@pytest.mark.parametrize("method", [Table, Counts])
def test_every_probe_is_found_and_accuses_no_honest_method(headline, method):
    _, found = tried(lambda: method(20), headline=headline)
    assert [each.check for each in found.findings] == CHECKS
    others = {each.check: each.status for each in found.findings if each.status != "PASS"}
    assert others == {"C1-c": "NOT-RUN"}, "they say nothing of documents"


def test_probes_change_no_score():
    _, with_probes = tried(lambda: Counts(20))
    _, without = tried(lambda: Counts(20), alternatives=None)
    for way in ("plain", "sliding", "ttt"):
        assert with_probes.judged[way].score == without.judged[way].score


def test_without_probes_nothing_is_looked_at_and_every_probe_says_so():
    room, found = tried(alternatives=None)
    assert [sitting.watched for sitting in room.sat] == [False] * 3
    assert [each.check for each in found.findings] == CHECKS
    assert {each.status for each in found.findings} == {"NOT-RUN"}
    assert {each.note for each in found.findings} == {"probes are off (evaluate.probe_alternatives: null)"}
    assert found.probe_seconds == 0


def looked_at() -> list[tuple]:
    """Where a run of its own asked for distributions."""
    asked = []

    class Asked(Table):
        def score(self, prefix, chunk, rows=None):
            if rows is not None:
                asked.append((len(prefix), *rows))
            return super().score(prefix, chunk, rows)

    tried(lambda: Asked(20), text=stream(600, 20))
    return asked


def test_probes_look_at_other_places_in_every_run(monkeypatch):
    monkeypatch.delenv(SECRET, raising=False)
    assert looked_at() != looked_at()
    assert tried()[1].seed != tried()[1].seed


def test_with_the_same_secret_a_run_can_be_repeated_probe_for_probe(monkeypatch):
    monkeypatch.setenv(SECRET, "0a1b")
    assert looked_at() == looked_at()
    assert tried()[1].findings == tried()[1].findings
    assert tried()[1].seed == "0a1b"


def test_ranks_without_a_secret_that_they_share_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv(SECRET, raising=False)
    with pytest.raises(GolfError, match=r"evaluate\.ranks: the ranks must share one secret"):
        tried()


def test_seconds_of_probes_and_hashes_are_no_seconds_of_the_headline():
    _, found = tried()
    named = found.judged["ttt"]
    assert named.paused > 0
    assert found.seconds_since(named.ended - 100) == pytest.approx(100 - named.paused - 0.25)
    assert found.probe_seconds >= named.paused + 0.25


def test_the_headlines_clock_runs_from_the_start_of_the_command_and_no_other_way_has_one(monkeypatch):
    monkeypatch.setenv("GOLF_STARTED", "1000.5")
    assert tried(limit_s=600.0)[0].deadlines == [1600.5, None, None, None]
    assert tried(limit_s=None)[0].deadlines == [None] * 4


def test_of_several_ranks_the_first_keeps_the_clock_as_others_may_have_waited_for_it(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert tried(limit_s=600.0)[0].deadlines == [None] * 4


def test_a_headline_over_its_limit_is_stopped_and_says_what_takes_less():
    class Late(Table):
        def score(self, prefix, chunk, rows=None):
            raise OutOfTime("score")

    with pytest.raises(
        OverBudget, match=r"evaluate\.limit_s: 9 s .* in the call score, before the pass ttt had .*null"
    ):
        tried(lambda: Late(20), limit_s=9)


@pytest.mark.parametrize("targets", [1, 2, 3, 23, 24, 25])
def test_a_text_of_one_chunk_or_hardly_any_is_judged_too(targets):
    _, found = tried(text=stream(targets, 20, documents=1))
    assert {each.status for each in found.findings} <= {"PASS", "NOT-RUN"}
    assert found.judged["ttt"].score.tokens == targets


@settings(max_examples=60)
@given(st.integers(1, 500), st.integers(1, 100))
def test_the_first_chunk_and_others_anywhere_are_audited(targets, chunk_tokens):
    chunks = -(-targets // chunk_tokens)
    found = trial.chosen(targets, chunk_tokens, np.random.default_rng(0))
    assert 0 in found
    assert len(found) == min(trial.AUDITED, chunks)
    assert found <= set(range(chunks))
