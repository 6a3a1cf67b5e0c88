"""golf/evaluation/sandbox/host.py and worker.py: how each misdeed of a method ends, in one message that names it"""

import pytest

from golf.errors import ArtifactError, GolfError, InputError, PredictorError
from golf.evaluation.sandbox.host import Sandbox
from golf.inference.interface import ScoredChunk
from tests.helpers.external_predictors import ScriptedPlan, evaluate_settings, score_once, token_array


@pytest.mark.parametrize(
    ("deed", "rows", "words"),
    [
        (
            "raises",
            None,
            r"score raised KeyError: 'no\\nsuch thing in .*weights\.txt or mine/method\.py' \(mine/method",
        ),
        ("leaves", None, "score raised SystemExit: enough"),
        ("begin", None, "begin raised RuntimeError: can not begin"),
        ("writes_prefix", None, "score raised ValueError: assignment destination is read-only"),
        ("writes_chunk", None, "score raised ValueError: it changed the tokens that it was given"),
        ("nothing", None, "score raised TypeError: expected an array of floats, got NoneType"),
        ("whole", None, "score raised TypeError: expected an array of floats, got ndarray of int64"),
        ("alone", [0], "score raised ValueError: asked for nll and rows, got 1"),
        ("dies", None, r"its process ended by itself \(exit 0\) in score"),
        (
            "killed",
            None,
            "was ended by SIGKILL; if memory ran out, a lower evaluate.eval_batch_tokens needs less in score",
        ),
        ("segment", None, "was ended by SIGSEGV in score"),
    ],
)
def test_a_method_that_breaks_its_contract_is_named_with_what_it_did(external_dir, sandbox, deed, rows, words):
    with pytest.raises(PredictorError, match=words) as caught:
        score_once(sandbox, deed, rows)
    assert str(caught.value).startswith("mine.method:Method: ")
    assert "golf-room" not in str(caught.value), "where the room was is of no use to anybody"
    assert score_once(sandbox, "honest").tolist() == [3, 3], "the next sitting is as good as the first"


@pytest.mark.parametrize(
    ("deed", "rows", "words"),
    [
        ("longer", None, r"score must answer with floats of shape \[2\], got \[3\]"),
        ("flat", [0], r"score's rows must answer with floats of shape \[1, 'V'\], got \[5\]"),
        ("narrow", [0], r"score's rows must answer with floats of shape \[1, 'V'\], got \[1, 0\]"),
    ],
)
def test_an_answer_of_another_shape_is_refused_with_both_shapes(sandbox, deed, rows, words):
    with sandbox.session() as sitting:
        sitting.begin(stride=4, ttt_cfg=ScriptedPlan(deed))
        with pytest.raises(PredictorError, match=words):
            sitting.score(token_array(1, 2), token_array(3, 4), rows)


def test_an_update_that_raises_is_named(sandbox):
    def updated():
        with sandbox.session() as sitting:
            sitting.begin(stride=4, ttt_cfg=ScriptedPlan("update"))
            sitting.update(ScoredChunk(0, token_array(1, 2), True, "a seal"))

    with pytest.raises(PredictorError, match="update raised RuntimeError: a seal"):
        updated()


def test_an_artifact_that_the_method_refuses_is_named_as_the_user_knows_it(external_dir):
    with (
        Sandbox(evaluate_settings(external_dir, artifact="bad.txt"), external_dir) as room,
        pytest.raises(GolfError) as caught,
        room.session(),
    ):
        pass
    assert str(caught.value) == f"{external_dir}/bad.txt: is damaged"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("mine.method:Absent", "mine.method:Absent: open raised AttributeError: module 'mine.method' has no attribute"),
        ("mine.method:Ill", "disputed must be a list of names, got 'causal SLOT'"),
    ],
)
def test_a_class_that_is_not_there_or_says_strange_things_of_itself_is_refused(external_dir, method, words):
    with (
        Sandbox(evaluate_settings(external_dir, method), external_dir) as room,
        pytest.raises(PredictorError, match=words),
        room.session(),
    ):
        pass


@pytest.mark.parametrize(
    "method",
    ["mine.method", "mine.method:", "absent:Method", "mine:Method", "..helper:Method", "mine/method:Method", ""],
)
def test_a_name_of_no_module_here_is_refused_before_anything_is_started(external_dir, method):
    with pytest.raises(PredictorError, match=r"evaluate\.predictor: .*give package\.module:Class"):
        Sandbox(evaluate_settings(external_dir, method), external_dir)


def test_a_module_that_does_not_parse_is_named(external_dir):
    with pytest.raises(InputError, match=r"broken\.py: does not parse"):
        Sandbox(evaluate_settings(external_dir, "broken:Method"), external_dir)


def test_an_artifact_that_is_not_there_is_named(external_dir):
    with (
        pytest.raises(ArtifactError, match=r"absent\.txt: not found; evaluate\.artifact"),
        Sandbox(evaluate_settings(external_dir, artifact="absent.txt"), external_dir),
    ):
        pass
