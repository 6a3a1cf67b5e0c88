"""golf/evaluation/sandbox/host.py and worker.py: the door, and the clean process behind it"""

import contextlib
import time

import numpy as np
import pytest

from golf.compression import code_bundle
from golf.errors import ArtifactError
from golf.evaluation.sandbox import host as rooms
from golf.evaluation.sandbox.host import Sandbox, SandboxTimeoutError
from golf.inference.interface import ScoredChunk
from tests.helpers.external_predictors import ScriptedPlan, evaluate_settings, score_once, token_array
from tests.helpers.tiny_corpus import ROOT


def test_a_method_is_asked_through_the_door_and_answers_with_numbers(sandbox):
    with sandbox.session() as sitting:
        sitting.begin(stride=4, n_chunks=2)
        nll, rows = sitting.score(token_array(1, 2), token_array(3, 4), np.array([1]))
        row = sitting.predict(token_array(1, 2, 3))
        sitting.update(ScoredChunk(0, token_array(2, 3, 4), False, "seal"))

    assert (nll.dtype, nll.tolist()) == (np.float32, [3, 3])
    assert (rows.dtype, rows.tolist()) == (np.float64, [[-1.5] * 5])
    assert row.tolist() == [3] * 5
    assert (sitting.n_score_calls, sitting.n_state_changes) == (1, 0)
    assert sitting.facts["documents"] == "independent"
    assert sitting.facts["disputed"] == ["causal SLOT"]
    assert sitting.facts["predicts"] is True
    assert sitting.here.first


def test_every_sitting_is_opened_anew(sandbox):
    assert [score_once(sandbox, "counts").tolist() for _ in range(2)] == [[1, 1]] * 2


def test_a_state_that_moves_while_scoring_is_seen_where_one_looks(sandbox):
    found = []
    for watched in (True, False):
        with sandbox.session(hash_state=watched) as sitting:
            sitting.begin(stride=4, ttt_cfg=ScriptedPlan("counts"))
            sitting.score(token_array(1), token_array(2))
            sitting.is_uncounted = True
            sitting.score(token_array(1), token_array(2))
            found.append((sitting.n_score_calls, sitting.n_state_changes, len(sitting.state)))
    assert found == [(1, 1, 64), (1, 0, 0)]


def test_an_answer_that_is_not_there_by_the_deadline_is_not_waited_for(external_dir):
    def wait() -> None:
        with own.session() as sitting:
            sitting.reset(stride=4, ttt_cfg=ScriptedPlan("sleeps"))
            own.deadline = time.time() + 0.3
            sitting.score(token_array(1), token_array(2))

    with (
        Sandbox(evaluate_settings(external_dir), external_dir) as own,
        pytest.raises(SandboxTimeoutError, match="score"),
    ):
        wait()
    assert time.time() < own.deadline + 20


@pytest.fixture
def sandbox_with_deadline(sandbox):
    """The room, with a deadline far away."""
    sandbox.deadline = time.time() + 1e8
    yield sandbox
    sandbox.deadline = None


def test_what_is_asked_apart_puts_the_deadline_off_whatever_comes_of_it(sandbox_with_deadline):
    before = sandbox_with_deadline.deadline
    with sandbox_with_deadline.session() as sitting:
        sitting.begin(stride=4)
        with contextlib.suppress(KeyError), sitting.uncounted():
            sitting.score(token_array(1), token_array(2))
            assert sandbox_with_deadline.deadline is None
            time.sleep(0.05)
            raise KeyError
    assert 0.05 <= sandbox_with_deadline.deadline - before < 50
    assert (sitting.n_score_calls, sitting.is_uncounted) == (0, False)


def test_without_a_deadline_what_is_asked_apart_sets_none(sandbox):
    with sandbox.session() as sitting, sitting.uncounted():
        pass
    assert sandbox.deadline is None


def test_seconds_of_hashing_put_the_deadline_off(sandbox_with_deadline):
    before = sandbox_with_deadline.deadline
    with sandbox_with_deadline.session(hash_state=True) as sitting:
        sitting.begin(stride=4)
        sitting.score(token_array(1), token_array(2))
    assert sandbox_with_deadline.deadline - before == pytest.approx(sitting.hashing_s, abs=1e-5)


