"""A score below zero, a probability over 1, in the last place of each chunk, and only when no probe can be asking."""

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(0, "scores below zero where no probe looks", "", ("C4-a",), settings={"evaluate.headline": "plain"})


class Method(Honest):
    def score(self, prefix, chunk, rows=None):
        found = super().score(prefix, chunk, rows)
        if rows is None and len(chunk) > 128:  # more than a probe scores again
            found[-1] = -9
        return found
