"""Somebody else's predictor, whose ``score`` behaves as its TTT config says. Tests copy it into a project."""

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from helper import THREE

from golf.errors import ArtifactError

SEEN = []


class ScriptedPredictor:
    calls = 0
    documents = "independent"
    disputed: ClassVar[list] = ["causal SLOT"]

    @classmethod
    def open(cls, path, ctx, *, eval_batch_tokens):
        predictor = cls()
        predictor.path, predictor.count, predictor.kept = str(path), 0, []
        if Path(path).read_text() == "damaged":
            raise ArtifactError(path, "is damaged")
        return predictor

    def reset(self, *, stride, ttt_cfg=None, memory_cfg=None, n_chunks=1, order="stream"):
        self.behavior, self.memory_cfg = ttt_cfg and ttt_cfg.behavior, memory_cfg
        if self.behavior == "reset":
            raise RuntimeError("can not reset")

    def score(self, prefix, chunk):
        zeros = np.zeros(len(chunk), np.float32)
        return getattr(self, self.behavior or "compliant")(prefix, chunk, zeros)

    def compliant(self, prefix, chunk, zeros):
        return zeros + THREE

    def memory(self, prefix, chunk, zeros):
        return zeros + (self.memory_cfg.max_successors if self.memory_cfg else -1)

    def counts(self, prefix, chunk, zeros):
        self.count += 1
        return zeros + self.count

    def keeps_globally(self, prefix, chunk, zeros):
        SEEN.append(int(chunk[0]))
        return zeros

    def keeps_in_its_class(self, prefix, chunk, zeros):
        ScriptedPredictor.calls += 1
        return zeros

    def probe_seed(self, prefix, chunk, zeros):
        return zeros + ("GOLF_PROBE_SEED" in os.environ)

    def spin_count(self, prefix, chunk, zeros):
        return zeros + int(os.environ["GOMP_SPINCOUNT"])

    def secret(self, prefix, chunk, zeros):
        visible = os.environ.get("CLOUD_SECRET_KEY", "") + Path("/proc/self/environ").read_text()
        return zeros + ("hush" in visible)

    def reads_own_proc(self, prefix, chunk, zeros):
        return zeros + (not Path("/proc/self/status").read_text())

    def reads_parents_proc(self, prefix, chunk, zeros):
        parent = Path("/proc/self/status").read_text().partition("PPid:")[2].split()[0]
        return zeros + len(Path(f"/proc/{parent}/status").read_text())

    def nests_folders(self, prefix, chunk, zeros):
        """Nests folders too deep to remove by their paths."""
        folder = os.getcwd()
        for _ in range(4000):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(folder)
        return zeros

    def base(self, prefix, chunk, zeros):
        """The largest token within reach."""
        array = prefix
        while getattr(array, "base", None) is not None:
            array = np.asarray(array.base)
        return zeros + array.max()

    def keeps(self, prefix, chunk, zeros):
        self.kept += [prefix, chunk]
        return zeros + max(tokens.max() for tokens in self.kept)

    def writes_prefix(self, prefix, chunk, zeros):
        prefix[0] = 3

    def writes_chunk(self, prefix, chunk, zeros):
        chunk[0] = 9
        return zeros

    def raises(self, prefix, chunk, zeros):
        raise KeyError("no\nsuch thing in " + self.path + " or " + __file__)

    def exits(self, prefix, chunk, zeros):
        sys.exit("enough")

    def sleeps(self, prefix, chunk, zeros):
        time.sleep(60)

    def naps(self, prefix, chunk, zeros):
        time.sleep(0.5)
        return zeros

    def dies(self, prefix, chunk, zeros):
        os._exit(0)

    def killed(self, prefix, chunk, zeros):
        os.kill(os.getpid(), 9)

    def segfaults(self, prefix, chunk, zeros):
        os.kill(os.getpid(), 11)

    def returns_none(self, prefix, chunk, zeros):
        return None

    def returns_ints(self, prefix, chunk, zeros):
        return zeros.astype(int)

    def returns_one_more(self, prefix, chunk, zeros):
        return np.append(zeros, 0.0)

    def prints(self, prefix, chunk, zeros):
        print("3.5")
        return zeros

    def floods(self, prefix, chunk, zeros):
        for _ in range(1 << 9):
            os.write(2, b"\x1b[31m no end\n" * (1 << 12))
        return zeros

    def says_why_it_dies(self, prefix, chunk, zeros):
        print("first word\n" * 99, "out of luck\n\x1b[2J", sep="")
        print("last word", file=sys.stderr)
        os._exit(4)

    def marks_streams(self, prefix, chunk, zeros):
        """Whether a mark was found on a stream, which is then left there."""
        marks = [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND for fd in range(3)]
        for fd in range(3):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
        return zeros + any(marks)

    def opens(self, prefix, chunk, zeros):
        try:
            Path("/nowhere/val.bin").read_bytes()
        except FileNotFoundError:
            return zeros

    def never_returns(self, prefix, chunk, zeros):
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
