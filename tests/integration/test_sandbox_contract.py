"""golf/evaluation/sandbox: each way to break the predictor's contract ends in one message that names it"""

import pytest

from golf.config import loader
from golf.errors import ArtifactError, GolfError, InputError, PredictorError
from golf.evaluation.sandbox.host import Sandbox
from golf.inference.interface import ScoredChunk
from tests.helpers.external_predictors import ScriptedTTTConfig, evaluate_settings, score_once, token_array
from tests.helpers.tiny_corpus import ROOT


@pytest.mark.parametrize(
    ("behavior", "words"),
    [
        (
            "raises",
            r"score raised KeyError: 'no\\nsuch thing in .*weights\.txt or mine/predictor\.py' "
            r"\(mine/predictor\.py, in raises: raise KeyError\(",
        ),
        ("exits", "score raised SystemExit: enough"),
        ("reset", "reset raised RuntimeError: can not reset"),
        ("writes_prefix", "score raised ValueError: assignment destination is read-only"),
        ("writes_chunk", "score must not change the chunk that it is given"),
        ("returns_none", "score must return an array of floats, got NoneType"),
        ("returns_ints", "score must return an array of floats, got ndarray of int64"),
        ("dies", r"its process exited with code 0 during score; docs/"),
        (
            "says_why_it_dies",
            r"exited with code 4 during score; its output ends: .*first word / out of luck / \?\[2J / last word; docs/",
        ),
        ("killed", "was killed by SIGKILL during score; if memory ran out, lower evaluate.eval_batch_tokens"),
        ("segfaults", "was killed by SIGSEGV during score"),
    ],
)
def test_a_predictor_that_breaks_its_contract_is_named_with_the_call(sandbox, behavior, words):
    with pytest.raises(PredictorError, match=words) as caught:
        score_once(sandbox, behavior)
    assert str(caught.value).startswith("mine.predictor:ScriptedPredictor: ")
    assert "golf-sandbox-" not in str(caught.value), "the sandbox's own folder means nothing to users"
    assert score_once(sandbox, "compliant").tolist() == [3, 3], "the next session is not affected"


def test_an_answer_of_another_shape_is_refused_with_both_shapes(sandbox):
    with sandbox.session() as session:
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig("returns_one_more"))
        with pytest.raises(PredictorError, match=r"score must return floats of shape \[2\], got \[3\]"):
            session.score(token_array(1, 2), token_array(3, 4))


@pytest.mark.parametrize(
    ("memory_cfg", "expected"), [(None, -1), (loader.load_config(ROOT / "profiles" / "laptop.yaml").memory, 16)]
)
def test_the_predictor_gets_the_section_memory_or_none(sandbox, memory_cfg, expected):
    with sandbox.session() as session:
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig("memory"), memory_cfg=memory_cfg)
        assert session.score(token_array(1, 2), token_array(3)).tolist() == [expected]


def test_an_update_that_raises_is_named(sandbox):
    def update() -> None:
        with sandbox.session() as session:
            session.reset(stride=4, ttt_cfg=ScriptedTTTConfig("update"))
            session.update(ScoredChunk(0, token_array(1, 2), True, "a chain hash"))

    with pytest.raises(PredictorError, match="update raised RuntimeError: a chain hash"):
        update()


def test_an_artifact_that_the_predictor_refuses_is_named_as_the_user_knows_it(external_dir):
    with (
        Sandbox(evaluate_settings(external_dir, artifact="bad.txt"), external_dir) as sandbox,
        pytest.raises(GolfError) as caught,
        sandbox.session(),
    ):
        pass
    assert str(caught.value) == f"{external_dir}/bad.txt: is damaged"


@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        ("mine.predictor:Absent", "open raised AttributeError: module 'mine.predictor' has no attribute 'Absent'"),
        ("mine.predictor:WronglyDeclared", "disputed must be a list of names, got 'causal SLOT'"),
    ],
)
def test_a_class_that_is_absent_or_declares_something_invalid_is_refused(external_dir, predictor, words):
    with (
        Sandbox(evaluate_settings(external_dir, predictor), external_dir) as sandbox,
        pytest.raises(PredictorError, match=words),
        sandbox.session(),
    ):
        pass


@pytest.mark.parametrize(
    "predictor",
    ["mine.predictor", "mine.predictor:", "absent:Own", "mine:Own", "..helper:Own", "mine/predictor:Own", ""],
)
def test_a_name_of_no_module_is_refused_before_anything_is_started(external_dir, predictor):
    with pytest.raises(PredictorError, match=r"evaluate\.predictor: .*give package\.module:Class"):
        Sandbox(evaluate_settings(external_dir, predictor), external_dir)


def test_a_module_that_does_not_parse_is_named(external_dir):
    with pytest.raises(InputError, match=r"broken\.py: does not parse"):
        Sandbox(evaluate_settings(external_dir, "broken:Own"), external_dir)


def test_an_artifact_that_does_not_exist_is_named(external_dir):
    with (
        pytest.raises(ArtifactError, match=r"absent\.txt: not found; evaluate\.artifact"),
        Sandbox(evaluate_settings(external_dir, artifact="absent.txt"), external_dir),
    ):
        pass
