"""Arithmetic that rounds as the shape of the batch has it: noise far below a nat, as on a GPU."""

import numpy as np

from gallery.case import Innocent
from gallery.honest import Honest, normalised

CASE = Innocent("rounding that depends on the batch's shape")


class Method(Honest):
    def expect(self, prefix, chunk):
        noise = 1e-5 * np.sin(np.arange(len(self.table)) + len(chunk))
        return normalised(super().expect(prefix, chunk) + noise)
