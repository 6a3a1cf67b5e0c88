"""TTT that reports its last epoch: it learns from the chunk, then scores it, and keeps what it learned (#512, #548)."""

from gallery.bias import Biased, learned
from gallery.case import Cheat

CASE = Cheat(2, "multi-epoch TTT, last epoch reported", "#410 #512 #548 #568", ("C1-a", "C1-b", "C2-c", "C3-b"))


class Method(Biased):
    def score(self, prefix, chunk, rows=None):
        before = self.table[[prefix[-1], *chunk[:-1]]]
        self.bias = learned(self.bias, before, chunk)
        return super().score(prefix, chunk, rows)
