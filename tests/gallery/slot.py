"""SLOT: a bias fitted to the very targets that it is then scored on, chunk by chunk (#1084, #1229, #1329)."""

import numpy as np

from gallery.bias import learned
from gallery.case import Cheat
from gallery.honest import Honest, normalised

CASE = Cheat(3, "SLOT", "#1084 #1128 #1176 #1209 #1229 #1321 #1329", ("C1-a", "C1-b", "C2-c", "C2-d"))


class Method(Honest):
    def expect(self, prefix, chunk):
        expected = super().expect(prefix, chunk)
        return normalised(expected + learned(np.zeros(len(self.table)), expected, chunk))
