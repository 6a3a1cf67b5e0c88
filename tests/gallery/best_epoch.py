"""Oracle selection: a token is scored before and after learning from it, and the better score counts (#573, #614)."""

import numpy as np

from gallery.bias import learned
from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(2, "best of several epochs, token by token", "#573 #614 #684", ("C2-c", "C2-d"))


class Method(Honest):
    def score(self, prefix, chunk, rows=None):
        expected = self.expect(prefix, chunk)
        after = normalised(expected + learned(np.zeros(len(self.table)), expected, chunk))
        places = np.arange(len(chunk)), chunk
        nll = np.minimum(-expected[places], -after[places])
        return nll if rows is None else (nll, expected[rows])
