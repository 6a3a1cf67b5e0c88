"""golf/compliance/evaluation_run.py, with sessions in this process"""

import contextlib
import dataclasses
import time
from types import SimpleNamespace

import pytest

from golf.compliance import evaluation_run
from golf.compliance.catalog import CHECKS
from golf.compliance.provenance import ArtifactProvenance, Origin
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import BudgetExceededError, GolfError
from golf.evaluation.sandbox.channel import SandboxTimeoutError
from golf.evaluation.sandbox.session import SessionRecord
from golf.evaluation.timer import EvalTimer
from tests.helpers.fake_session import CountedBigrams, FakeSession, FixedBigrams, random_stream
from tests.helpers.tiny_corpus import ROOT

LAPTOP = loader.load_config(ROOT / "profiles" / "laptop.yaml")
TTT_CONFIG = TTTPlan.from_sections(
    dataclasses.replace(LAPTOP.ttt, chunk_tokens=24, stride=4), LAPTOP.lora, LAPTOP.phased
)
PROVENANCE = ArtifactProvenance(TTT_CONFIG, LAPTOP.memory, Origin(("train",)), Origin(("dev",)), None)
CHECK_IDS = ("C1-a", "C1-c", "C2-a", "C2-b", "C2-c", "C3-c", "C3-d", "C3-e")


class FakeSandbox:
    """Sessions of one predictor after another, opened by ``make_predictor``."""

    def __init__(self, make_predictor, timer: EvalTimer):
        self.make_predictor, self.timer, self.sessions, self.limits = make_predictor, timer, [], []

    @contextlib.contextmanager
    def session(self):
        session = FakeSession(self.make_predictor())
        session.ctx = SimpleNamespace(**vars(session.ctx), is_main=False)
        session.access_report = {}
        self.sessions.append(session)
        self.limits.append(self.timer.limit_s)
        yield session
        session.access_report = {"session": len(self.sessions)}


def run(make_predictor=lambda: FixedBigrams(20), *, stream=None, headline="ttt", places=4, timer=None):
    cfg = dataclasses.replace(LAPTOP.evaluate, headline=headline, stride=4, proof_places=places, limit_s=9.0)
    sandbox = FakeSandbox(make_predictor, timer or EvalTimer(limit_s=9.0))
    stream = random_stream(100, 20) if stream is None else stream
    return sandbox, evaluation_run.run_evaluation(sandbox, PROVENANCE, stream, cfg, 8)


def run_checks(result, *, places=4) -> dict:
    cfg = SimpleNamespace(proof_places=places, dtype="float32")
    val_data = SimpleNamespace(val=SimpleNamespace(vocab_size=20))
    context = SimpleNamespace(run=result, cfg=cfg, val_data=val_data)
    return {check_id: CHECKS[check_id].run(context) for check_id in CHECK_IDS}


@pytest.mark.parametrize("headline", ["plain", "sliding", "ttt"])
def test_every_pass_the_proof_and_the_ablations_have_a_session_of_their_own_the_headline_first(headline):
    sandbox, result = run(headline=headline)
    assert next(iter(result.results)) == headline
    assert set(result.results) == {"plain", "sliding", "ttt"}
    assert result.session == SessionRecord.from_session(sandbox.sessions[0])
    assert [report["session"] for report in result.access_reports] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("headline", ["plain", "ttt"])
@pytest.mark.parametrize("predictor_class", [FixedBigrams, CountedBigrams])
def test_a_valid_predictor_passes_every_check(headline, predictor_class):
    _, result = run(lambda: predictor_class(20), headline=headline)
    others = {check_id: row.status for check_id, row in run_checks(result).items() if row.status != "PASS"}
    assert others == {"C1-c": "NOT-RUN"}, "it does not declare documents independent"


def test_the_proof_changes_no_score():
    _, with_proof = run(lambda: CountedBigrams(20))
    _, without = run(lambda: CountedBigrams(20), places=None)
    for mode in ("plain", "sliding", "ttt"):
        assert with_proof.results[mode].score == without.results[mode].score


def test_without_a_proof_every_check_of_it_is_not_run():
    sandbox, result = run(places=None)
    assert len(sandbox.sessions) == 3
    assert {(row.status, row.note) for row in run_checks(result, places=None).values()} == {
        ("NOT-RUN", "the proof is off (evaluate.proof_places: null)")
    }


def list_proven_places() -> list[int]:
    """Where a run asked for predictions."""
    places = []

    class RecordingBigrams(FixedBigrams):
        def predict(self, prefix):
            places.append(len(prefix))
            return super().predict(prefix)

    run(lambda: RecordingBigrams(20), stream=random_stream(600, 20))
    return places


def test_every_run_proves_other_places(monkeypatch):
    monkeypatch.delenv(PROBE_SEED_ENV, raising=False)
    assert list_proven_places() != list_proven_places()
    assert run()[1].probe_seed != run()[1].probe_seed


def test_the_same_probe_seed_repeats_a_run_place_for_place(monkeypatch):
    monkeypatch.setenv(PROBE_SEED_ENV, "0a1b")
    assert list_proven_places() == list_proven_places()
    assert run_checks(run()[1]) == run_checks(run()[1])
    assert run()[1].probe_seed == "0a1b"


def test_ranks_without_a_common_probe_seed_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv(PROBE_SEED_ENV, raising=False)
    with pytest.raises(GolfError, match=r"evaluate\.ranks: all ranks need the same probe seed"):
        run()


def test_the_proof_and_the_ablations_are_not_on_the_headlines_clock():
    class SlowBigrams(FixedBigrams):
        def predict(self, prefix):
            time.sleep(0.01)  # only the proof calls it
            return super().predict(prefix)

    timer = EvalTimer(time.time() - 100)
    _, result = run(lambda: SlowBigrams(20), timer=timer)
    assert result.proof.predict_s >= 0.01 * result.proof.comparison.n_places
    assert result.results["ttt"].finished_s == pytest.approx(100, abs=50)
    assert result.results["ttt"].seconds < result.results["ttt"].finished_s - 99


def test_only_the_headline_is_limited():
    assert run()[0].limits == [9.0, None, None, None, None]


def test_a_headline_over_its_limit_is_stopped_with_hints():
    class SlowBigrams(FixedBigrams):
        def score(self, prefix, chunk):
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
