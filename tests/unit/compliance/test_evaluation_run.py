"""golf/compliance/evaluation_run.py, with sessions in this process"""

import contextlib
import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.compliance import evaluation_run
from golf.compliance.catalog import CHECKS
from golf.compliance.provenance import ArtifactProvenance, Origin
from golf.config import loader
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import BudgetExceededError, GolfError
from golf.evaluation.sandbox.host import SandboxTimeoutError
from golf.evaluation.timer import EvalTimer
from tests.helpers.fake_session import CountedBigrams, FakeSession, FixedBigrams, random_stream
from tests.helpers.tiny_corpus import ROOT

LAPTOP = loader.load_config(ROOT / "profiles" / "laptop.yaml")
TTT_CONFIG = dataclasses.replace(LAPTOP.ttt, chunk_tokens=24, stride=4)
PROVENANCE = ArtifactProvenance(TTT_CONFIG, LAPTOP.memory, Origin(("train",)), Origin(("dev",)), None)
CHECK_IDS = ("C1-a", "C1-b", "C1-c", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b", "C3-c", "C3-d", "C3-e")


class FakeSandbox:
    """Sessions of one predictor after another, opened by ``make_predictor``."""

    def __init__(self, make_predictor, timer: EvalTimer):
        self.make_predictor, self.timer, self.sessions, self.limits = make_predictor, timer, [], []

    @contextlib.contextmanager
    def session(self, *, hash_state=False):
        session = FakeSession(self.make_predictor(), timer=self.timer)
        session.ctx = SimpleNamespace(**vars(session.ctx), is_main=False)
        session.hash_state, session.access_report = hash_state, {}
        self.sessions.append(session)
        self.limits.append(self.timer.limit_s)
        yield session
        session.access_report = {"session": len(self.sessions)}


def run(make_predictor=lambda: FixedBigrams(20), *, stream=None, headline="ttt", alternatives=8, timer=None):
    cfg = dataclasses.replace(
        LAPTOP.evaluate, headline=headline, stride=4, probe_alternative_tokens=alternatives, limit_s=9.0
    )
    sandbox = FakeSandbox(make_predictor, timer or EvalTimer(limit_s=9.0))
    stream = random_stream(100, 20) if stream is None else stream
    return sandbox, evaluation_run.run_evaluation(sandbox, PROVENANCE, stream, cfg, 8, 20)


def run_checks(result) -> dict:
    return {check_id: CHECKS[check_id].run(SimpleNamespace(run=result)) for check_id in CHECK_IDS}


@pytest.mark.parametrize("headline", ["plain", "sliding", "ttt"])
def test_the_headline_comes_first_and_only_its_state_is_hashed(headline):
    sandbox, result = run(headline=headline)
    assert next(iter(result.results)) == headline
    assert set(result.results) == {"plain", "sliding", "ttt"}
    assert [session.hash_state for session in sandbox.sessions] == [True, False, False, False]
    assert result.session is sandbox.sessions[0]
    assert [report["session"] for report in result.access_reports] == [1, 2, 3, 4]


@pytest.mark.parametrize("headline", ["plain", "ttt"])
@pytest.mark.parametrize("predictor_class", [FixedBigrams, CountedBigrams])
def test_a_valid_predictor_passes_every_probe(headline, predictor_class):
    _, result = run(lambda: predictor_class(20), headline=headline)
    others = {check_id: row.status for check_id, row in run_checks(result).items() if row.status != "PASS"}
    assert others == {"C1-c": "NOT-RUN"}, "it does not declare documents independent"


def test_probes_change_no_score():
    _, with_probes = run(lambda: CountedBigrams(20))
    _, without = run(lambda: CountedBigrams(20), alternatives=None)
    for mode in ("plain", "sliding", "ttt"):
        assert with_probes.results[mode].score == without.results[mode].score


def test_without_probes_every_probe_check_is_not_run():
    sandbox, result = run(alternatives=None)
    assert [session.hash_state for session in sandbox.sessions] == [False] * 3
    assert {(row.status, row.note) for row in run_checks(result).values()} == {
        ("NOT-RUN", "probes are off (evaluate.probe_alternative_tokens: null)")
    }
    assert result.probe_seconds == 0


def list_probed_places() -> list[tuple]:
    """Where a run asked for distributions."""
    places = []

    class RecordingBigrams(FixedBigrams):
        def score(self, prefix, chunk, positions=None):
            if positions is not None:
                places.append((len(prefix), *positions))
            return super().score(prefix, chunk, positions)

    run(lambda: RecordingBigrams(20), stream=random_stream(600, 20))
    return places


def test_every_run_probes_other_places(monkeypatch):
    monkeypatch.delenv(PROBE_SEED_ENV, raising=False)
    assert list_probed_places() != list_probed_places()
    assert run()[1].probe_seed != run()[1].probe_seed


def test_the_same_probe_seed_repeats_a_run_probe_for_probe(monkeypatch):
    monkeypatch.setenv(PROBE_SEED_ENV, "0a1b")
    assert list_probed_places() == list_probed_places()
    assert run_checks(run()[1]) == run_checks(run()[1])
    assert run()[1].probe_seed == "0a1b"


def test_ranks_without_a_common_probe_seed_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv(PROBE_SEED_ENV, raising=False)
    with pytest.raises(GolfError, match=r"evaluate\.ranks: all ranks need the same probe seed"):
        run()


def test_probes_and_ablations_are_excluded_from_the_headlines_seconds():
    class SlowBigrams(FixedBigrams):
        def predict(self, prefix):
            time.sleep(0.01)  # only probes call it
            return super().predict(prefix)

    timer = EvalTimer(time.time() - 100)
    _, result = run(lambda: SlowBigrams(20), timer=timer)
    assert result.probe_seconds == timer.excluded_s >= 0.09
    assert result.results["ttt"].finished_s == pytest.approx(100, abs=50)
    assert result.results["ttt"].seconds < result.results["ttt"].finished_s - 99


def test_only_the_headline_is_limited():
    assert run()[0].limits == [9.0, None, None, None]


def test_a_headline_over_its_limit_is_stopped_with_hints():
    class SlowBigrams(FixedBigrams):
        def score(self, prefix, chunk, positions=None):
            raise SandboxTimeoutError("score")

    with pytest.raises(
        BudgetExceededError, match=r"evaluate\.limit_s: .* 9 s .* during score, before the last score of the ttt pass"
    ):
        run(lambda: SlowBigrams(20))


@pytest.mark.parametrize("n_targets", [1, 2, 3, 23, 24, 25])
def test_a_stream_of_one_chunk_or_less_is_evaluated_too(n_targets):
    _, result = run(stream=random_stream(n_targets, 20, n_documents=1))
    assert {row.status for row in run_checks(result).values()} <= {"PASS", "NOT-RUN"}
    assert result.results["ttt"].score.n_tokens == n_targets


@given(st.integers(1, 500), st.integers(1, 100))
def test_the_first_chunk_and_random_others_are_probed(n_targets, chunk_tokens):
    n_chunks = -(-n_targets // chunk_tokens)
    chunks = evaluation_run.choose_probed_chunks(n_targets, chunk_tokens, np.random.default_rng(0))
    assert 0 in chunks
    assert len(chunks) == min(evaluation_run.N_PROBED_CHUNKS, n_chunks)
    assert chunks <= set(range(n_chunks))
