"""Somebody's own method, which does in its scores what its plan says, and the room that it sits in."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_PREDICTOR_SOURCE = '''
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

    def sleeps(self, prefix, chunk, rows, n):
        time.sleep(60)

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
class ScriptedPlan:
    """What the method is to do when it scores."""

    behavior: str


def write_external_project(folder: Path) -> Path:
    """The method, what it imports and its artifact; beside them a damaged artifact and a module that does not parse."""
    (folder / "mine").mkdir()
    (folder / "mine" / "method.py").write_text(_PREDICTOR_SOURCE)
    (folder / "helper.py").write_text("THREE = 3\n")
    (folder / "weights.txt").write_text("good")
    (folder / "bad.txt").write_text("damaged")
    (folder / "broken.py").write_text("def (:\n")
    return folder


def evaluate_settings(folder: Path, predictor="mine.method:Method", artifact="weights.txt") -> SimpleNamespace:
    defaults = {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32", "score_tokens": 64}
    return SimpleNamespace(method=predictor, artifact=str(folder / artifact), **defaults)


def token_array(*values) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def score_once(sandbox, behavior: str, rows=None):
    """One score of two tokens, in a sitting of its own."""
    with sandbox.session() as session:
        session.begin(stride=4, ttt_cfg=ScriptedPlan(behavior))
        return session.score(token_array(1, 2), token_array(3, 4), rows)
