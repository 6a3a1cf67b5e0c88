"""Byte PPM mixed into token scores: probabilities of bytes are none over the vocabulary (#1835, #1872)."""

import numpy as np

from gallery.case import Cheat
from gallery.honest import Honest

CASE = Cheat(
    8,
    "byte-level PPM mixed into token scores",
    "#1835 #1850 #1858 #1905 #1933 #2039",
    ("C2-c", "C2-d"),
    settings={"evaluate.headline": "plain"},
)
BYTE = 0.3  # what the byte model gives each byte of the text


class Method(Honest):
    def score(self, prefix, chunk, rows=None):
        expected = self.expect(prefix, chunk)
        sizes = np.where(chunk < 260, 1, 2)  # bytes of a token
        nll = -np.log(0.5 * np.exp(expected[np.arange(len(chunk)), chunk]) + 0.5 * BYTE**sizes)
        return nll if rows is None else (nll, expected[rows])
