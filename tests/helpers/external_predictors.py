"""An external predictor whose ``score`` behaves as its TTT config says, for tests of the sandbox."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_PREDICTOR_SOURCE = '''
import os
import sys
import time

import numpy as np

from golf.errors import ArtifactError
from helper import THREE

SEEN = []


class ScriptedPredictor:
    calls = 0
    documents = "independent"
    disputed = ["causal SLOT"]

    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens):
        predictor = cls()
        predictor.path, predictor.count, predictor.kept = str(path), 0, []
        if open(path).read() == "damaged":
            raise ArtifactError(path, "is damaged")
        return predictor

    def reset(self, *, stride, ttt_cfg=None, n_chunks=1):
        self.behavior = ttt_cfg and ttt_cfg.behavior
        if self.behavior == "reset":
            raise RuntimeError("can not reset")

    def score(self, prefix, chunk, positions=None):
        zeros = np.zeros(len(chunk), np.float32)
        return getattr(self, self.behavior or "compliant")(prefix, chunk, positions, zeros)

    def compliant(self, prefix, chunk, positions, zeros):
        nll = zeros + THREE
        return nll if positions is None else (nll, np.full((len(positions), 5), -1.5))

    def counts(self, prefix, chunk, positions, zeros):
        self.count += 1
        return zeros + self.count

    def keeps_globally(self, prefix, chunk, positions, zeros):
        SEEN.append(int(chunk[0]))
        return zeros

    def keeps_in_its_class(self, prefix, chunk, positions, zeros):
        ScriptedPredictor.calls += 1
        return zeros

    def probe_seed(self, prefix, chunk, positions, zeros):
        return zeros + ("GOLF_PROBE_SEED" in os.environ)

    def base(self, prefix, chunk, positions, zeros):
        """The largest token within reach."""
        array = prefix
        while getattr(array, "base", None) is not None:
            array = np.asarray(array.base)
        return zeros + array.max()

    def keeps(self, prefix, chunk, positions, zeros):
        self.kept += [prefix, chunk]
        return zeros + max(tokens.max() for tokens in self.kept)

    def writes_prefix(self, prefix, chunk, positions, zeros):
        prefix[0] = 3

    def writes_chunk(self, prefix, chunk, positions, zeros):
        chunk[0] = 9
        return zeros

    def raises(self, prefix, chunk, positions, zeros):
        raise KeyError("no\\nsuch thing in " + self.path + " or " + __file__)

    def exits(self, prefix, chunk, positions, zeros):
        sys.exit("enough")

    def sleeps(self, prefix, chunk, positions, zeros):
        time.sleep(60)

    def dies(self, prefix, chunk, positions, zeros):
        os._exit(0)

    def killed(self, prefix, chunk, positions, zeros):
        os.kill(os.getpid(), 9)

    def segfaults(self, prefix, chunk, positions, zeros):
        os.kill(os.getpid(), 11)

    def returns_none(self, prefix, chunk, positions, zeros):
        return None

    def returns_ints(self, prefix, chunk, positions, zeros):
        return zeros.astype(int)

    def returns_one_more(self, prefix, chunk, positions, zeros):
        return np.append(zeros, 0.0)

    def returns_flat_rows(self, prefix, chunk, positions, zeros):
        return zeros, np.zeros(5)

    def returns_empty_rows(self, prefix, chunk, positions, zeros):
        return zeros, np.zeros((len(positions), 0))

    def returns_nll_only(self, prefix, chunk, positions, zeros):
        return (zeros,)

    def prints(self, prefix, chunk, positions, zeros):
        print("3.5")
        return zeros

    def opens(self, prefix, chunk, positions, zeros):
        try:
            open("/nowhere/val.bin")
        except FileNotFoundError:
            return zeros

    def never_returns(self, prefix, chunk, positions, zeros):
        while True:
            time.sleep(0.01)

    def predict(self, prefix):
        return np.full(5, float(prefix[-1]))

    def update(self, scored_chunk):
        if self.behavior == "update":
            raise RuntimeError(scored_chunk.chain_hash)
        self.count += int(scored_chunk.tokens.sum()) + scored_chunk.index


class WronglyDeclared:
    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens):
        predictor = cls()
        predictor.disputed = "causal SLOT"
        return predictor
'''


@dataclass
class ScriptedTTTConfig:
    """A TTT config that names the method which answers ``score``."""

    behavior: str


def write_external_project(folder: Path) -> Path:
    """A predictor, a module that it imports and its artifact; also a damaged artifact and a module with bad syntax."""
    (folder / "mine").mkdir()
    (folder / "mine" / "predictor.py").write_text(_PREDICTOR_SOURCE)
    (folder / "helper.py").write_text("THREE = 3\n")
    (folder / "weights.txt").write_text("good")
    (folder / "bad.txt").write_text("damaged")
    (folder / "broken.py").write_text("def (:\n")
    return folder


def evaluate_settings(
    folder: Path, predictor: str = "mine.predictor:ScriptedPredictor", artifact: str = "weights.txt"
) -> SimpleNamespace:
    """The parts of an EvaluateConfig that a sandbox reads."""
    execution = {"device": "cpu", "attention": "sdpa", "compile": "off", "dtype": "float32"}
    return SimpleNamespace(predictor=predictor, artifact=str(folder / artifact), eval_batch_tokens=64, **execution)


def token_array(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def score_once(sandbox, behavior: str, positions=None):
    """One score of two tokens, in a session of its own."""
    with sandbox.session() as session:
        session.reset(stride=4, ttt_cfg=ScriptedTTTConfig(behavior))
        return session.score(token_array(1, 2), token_array(3, 4), positions)
