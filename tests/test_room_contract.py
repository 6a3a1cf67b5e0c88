"""golf/room/room.py and worker.py: how each misdeed of a method ends, in one message that names it"""

import pytest
from strangers import Plan, score, settings, tokens

from golf.ground.errors import BadArtifact, BadInput, BadMethod, GolfError
from golf.room.room import Room
from golf.score.sealed import Sealed


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
        ("killed", None, "was ended by SIGKILL; if memory ran out, a lower evaluate.score_tokens needs less in score"),
        ("segment", None, "was ended by SIGSEGV in score"),
    ],
)
def test_a_method_that_breaks_its_contract_is_named_with_what_it_did(theirs, room, deed, rows, words):
    with pytest.raises(BadMethod, match=words) as caught:
        score(room, deed, rows)
    assert str(caught.value).startswith("mine.method:Method: ")
    assert "golf-room" not in str(caught.value), "where the room was is of no use to anybody"
    assert score(room, "honest").tolist() == [3, 3], "the next sitting is as good as the first"


@pytest.mark.parametrize(
    ("deed", "rows", "words"),
    [
        ("longer", None, r"score must answer with floats of shape \[2\], got \[3\]"),
        ("flat", [0], r"score's rows must answer with floats of shape \[1, 'V'\], got \[5\]"),
        ("narrow", [0], r"score's rows must answer with floats of shape \[1, 'V'\], got \[1, 0\]"),
    ],
)
def test_an_answer_of_another_shape_is_refused_with_both_shapes(room, deed, rows, words):
    with room.sit() as sitting:
        sitting.begin(stride=4, plan=Plan(deed))
        with pytest.raises(BadMethod, match=words):
            sitting.score(tokens(1, 2), tokens(3, 4), rows)


def test_an_update_that_raises_is_named(room):
    def updated():
        with room.sit() as sitting:
            sitting.begin(stride=4, plan=Plan("update"))
            sitting.update(Sealed(0, tokens(1, 2), True, "a seal"))

    with pytest.raises(BadMethod, match="update raised RuntimeError: a seal"):
        updated()


def test_an_artifact_that_the_method_refuses_is_named_as_the_user_knows_it(theirs):
    with Room(settings(theirs, artifact="bad.txt"), theirs) as room, pytest.raises(GolfError) as caught, room.sit():
        pass
    assert str(caught.value) == f"{theirs}/bad.txt: is damaged"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("mine.method:Absent", "mine.method:Absent: open raised AttributeError: module 'mine.method' has no attribute"),
        ("mine.method:Ill", "disputed must be a list of names, got 'causal SLOT'"),
    ],
)
def test_a_class_that_is_not_there_or_says_strange_things_of_itself_is_refused(theirs, method, words):
    with Room(settings(theirs, method), theirs) as room, pytest.raises(BadMethod, match=words), room.sit():
        pass


@pytest.mark.parametrize(
    "method",
    ["mine.method", "mine.method:", "absent:Method", "mine:Method", "..helper:Method", "mine/method:Method", ""],
)
def test_a_name_of_no_module_here_is_refused_before_anything_is_started(theirs, method):
    with pytest.raises(BadMethod, match=r"evaluate\.method: .*give package\.module:Class"):
        Room(settings(theirs, method), theirs)


def test_a_module_that_does_not_parse_is_named(theirs):
    with pytest.raises(BadInput, match=r"broken\.py: does not parse"):
        Room(settings(theirs, "broken:Method"), theirs)


def test_an_artifact_that_is_not_there_is_named(theirs):
    with (
        pytest.raises(BadArtifact, match=r"absent\.txt: not found; evaluate\.artifact"),
        Room(settings(theirs, artifact="absent.txt"), theirs),
    ):
        pass
