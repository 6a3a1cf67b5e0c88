"""golf/evaluation/sandbox: what a predictor is given and can reach in its process, and what comes back"""

import numpy as np
import pytest

from golf.compression import code_archive
from golf.errors import ArtifactError
from golf.evaluation.sandbox import counted_sources
from golf.evaluation.sandbox.channel import SandboxTimeoutError
from golf.evaluation.sandbox.host import Sandbox
from golf.evaluation.sandbox.output import SHOWN_BYTES
from golf.evaluation.timer import EvalTimer
from golf.inference.interface import ScoredChunk
from tests.helpers.external_predictors import ScriptedTTTConfig, evaluate_settings, score_once, token_array
from tests.helpers.tiny_corpus import ROOT


def test_a_predictor_is_called_through_the_connection_and_answers_with_arrays(sandbox):
    with sandbox.session() as session:
        session.reset(stride=4, n_chunks=2)
        nll = session.score(token_array(1, 2), token_array(3, 4))
        row = session.predict(token_array(1, 2, 3))
        session.update(ScoredChunk(0, token_array(2, 3, 4), False, "chain hash"))

    assert (nll.dtype, nll.tolist()) == (np.float32, [3, 3])
    assert row.tolist() == [3] * 5
    assert session.n_score_calls == 1
    assert session.info["documents"] == "independent"
    assert session.info["disputed"] == ["causal SLOT"]
    assert session.info["has_predict"] is True
    assert session.ctx.is_main


def test_every_session_opens_the_predictor_anew(sandbox):
    assert [score_once(sandbox, "counts").tolist() for _ in range(2)] == [[1, 1]] * 2


def test_an_answer_is_not_waited_for_beyond_the_timers_limit(external_dir):
    def wait() -> None:
        with sandbox.session() as session:
            session.reset(stride=4, ttt_cfg=ScriptedTTTConfig("sleeps"))
            sandbox.timer = EvalTimer(limit_s=0.3)
            session.score(token_array(1), token_array(2))

    with (
        Sandbox(evaluate_settings(external_dir), external_dir) as sandbox,
        pytest.raises(SandboxTimeoutError, match="score"),
    ):
        wait()
    assert sandbox.timer.counted_s() < 20


@pytest.mark.parametrize("behavior", ["keeps_globally", "keeps_in_its_class"])
def test_what_is_kept_in_the_module_or_the_class_changes_the_state_too(sandbox, behavior):
    with sandbox.session() as session:
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig(behavior))
        before = session.initial_state_hash
        session.score(token_array(1), token_array(2))
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig(behavior))
    assert session.initial_state_hash != before


def test_the_probe_seed_does_not_reach_the_sandbox(external_dir, monkeypatch):
    monkeypatch.setenv("GOLF_PROBE_SEED", "0a1b")
    with Sandbox(evaluate_settings(external_dir), external_dir) as sandbox:
        assert score_once(sandbox, "probe_seed").tolist() == [0, 0]


def test_openmps_threads_soon_sleep_in_the_predictors_process(external_dir, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    with Sandbox(evaluate_settings(external_dir), external_dir) as sandbox:
        assert score_once(sandbox, "spin_count").tolist() == [2000, 2000]


def test_the_state_at_the_start_of_a_pass_is_the_same_in_every_session_until_an_update(sandbox):
    hashes = []
    for _ in range(2):
        with sandbox.session() as session:
            for _ in range(2):
                session.reset(stride=4)
                hashes.append(session.initial_state_hash)
            session.update(ScoredChunk(0, token_array(1, 2), True, "chain hash"))
            session.reset(stride=4)
            assert session.initial_state_hash != hashes[-1]
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("behavior", ["base", "keeps"])
def test_a_predictor_can_reach_no_token_that_it_was_not_given(sandbox, behavior):
    tokens = np.arange(1, 2001, dtype=np.uint16)
    with sandbox.session() as session:
        for _ in range(2 if behavior == "base" else 1):  # the second pass has forgotten the first
            session.reset(stride=4, ttt_cfg=ScriptedTTTConfig(behavior))
            for begin in (0, 1, 7, 500, 900):
                largest = session.score(tokens[: begin + 1], tokens[begin + 1 : begin + 3]).max()
                assert largest == (begin + 3 if behavior == "keeps" else begin + 1)


def test_what_a_predictor_prints_is_no_answer(sandbox, capfd):
    assert score_once(sandbox, "prints").tolist() == [0, 0]
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "3.5" in captured.err


def test_a_predictor_that_prints_without_end_is_answered_and_shown_up_to_a_limit(sandbox, capfd):
    assert score_once(sandbox, "floods").tolist() == [0, 0]
    shown = capfd.readouterr().err
    assert SHOWN_BYTES <= len(shown) < SHOWN_BYTES + 200
    assert "[31m no end" in shown
    assert "\x1b" not in shown, "it cannot steer the terminal"
    assert shown.count("is not shown") == 1


def test_no_session_finds_what_another_left_on_its_streams(sandbox):
    assert [score_once(sandbox, "marks_streams").tolist() for _ in range(2)] == [[0, 0]] * 2


def test_accesses_are_reported_by_the_session_that_made_them(sandbox):
    reports = []
    for behavior in ("opens", "compliant"):
        with sandbox.session() as session:
            session.reset(stride=4, ttt_cfg=ScriptedTTTConfig(behavior))
            session.score(token_array(1), token_array(2))
        reports.append(session.access_report)
    assert [report["files"] for report in reports] == [["/nowhere/val.bin"], []]
    assert reports[1]["opened"] > 0, "its own artifact"


def test_the_sandbox_gets_the_artifact_and_the_code_that_the_predictor_imports(external_dir, sandbox):
    assert list(sandbox.sources) == ["helper.py", "mine/predictor.py"]
    assert sandbox.sources == code_archive.unpack(sandbox.code_archive, "code")
    assert (sandbox.folder / "mine/predictor.py").read_bytes() == sandbox.sources["mine/predictor.py"]
    assert counted_sources.list_counted_sources("golf.inference.predictor:GolfPredictor", ROOT)[0] == "golf/__init__.py"
    inside = {path.relative_to(sandbox.folder).as_posix() for path in sandbox.folder.rglob("*") if path.is_file()}
    others = {path for path in inside if not path.startswith("golf/") and "__pycache__" not in path}
    assert others == {"helper.py", "mine/predictor.py", "weights.txt"}
    assert not any(path.startswith("golf/compliance/") for path in inside)
    assert inside.isdisjoint({"golf/evaluation/scoring_loop.py", "golf/inference/predictor.py"})


def test_the_code_in_an_archive_runs_and_not_the_files_it_was_made_from(external_dir, sandbox, tmp_path):
    archive = tmp_path / "code.tar.xz"
    archive.write_bytes(sandbox.code_archive)
    with Sandbox(evaluate_settings(external_dir), tmp_path / "without sources", code_path=archive) as opened:
        assert score_once(opened, "counts").tolist() == [1, 1]


def test_an_archive_without_the_predictor_is_refused(external_dir, tmp_path):
    archive = tmp_path / "code.tar.xz"
    archive.write_bytes(code_archive.pack(["helper.py"], external_dir))
    with pytest.raises(ArtifactError, match=r"code\.tar\.xz: lacks mine/predictor\.py"):
        Sandbox(evaluate_settings(external_dir), external_dir, code_path=archive)
