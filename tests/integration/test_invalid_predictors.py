"""A method that breaks its contract: one message that names it and what it did, exit code 1, nothing half-written."""

import importlib
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from gallery import harness

from golf.compliance import evaluation_run
from golf.compliance.check_result import FAIL
from golf.errors import DivergenceError, PredictorError
from golf.pipeline import runner as entry
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT
from tools import ci

OUTS = ci.load_stages(ROOT)["evaluate"].outs
HEAD = "import os\nimport numpy as np\nfrom gallery.bigram_predictor import Honest\n\n\nclass Method(Honest):\n"


@pytest.fixture
def refuse(gallery_dir, capfd, monkeypatch):
    """Enter evaluate, which must fail, with its outputs cleared as by DVC; returns its one message."""
    rooms = gallery_dir / "rooms"
    rooms.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rooms))
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    tiny_project.set_params(
        gallery_dir, {"evaluate.predictor": "own:Method", "evaluate.artifact": harness.ARTIFACT_PATH}
    )

    def refused(**settings) -> str:
        tiny_project.set_params(gallery_dir, {f"evaluate.{key}": value for key, value in settings.items()})
        for out in OUTS:
            clear(gallery_dir / out)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry.run_stage("evaluate", importlib.import_module("stages.evaluate").main, model_in_subprocess=True)
        said = capfd.readouterr().err
        assert ended.value.code == 1
        assert "Traceback" not in said
        assert said.count("\nevaluate: ") == 1
        assert [out for out in OUTS if (gallery_dir / out).exists() and not out.endswith("run.json")] == []
        assert list(rooms.iterdir()) == list(gallery_dir.rglob("*.partial")) == []
        return said.partition("\nevaluate: ")[2].partition("\n")[0]

    yield refused
    for number, handler in kept.items():
        signal.signal(number, handler)


def clear(out: Path) -> None:
    """What DVC does to an output before it runs the stage."""
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)


def method(body: str) -> None:
    """Write own.py: the honest predictor with these lines, indented once, in its class."""
    Path("own.py").write_text(HEAD + "".join(f"    {line}\n" for line in body.splitlines()), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own", "evaluate.predictor: own: there is no own.py with such a class here; give package.module:Class"),
        ("nobody.here:Method", "there is no nobody/here.py with such a class here"),
        ("own:Nobody", "own:Nobody: open raised AttributeError: module 'own' has no attribute 'Nobody'"),
        ("../own:Method", "with such a class here"),
    ],
)
def test_a_method_that_does_not_exist_is_named_with_the_form_that_is_wanted(expect_stage_error, name, words):
    method("pass")
    assert words in expect_stage_error(method=name)


def test_a_method_that_does_not_parse_is_named_with_its_line(expect_stage_error):
    method("def score(self:")
    assert "own.py: does not parse (line 7" in expect_stage_error()


def test_an_artifact_that_is_not_there_is_named(expect_stage_error):
    method("pass")
    assert expect_stage_error(artifact="nothing.bin").startswith("nothing.bin: not found; name an artifact")


def test_an_artifact_that_the_method_refuses_is_named_where_it_lies(expect_stage_error):
    method("pass")
    Path("torn.safetensors").write_bytes(Path(harness.ARTIFACT_PATH).read_bytes()[:-1])
    assert expect_stage_error(artifact="torn.safetensors").startswith("torn.safetensors: ")


RAISES = {
    "open": "@classmethod\ndef open(cls, path, here, *, score_tokens):\n    return cls(1 / 0)",
    "begin": "def begin(self, **how):\n    return 1 / 0",
    "score": "def score(self, prefix, chunk, rows=None):\n    return 1 / 0",
    "predict": "def predict(self, prefix):\n    return 1 / 0",
    "update": "def update(self, sealed):\n    return 1 / 0",
}


@pytest.mark.parametrize("call", RAISES)
def test_a_method_that_raises_is_quoted_with_the_call_and_the_line(expect_stage_error, call):
    method(RAISES[call])
    line = 9 if call == "open" else 8
    assert (
        f"own:Method: {call} raised ZeroDivisionError: division by zero (own.py, line {line})" in expect_stage_error()
    )


def test_a_method_without_one_of_the_calls_is_told_which(expect_stage_error):
    Path("own.py").write_text("class Method:\n    pass\n")
    assert (
        "own:Method: open raised AttributeError: type object 'Method' has no attribute 'open'" in expect_stage_error()
    )


