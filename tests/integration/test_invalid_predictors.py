"""stages/evaluate.py with a predictor that breaks its contract: one message, exit code 1, nothing half-written."""

import shutil
import tempfile
from pathlib import Path

import pytest
from gallery import harness

from golf.compliance import evaluation_run
from golf.compliance.check_result import FAIL
from golf.errors import DivergenceError, PredictorError
from tests.helpers import stage_errors, tiny_project
from tests.helpers.tiny_corpus import ROOT

OUTPUTS = stage_errors.STAGE_GRAPH["evaluate"].outs
CLASS_HEADER = """import os
import numpy as np
from gallery.bigram_predictor import BigramPredictor


class OwnPredictor(BigramPredictor):
"""


@pytest.fixture
def own_predictor_dir(gallery_dir):
    """The gallery's project, evaluated with own.py, which the test writes."""
    settings = {"evaluate.predictor": "own:OwnPredictor", "evaluate.artifact": harness.ARTIFACT_PATH}
    tiny_project.set_params(gallery_dir, settings)
    return gallery_dir


@pytest.fixture
def expect_evaluation_error(own_predictor_dir, capfd, monkeypatch):
    """A function that runs evaluate, which must fail and leave no output and no sandbox; returns its message."""
    temp_dir = own_predictor_dir / "temp"
    temp_dir.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp_dir))

    def run_failing(**settings: str) -> str:
        tiny_project.set_params(own_predictor_dir, {f"evaluate.{key}": value for key, value in settings.items()})
        stderr = stage_errors.run_failing_stage("evaluate", capfd)
        assert not [path for path in OUTPUTS if Path(path).exists() and not path.endswith("run.json")]
        assert list(temp_dir.iterdir()) == []
        return stderr.partition("\nevaluate: ")[2].partition("\n")[0]

    with stage_errors.restore_signal_handlers():
        yield run_failing


def write_predictor(body: str) -> None:
    """Write own.py: the gallery's compliant predictor with these lines, indented once, in its class."""
    Path("own.py").write_text(CLASS_HEADER + "".join(f"    {line}\n" for line in body.splitlines()), encoding="utf-8")


@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        (
            "own",
            "evaluate.predictor: own: no class of that name in own.py below this folder; give package.module:",
        ),
        ("nobody.here:Own", "no class of that name in nobody/here.py"),
        ("own:Nobody", "evaluate.predictor: own:Nobody: no class of that name in own.py below this folder; give"),
    ],
)
def test_a_predictor_that_does_not_exist_is_named_with_the_expected_form(expect_evaluation_error, predictor, words):
    write_predictor("pass")
    assert words in expect_evaluation_error(predictor=predictor)


def test_a_predictor_that_does_not_parse_is_named_with_its_line(expect_evaluation_error):
    write_predictor("def score(self:")
    assert "own.py: does not parse (line 7" in expect_evaluation_error()


def test_a_missing_artifact_is_named(expect_evaluation_error):
    write_predictor("pass")
    assert expect_evaluation_error(artifact="nothing.bin").startswith("nothing.bin: not found")


RAISING_CALLS = {
    "open": "@classmethod\ndef open(cls, path, ctx, *, eval_batch_tokens):\n    return cls(1 / 0)",
    "reset": "def reset(self, **settings):\n    return 1 / 0",
    "score": "def score(self, prefix, chunk):\n    return 1 / 0",
    "predict": "def predict(self, prefix):\n    return 1 / 0",
    "update": "def update(self, scored_chunk):\n    return 1 / 0",
}


@pytest.mark.parametrize("call", RAISING_CALLS)
def test_a_predictor_that_raises_is_quoted_with_the_call_and_the_source_line(expect_evaluation_error, call):
    write_predictor(RAISING_CALLS[call])
    source_line = "return cls(1 / 0)" if call == "open" else "return 1 / 0"
    message = expect_evaluation_error()
    assert f"own:OwnPredictor: {call} raised ZeroDivisionError: division by zero (own.py, in {call}: " in message
    assert source_line in message


def score(answer: str) -> str:
    return f"def score(self, prefix, chunk):\n    nll = np.ones(len(chunk))\n    return {answer}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (score("nll[1:]"), "score must return floats of shape [512], got [511]"),
        (score("'low'"), "score must return an array of floats, got str"),
        (
            "def predict(self, prefix):\n    return self.table",
            "predict must return log-probabilities of shape [V], got [320, 320]",
        ),
        (
            "def reset(self, *, stride, ttt_cfg, memory_cfg, n_chunks):\n    pass",
            "reset raised TypeError: OwnPredictor.reset() got an unexpected keyword argument 'order'",
        ),
        ("def update(self, scored_chunk):\n    os._exit(3)", "its process exited with code 3 during update"),
    ],
)
def test_a_broken_contract_is_named_with_what_was_expected_and_what_came(expect_evaluation_error, body, words):
    write_predictor(body)
    assert words in expect_evaluation_error()


def test_a_score_that_is_not_finite_is_named_by_its_place_in_the_stream(expect_evaluation_error):
    write_predictor(
        "def score(self, prefix, chunk):\n"
        "    scores = super().score(prefix, chunk)\n"
        "    return scores if len(prefix) == 1 else scores + np.inf"
    )
    message = expect_evaluation_error()
    assert "own:OwnPredictor: scoring (ttt): the nll of target 512 is not finite; score must return finite" in message
    assert "ttt.lr" not in message, "the hint for golf's own predictor"


def test_only_golfs_own_predictor_gets_its_learning_rate_as_a_hint():
    error = DivergenceError("scoring (ttt): the nll of target 3 is not finite; lower ttt.lr or check the weights")
    own_error = evaluation_run.make_nonfinite_error(evaluation_run.OWN_PREDICTOR, error)
    assert str(own_error) == f"golf.inference.predictor:GolfPredictor: {error}"
    other_error = evaluation_run.make_nonfinite_error("mine:Own", error)
    assert isinstance(other_error, PredictorError)
    assert str(other_error).startswith("mine:Own: scoring (ttt): the nll of target 3 is not finite; score must return")
    assert "ttt.lr" not in str(other_error)


def test_scores_that_are_not_normalized_are_evaluated_and_fail(own_predictor_dir):
    write_predictor("def log_probs(self, prefix, chunk):\n    return super().log_probs(prefix, chunk) + 0.01")
    outcome = harness.run_evaluation()
    assert "C2-a" in {result.check for result in outcome.with_status(FAIL)}


@pytest.mark.parametrize(
    "name", ["ReadsBehindPrefix", "OverwritesEarlierChunks"], ids=["behind its prefix", "in earlier chunks"]
)
def test_a_predictor_that_keeps_buffers_finds_nothing_later_in_them(own_predictor_dir, name):
    write_predictor("pass")
    compliant = harness.run_evaluation().metrics
    shutil.copy(ROOT / "tests/helpers/buffer_predictors.py", "own.py")
    tiny_project.set_params(own_predictor_dir, {"evaluate.predictor": f"own:{name}"})
    outcome = harness.run_evaluation()
    keys = [f"val_bpb_{mode}" for mode in ("plain", "sliding", "ttt")]
    assert [outcome.metrics[key] for key in keys] == [compliant[key] for key in keys]
    assert {outcome.results[check].status for check in ("C4-a", "M-a", "M-b", "M-e")} == {"PASS"}
