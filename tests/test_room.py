"""golf/room/room.py and worker.py: the door, the clean process behind it, and how each misdeed ends"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import ROOT

from golf.ground.errors import BadArtifact, BadInput, BadMethod, GolfError
from golf.room import room as rooms
from golf.room.room import Room
from golf.score.sealed import Sealed

METHOD = '''
import os
import sys
import time

import numpy as np

from golf.ground.errors import BadArtifact
from helper import THREE

SEEN = []


class Method:
    calls = 0
    documents = "independent"
    disputed = ["causal SLOT"]

    @classmethod
    def open(cls, path, here, *, score_tokens):
        made = cls()
        made.path, made.score_tokens, made.count, made.kept = str(path), score_tokens, 0, []
        made.text = open(path).read()
        if made.text == "damaged":
            raise BadArtifact(path, "is damaged")
        return made

    def begin(self, *, stride, plan=None, chunks=1):
        self.deed = plan and plan.deed
        self.told = (stride, chunks)
        if self.deed == "begin":
            raise RuntimeError("can not begin")

    def score(self, prefix, chunk, rows=None):
        n = np.zeros(len(chunk), np.float32)
        return getattr(self, self.deed or "honest")(prefix, chunk, rows, n)

    def honest(self, prefix, chunk, rows, n):
        nll = n + THREE
        return nll if rows is None else (nll, np.full((len(rows), 5), -1.5))

    def counts(self, prefix, chunk, rows, n):
        self.count += 1
        return n + self.count

    def keeps_globally(self, prefix, chunk, rows, n):
        SEEN.append(int(chunk[0]))
        return n

    def keeps_in_its_class(self, prefix, chunk, rows, n):
        Method.calls += 1
        return n

    def secret(self, prefix, chunk, rows, n):
        return n + ("GOLF_SECRET" in os.environ)

    def base(self, prefix, chunk, rows, n):
        """The largest token within reach."""
        whole = prefix
        while getattr(whole, "base", None) is not None:
            whole = np.asarray(whole.base)
        return n + whole.max()

    def keeps(self, prefix, chunk, rows, n):
        self.kept += [prefix, chunk]
        return n + max(each.max() for each in self.kept)

    def writes_prefix(self, prefix, chunk, rows, n):
        prefix[0] = 3

    def writes_chunk(self, prefix, chunk, rows, n):
        chunk[0] = 9
        return n

    def raises(self, prefix, chunk, rows, n):
        raise KeyError("no\\nsuch thing in " + self.path + " or " + __file__)

    def leaves(self, prefix, chunk, rows, n):
        sys.exit("enough")

    def dies(self, prefix, chunk, rows, n):
        os._exit(0)

    def killed(self, prefix, chunk, rows, n):
        os.kill(os.getpid(), 9)

    def segment(self, prefix, chunk, rows, n):
        os.kill(os.getpid(), 11)

    def nothing(self, prefix, chunk, rows, n):
        return None

    def whole(self, prefix, chunk, rows, n):
        return n.astype(int)

    def longer(self, prefix, chunk, rows, n):
        return np.append(n, 0.0)

    def flat(self, prefix, chunk, rows, n):
        return n, np.zeros(5)

    def narrow(self, prefix, chunk, rows, n):
        return n, np.zeros((len(rows), 0))

    def alone(self, prefix, chunk, rows, n):
        return (n,)

    def prints(self, prefix, chunk, rows, n):
        print("3.5")
        return n

    def opens(self, prefix, chunk, rows, n):
        try:
            open("/nowhere/val.bin")
        except FileNotFoundError:
            return n

    def forever(self, prefix, chunk, rows, n):
        while True:
            time.sleep(0.01)

    def predict(self, prefix):
        return np.full(5, float(prefix[-1]))

    def update(self, sealed):
        if self.deed == "update":
            raise RuntimeError(sealed.seal)
        self.count += int(sealed.tokens.sum()) + sealed.index


class Ill:
    @classmethod
    def open(cls, path, here, *, score_tokens):
        made = cls()
        made.disputed = "causal SLOT"
        return made
'''


@dataclass
class Plan:
    """What the method is to do when it scores."""

    deed: str


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with somebody's own method and artifact."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "mine").mkdir()
    (folder / "mine" / "method.py").write_text(METHOD)
    (folder / "helper.py").write_text("THREE = 3\n")
    (folder / "weights.txt").write_text("good")
    (folder / "bad.txt").write_text("damaged")
    (folder / "broken.py").write_text("def (:\n")
    return folder


def settings(root: Path, method="mine.method:Method", artifact="weights.txt") -> SimpleNamespace:
    how = {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32", "score_tokens": 64}
    return SimpleNamespace(method=method, artifact=str(root / artifact), **how)


@pytest.fixture(scope="module")
def room(root):
    with Room(settings(root), root) as made:
        yield made


def tokens(*values) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def score(room, deed: str, rows=None):
    """One score of two tokens, in a sitting of its own."""
    with room.sit() as sitting:
        sitting.begin(stride=4, plan=Plan(deed))
        return sitting.score(tokens(1, 2), tokens(3, 4), rows)


def test_a_method_is_asked_through_the_door_and_answers_with_numbers(room):
    with room.sit() as sitting:
        sitting.begin(stride=4, chunks=2)
        nll, rows = sitting.score(tokens(1, 2), tokens(3, 4), np.array([1]))
        row = sitting.predict(tokens(1, 2, 3))
        sitting.update(Sealed(0, tokens(2, 3, 4), False, "seal"))

    assert (nll.dtype, nll.tolist()) == (np.float32, [3, 3])
    assert (rows.dtype, rows.tolist()) == (np.float64, [[-1.5] * 5])
    assert row.tolist() == [3] * 5
    assert (sitting.calls, sitting.moved) == (1, 0)
    assert sitting.facts["documents"] == "independent"
    assert sitting.facts["disputed"] == ["causal SLOT"]
    assert sitting.facts["predicts"] is True
    assert sitting.here.first


def test_every_sitting_is_opened_anew(room):
    assert [score(room, "counts").tolist() for _ in range(2)] == [[1, 1]] * 2


def test_a_state_that_moves_while_scoring_is_seen_where_one_looks(room):
    found = []
    for watched in (True, False):
        with room.sit(watched=watched) as sitting:
            sitting.begin(stride=4, plan=Plan("counts"))
            sitting.score(tokens(1), tokens(2))
            sitting.aside = True
            sitting.score(tokens(1), tokens(2))
            found.append((sitting.calls, sitting.moved, len(sitting.state)))
    assert found == [(1, 1, 64), (1, 0, 0)]


@pytest.mark.parametrize("deed", ["keeps_globally", "keeps_in_its_class"])
def test_what_is_kept_in_the_module_or_the_class_moves_the_state_too(room, deed):
    with room.sit(watched=True) as sitting:
        sitting.begin(stride=4, plan=Plan(deed))
        sitting.score(tokens(1), tokens(2))
    assert sitting.moved == 1


def test_a_worker_that_claims_more_hashing_seconds_than_the_call_took_gets_no_more():
    told = {"before": "a", "after": "a"}

    class Liar:
        def ask(self, *_):
            pass

        def answer(self, _):
            return told, [np.zeros(1, np.float32)]

    facts = {"runtime": [0, 1, "cpu", "torch.float32"], "compile": "off", "attention": "sdpa", "note": ""}
    sitting = rooms.Sitting(Liar(), facts, watched=True)
    for claim in (1e9, -1e9, float("inf"), float("nan")):
        told["watch_s"] = claim
        sitting.score(tokens(1), tokens(2))
        assert 0 <= sitting.watch_s < 1e3


def test_the_secret_of_the_probes_does_not_enter_the_room(root, monkeypatch):
    monkeypatch.setenv("GOLF_SECRET", "0a1b")
    with Room(settings(root), root) as room:
        assert score(room, "secret").tolist() == [0, 0]


def test_the_state_at_the_start_of_a_pass_is_the_same_in_every_sitting_until_an_update(room):
    begun = []
    for _ in range(2):
        with room.sit() as sitting:
            for _ in range(2):
                sitting.begin(stride=4)
                begun.append(sitting.begun)
            sitting.update(Sealed(0, tokens(1, 2), True, "seal"))
            sitting.begin(stride=4)
            assert sitting.begun != begun[-1]
    assert len(set(begun)) == 1


@pytest.mark.parametrize("deed", ["base", "keeps"])
def test_a_method_can_reach_no_token_that_it_was_not_given(room, deed):
    text = np.arange(1, 2001, dtype=np.uint16)
    with room.sit() as sitting:
        for _ in range(2 if deed == "base" else 1):  # the second pass has forgotten the first
            sitting.begin(stride=4, plan=Plan(deed))
            for begin in (0, 1, 7, 500, 900):
                within = sitting.score(text[: begin + 1], text[begin + 1 : begin + 3])
                assert within.max() == (begin + 3 if deed == "keeps" else begin + 1)


def test_what_a_method_prints_is_no_answer(room, capfd):
    assert score(room, "prints").tolist() == [0, 0]
    assert capfd.readouterr().out == ""


def test_what_was_opened_is_reported_by_the_sitting_that_did_it(room):
    reports = []
    for deed in ("opens", "honest"):
        with room.sit() as sitting:
            sitting.begin(stride=4, plan=Plan(deed))
            sitting.score(tokens(1), tokens(2))
        reports.append(sitting.report)
    assert [report["files"] for report in reports] == [["/nowhere/val.bin"], []]
    assert reports[1]["opened"] > 0, "its own artifact, which is no offence"


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
def test_a_method_that_breaks_its_contract_is_named_with_what_it_did(root, room, deed, rows, words):
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


def test_an_artifact_that_the_method_refuses_is_named_as_the_user_knows_it(root):
    with Room(settings(root, artifact="bad.txt"), root) as room, pytest.raises(GolfError) as caught, room.sit():
        pass
    assert str(caught.value) == f"{root}/bad.txt: is damaged"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("mine.method:Absent", "mine.method:Absent: open raised AttributeError: module 'mine.method' has no attribute"),
        ("mine.method:Ill", "disputed must be a list of names, got 'causal SLOT'"),
    ],
)
def test_a_class_that_is_not_there_or_says_strange_things_of_itself_is_refused(root, method, words):
    with Room(settings(root, method), root) as room, pytest.raises(BadMethod, match=words), room.sit():
        pass


@pytest.mark.parametrize(
    "method",
    ["mine.method", "mine.method:", "absent:Method", "mine:Method", "..helper:Method", "mine/method:Method", ""],
)
def test_a_name_of_no_module_here_is_refused_before_anything_is_started(root, method):
    with pytest.raises(BadMethod, match=r"evaluate\.method: .*give package\.module:Class"):
        Room(settings(root, method), root)


def test_a_module_that_does_not_parse_is_named(root):
    with pytest.raises(BadInput, match=r"broken\.py: does not parse"):
        Room(settings(root, "broken:Method"), root)


def test_an_artifact_that_is_not_there_is_named(root):
    with (
        pytest.raises(BadArtifact, match=r"absent\.txt: not found; evaluate\.artifact"),
        Room(settings(root, artifact="absent.txt"), root),
    ):
        pass


def test_the_code_that_counts_is_what_the_method_reaches_and_it_goes_in_with_the_artifact_alone(root, room):
    assert room.code == ["helper.py", "mine/method.py"]
    assert rooms.counted("golf.method:Method", ROOT)[0] == "golf/__init__.py"
    inside = {path.relative_to(room.folder).as_posix() for path in room.folder.rglob("*") if path.is_file()}
    others = {path for path in inside if not path.startswith("golf/") and "__pycache__" not in path}
    assert others == {"helper.py", "mine/method.py", "weights.txt"}
    assert "golf/judge.py" not in inside
    assert "golf/method.py" not in inside


JUDGE = """
import sys
sys.path.insert(0, sys.argv[2])
import test_room as t
from golf.room.room import Room
from pathlib import Path

with Room(t.settings(Path(sys.argv[1])), sys.argv[1]) as room, room.sit() as sitting:
    sitting.begin(stride=4, plan=t.Plan("forever"))
    print(room.process.pid, room.folder, flush=True)
    sitting.score(t.tokens(1), t.tokens(2))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_judge_that_is_killed_or_interrupted_leaves_no_process_and_no_file(root, number):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", JUDGE, str(root), str(ROOT / "tests")]
    judge = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with judge:
        pid, folder = judge.stdout.readline().split()
        worker = psutil.Process(int(pid))
        behind = [worker, *worker.children(recursive=True)]
        assert len(behind) == 2
        assert Path(folder).is_dir()
        judge.send_signal(number)
        judge.wait()
    _, alive = psutil.wait_procs(behind, timeout=20)
    assert alive == []
    deadline = time.time() + 20
    while Path(folder).exists() and time.time() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()


def test_a_room_that_is_closed_leaves_nothing(root):
    with Room(settings(root), root) as room:
        folder, process = room.folder, room.process
        assert folder.is_dir()
    assert not folder.exists()
    assert process.returncode == -signal.SIGKILL