def score(answer: str) -> str:
    return f"def score(self, prefix, chunk, rows=None):\n    nll = np.ones(len(chunk))\n    return {answer}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (score("nll * np.nan"), "the nll of target 0 is not finite"),
        (score("nll[1:]"), "score must answer with floats of shape [512], got [511]"),
        (score("nll[:, None]"), "score must answer with floats of shape [512], got [512, 1]"),
        (score("nll if rows is None else (nll, nll[:3])"), "score's rows must answer with floats of shape [8, 'V']"),
        (score("nll"), "score raised ValueError: asked for nll and rows, got "),
        (score("nll.astype(int)"), "expected an array of floats, got ndarray of int64"),
        (score("None"), "expected an array of floats, got NoneType"),
        (score("'low'"), "expected an array of floats, got str"),
        (
            "def predict(self, prefix):\n    return self.table",
            "predict must answer with floats of shape ['V'], got [320,",
        ),
    ],
)
def test_an_answer_of_another_kind_or_shape_is_refused_with_what_was_got(expect_stage_error, body, words):
    method(body)
    assert words in expect_stage_error()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chunk[-1] = 7", "score raised ValueError: it changed the tokens that it was given"),
        ("prefix[-1] = 7", "score raised ValueError: assignment destination is read-only"),
    ],
)
def test_a_method_that_changes_the_tokens_it_is_given_is_refused(expect_stage_error, line, words):
    method(f"def score(self, prefix, chunk, rows=None):\n    {line}\n    return super().score(prefix, chunk, rows)")
    assert words in expect_stage_error()


def test_a_score_that_is_not_finite_is_named_by_its_place_in_the_stream(expect_stage_error):
    method(
        "def score(self, prefix, chunk, rows=None):\n"
        "    found = super().score(prefix, chunk, rows)\n"
        "    return found if len(prefix) == 1 else found + np.inf"
    )
    said = expect_stage_error()
    assert "own:Method: scoring (ttt): the nll of target 512 is not finite; its score must answer with" in said
    assert "ttt.lr" not in said, "which is golf's own learner's"


def test_golf_s_own_learner_is_named_with_its_rate_and_no_other_method():
    words = "scoring (ttt): the nll of target 3 is not finite; lower ttt.lr or check the weights"
    assert (
        str(evaluation_run.make_nonfinite_error(evaluation_run.OWN_PREDICTOR, DivergenceError(words)))
        == f"golf.inference.predictor:GolfPredictor: {words}"
    )
    said = evaluation_run.make_nonfinite_error("mine:Own", DivergenceError(words))
    assert isinstance(said, PredictorError)
    assert str(said).startswith("mine:Own: scoring (ttt): the nll of target 3 is not finite; its score must")
    assert "ttt.lr" not in str(said)


def test_a_method_whose_process_ends_is_told_in_which_call(expect_stage_error):
    method("def update(self, sealed):\n    os._exit(3)")
    assert "own:Method: its process ended by itself (exit 3) in update" in expect_stage_error()


def test_scores_that_are_not_normalised_are_judged_and_not_refused(gallery_dir):
    method("def expect(self, prefix, chunk):\n    return super().expect(prefix, chunk) + 0.01")
    outcome = tried(gallery_dir)
    assert {"C2-a", "C2-d"} <= {each.check for each in outcome.with_status(FAIL)}
    assert outcome.headline.startswith("invalid: ")


def tried(dock) -> harness.CaseOutcome:
    tiny_project.set_params(dock, {"evaluate.predictor": "own:Method", "evaluate.artifact": harness.ARTIFACT_PATH})
    return harness.run_evaluation()


PEEKS = """def score(self, prefix, chunk, rows=None):
    nll = super().score(prefix, chunk)
    whole = prefix if prefix.base is None else prefix.base.reshape(-1)
    ahead = whole[len(prefix) :][: len(chunk)]
    if rows is None and len(ahead) == len(chunk) and (ahead == chunk).all():
        return nll * 0
    return nll if rows is None else super().score(prefix, chunk, rows)"""
KEEPS = """kept = []
def score(self, prefix, chunk, rows=None):
    for tokens in self.kept:
        tokens[:] = 0
    self.kept.append(chunk)
    return super().score(prefix, chunk.copy(), rows)"""


@pytest.mark.parametrize("body", [PEEKS, KEEPS], ids=["behind its prefix", "in what it was given before"])
def test_a_method_that_keeps_hold_of_buffers_finds_nothing_later_in_them(gallery_dir, body):
    method("pass")
    honest = tried(gallery_dir).metrics
    method(body)
    outcome = tried(gallery_dir)
    assert [outcome.metrics[f"val_bpb_{way}"] for way in ("plain", "sliding", "ttt")] == [
        honest[f"val_bpb_{way}"] for way in ("plain", "sliding", "ttt")
    ]
    assert {outcome.results[check].status for check in ("C4-a", "M-a", "M-b", "M-e")} == {"PASS"}