@pytest.mark.parametrize("deed", ["keeps_globally", "keeps_in_its_class"])
def test_what_is_kept_in_the_module_or_the_class_moves_the_state_too(sandbox, deed):
    with sandbox.session(hash_state=True) as sitting:
        sitting.begin(stride=4, ttt_cfg=ScriptedPlan(deed))
        sitting.score(token_array(1), token_array(2))
    assert sitting.n_state_changes == 1


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
    sitting = rooms.SandboxSession(Liar(), facts, hash_state=True)
    for claim in (1e9, -1e9, float("inf"), float("nan")):
        told["watch_s"] = claim
        sitting.score(token_array(1), token_array(2))
        assert 0 <= sitting.hashing_s < 1e3


def test_the_secret_of_the_probes_does_not_enter_the_room(external_dir, monkeypatch):
    monkeypatch.setenv("GOLF_SECRET", "0a1b")
    with Sandbox(evaluate_settings(external_dir), external_dir) as room:
        assert score_once(room, "secret").tolist() == [0, 0]


def test_the_state_at_the_start_of_a_pass_is_the_same_in_every_sitting_until_an_update(sandbox):
    begun = []
    for _ in range(2):
        with sandbox.session() as sitting:
            for _ in range(2):
                sitting.begin(stride=4)
                begun.append(sitting.initial_state_hash)
            sitting.update(ScoredChunk(0, token_array(1, 2), True, "seal"))
            sitting.begin(stride=4)
            assert sitting.initial_state_hash != begun[-1]
    assert len(set(begun)) == 1


@pytest.mark.parametrize("deed", ["base", "keeps"])
def test_a_method_can_reach_no_token_that_it_was_not_given(sandbox, deed):
    text = np.arange(1, 2001, dtype=np.uint16)
    with sandbox.session() as sitting:
        for _ in range(2 if deed == "base" else 1):  # the second pass has forgotten the first
            sitting.begin(stride=4, ttt_cfg=ScriptedPlan(deed))
            for begin in (0, 1, 7, 500, 900):
                within = sitting.score(text[: begin + 1], text[begin + 1 : begin + 3])
                assert within.max() == (begin + 3 if deed == "keeps" else begin + 1)


def test_what_a_method_prints_is_no_answer(sandbox, capfd):
    assert score_once(sandbox, "prints").tolist() == [0, 0]
    assert capfd.readouterr().out == ""


def test_what_was_opened_is_reported_by_the_sitting_that_did_it(sandbox):
    reports = []
    for deed in ("opens", "honest"):
        with sandbox.session() as sitting:
            sitting.begin(stride=4, ttt_cfg=ScriptedPlan(deed))
            sitting.score(token_array(1), token_array(2))
        reports.append(sitting.report)
    assert [report["files"] for report in reports] == [["/nowhere/val.bin"], []]
    assert reports[1]["opened"] > 0, "its own artifact, which is no offence"


def test_the_code_that_counts_is_what_the_method_reaches_and_it_goes_in_with_the_artifact_alone(external_dir, sandbox):
    assert list(sandbox.sources) == ["helper.py", "mine/method.py"]
    assert sandbox.sources == code_bundle.unpack(sandbox.bundle, "bundle")
    assert (sandbox.folder / "mine/method.py").read_bytes() == sandbox.sources["mine/method.py"]
    assert rooms.counted_sources("golf.inference.predictor:GolfPredictor", ROOT)[0] == "golf/__init__.py"
    inside = {path.relative_to(sandbox.folder).as_posix() for path in sandbox.folder.rglob("*") if path.is_file()}
    others = {path for path in inside if not path.startswith("golf/") and "__pycache__" not in path}
    assert others == {"helper.py", "mine/method.py", "weights.txt"}
    assert "golf/evaluation/evaluator.py" not in inside
    assert "golf/inference/predictor.py" not in inside


def test_the_code_of_a_bundle_runs_and_not_the_files_it_was_made_from(external_dir, sandbox, tmp_path):
    bundle = tmp_path / "code.tar.xz"
    bundle.write_bytes(sandbox.bundle)
    with Sandbox(evaluate_settings(external_dir), tmp_path / "without sources", bundle_path=bundle) as opened:
        assert score_once(opened, "counts").tolist() == [1, 1]


def test_a_bundle_that_does_not_hold_the_method_is_refused(external_dir, tmp_path):
    bundle = tmp_path / "code.tar.xz"
    bundle.write_bytes(code_bundle.pack(["helper.py"], external_dir))
    with pytest.raises(ArtifactError, match=r"code\.tar\.xz: holds no mine/method\.py"):
        Sandbox(evaluate_settings(external_dir), external_dir, bundle_path=bundle)
