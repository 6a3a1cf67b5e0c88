"""golf/compliance/evaluation_run.py, with sittings in this process"""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compliance import ablations, evaluation_run, probes
from golf.compliance.context import ArtifactContext, Origin
from golf.config import loader
from golf.errors import BudgetExceededError, GolfError
from golf.evaluation.sandbox.host import SandboxTimeoutError
from golf.pipeline.runner import PROBE_SEED_ENV
from tests.helpers.fake_session import CountedBigrams, FakeSession, FixedBigrams, random_stream
from tests.helpers.tiny_corpus import ROOT

LAPTOP = loader.load_config(ROOT / "profiles" / "laptop.yaml")
PLAN = dataclasses.replace(LAPTOP.ttt, chunk_tokens=24, stride=4)
CASE = ArtifactContext(PLAN, Origin(("train",)), Origin(("dev",)), None)
CHECKS = [each.check for each in probes.skip_checks("") + ablations.skip_checks("")]


class FakeRoom:
    """Sittings of one method after another, opened by ``method()``."""

    def __init__(self, method):
        self.method, self.sat, self.deadline, self.deadlines = method, [], None, []

    @contextlib.contextmanager
    def sit(self, *, watched=False):
        sitting = FakeSession(self.method())
        sitting.ctx = SimpleNamespace(**vars(sitting.ctx), first=False)
        sitting.hash_state, sitting.hashing_s, sitting.report = watched, 0.25, {}
        self.sat.append(sitting)
        self.deadlines.append(self.deadline)
        yield sitting
        sitting.report = {"sitting": len(self.sat)}


def tried(method=lambda: FixedBigrams(20), *, text=None, headline="ttt", alternatives=8, limit_s=600.0):
    how = dataclasses.replace(
        LAPTOP.evaluate, headline=headline, stride=4, probe_alternative_tokens=alternatives, limit_s=limit_s
    )
    room = FakeRoom(method)
    text = random_stream(100, 20) if text is None else text
    return room, evaluation_run.run_evaluation(room, CASE, text, how, context_length=8, vocab_size=20)


@pytest.mark.parametrize("headline", ["plain", "sliding", "ttt"])
def test_the_headline_comes_first_and_is_the_only_one_that_is_watched(headline):
    room, found = tried(headline=headline)
    assert next(iter(found.results)) == headline
    assert set(found.results) == {"plain", "sliding", "ttt"}
    assert [sitting.hash_state for sitting in room.sat] == [True, False, False, False]
    assert found.session is room.sat[0]
    assert [report["sitting"] for report in found.access_reports] == [1, 2, 3, 4]


@pytest.mark.parametrize("headline", ["plain", "ttt"])
@pytest.mark.parametrize("method", [FixedBigrams, CountedBigrams])
def test_every_probe_is_found_and_accuses_no_honest_method(headline, method):
    _, found = tried(lambda: method(20), headline=headline)
    assert [each.check for each in found.check_results] == CHECKS
    others = {each.check: each.status for each in found.check_results if each.status != "PASS"}
    assert others == {"C1-c": "NOT-RUN"}, "they say nothing of documents"


def test_probes_change_no_score():
    _, with_probes = tried(lambda: CountedBigrams(20))
    _, without = tried(lambda: CountedBigrams(20), alternatives=None)
    for way in ("plain", "sliding", "ttt"):
        assert with_probes.results[way].score == without.results[way].score


def test_without_probes_nothing_is_looked_at_and_every_probe_says_so():
    room, found = tried(alternatives=None)
    assert [sitting.hash_state for sitting in room.sat] == [False] * 3
    assert [each.check for each in found.check_results] == CHECKS
    assert {each.status for each in found.check_results} == {"NOT-RUN"}
    assert {each.note for each in found.check_results} == {"probes are off (evaluate.probe_alternative_tokens: null)"}
    assert found.probe_seconds == 0


def looked_at() -> list[tuple]:
    """Where a run of its own asked for distributions."""
    asked = []

    class Asked(FixedBigrams):
        def score(self, prefix, chunk, rows=None):
            if rows is not None:
                asked.append((len(prefix), *rows))
            return super().score(prefix, chunk, rows)

    tried(lambda: Asked(20), text=random_stream(600, 20))
    return asked


def test_probes_look_at_other_places_in_every_run(monkeypatch):
    monkeypatch.delenv(PROBE_SEED_ENV, raising=False)
    assert looked_at() != looked_at()
    assert tried()[1].probe_seed != tried()[1].probe_seed


def test_with_the_same_secret_a_run_can_be_repeated_probe_for_probe(monkeypatch):
    monkeypatch.setenv(PROBE_SEED_ENV, "0a1b")
    assert looked_at() == looked_at()
    assert tried()[1].check_results == tried()[1].check_results
    assert tried()[1].probe_seed == "0a1b"


def test_ranks_without_a_secret_that_they_share_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv(PROBE_SEED_ENV, raising=False)
    with pytest.raises(GolfError, match=r"evaluate\.ranks: the ranks must share one secret"):
        tried()


def test_seconds_of_probes_and_hashes_are_no_seconds_of_the_headline():
    _, found = tried()
    named = found.results["ttt"]
    assert named.probe_seconds > 0
    assert found.headline_seconds(named.ended_at - 100) == pytest.approx(100 - named.probe_seconds - 0.25)
    assert found.probe_seconds >= named.probe_seconds + 0.25


def test_the_headlines_clock_runs_from_the_start_of_the_command_and_no_other_way_has_one(monkeypatch):
    monkeypatch.setenv("GOLF_STARTED", "1000.5")
    assert tried(limit_s=600.0)[0].deadlines == [1600.5, None, None, None]
    assert tried(limit_s=None)[0].deadlines == [None] * 4


def test_of_several_ranks_the_first_keeps_the_clock_as_others_may_have_waited_for_it(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert tried(limit_s=600.0)[0].deadlines == [None] * 4


def test_a_headline_over_its_limit_is_stopped_and_says_what_takes_less():
    class Late(FixedBigrams):
        def score(self, prefix, chunk, rows=None):
            raise SandboxTimeoutError("score")

    with pytest.raises(
        BudgetExceededError, match=r"evaluate\.limit_s: 9 s .* in the call score, before the pass ttt had .*null"
    ):
        tried(lambda: Late(20), limit_s=9)


@pytest.mark.parametrize("targets", [1, 2, 3, 23, 24, 25])
def test_a_text_of_one_chunk_or_hardly_any_is_judged_too(targets):
    _, found = tried(text=random_stream(targets, 20, n_documents=1))
    assert {each.status for each in found.check_results} <= {"PASS", "NOT-RUN"}
    assert found.results["ttt"].score.tokens == targets


@settings(max_examples=60)
@given(st.integers(1, 500), st.integers(1, 100))
def test_the_first_chunk_and_others_anywhere_are_audited(targets, chunk_tokens):
    chunks = -(-targets // chunk_tokens)
    found = evaluation_run.choose_probed_chunks(targets, chunk_tokens, np.random.default_rng(0))
    assert 0 in found
    assert len(found) == min(evaluation_run.N_PROBED_CHUNKS, chunks)
    assert found <= set(range(chunks))
