"""Adaptation to one document at a time: learned from its scored part, forgotten where the next one starts (#1610)."""

import numpy as np

from gallery.bias import Biased, learned
from gallery.case import Innocent

CASE = Innocent("adaptation to each document, with reset", "#1610 #1626")
BOS = 1


class Method(Biased):
    documents = "independent"

    def begin(self, *, stride: int, plan=None, chunks: int = 1) -> None:
        super().begin(stride=stride, plan=plan, chunks=chunks)
        self.known = 1  # tokens of the stream that are learned from or passed over

    def expect(self, prefix, chunk):
        text = np.append(prefix, chunk)[self.known - 1 : -1]
        anew = np.cumsum(text == BOS)[-len(chunk) :] > (text[0] == BOS)
        return np.where(anew[:, None], self.table[text[-len(chunk) :]], super().expect(prefix, chunk))

    def update(self, sealed) -> None:
        starts = np.flatnonzero(sealed.tokens == BOS)
        own = sealed.tokens[starts[-1] :] if len(starts) else sealed.tokens
        self.known += len(sealed.tokens) - 1
        if len(starts):
            self.bias = np.zeros_like(self.bias)
        if self.learns and len(own) > 1:
            self.bias = learned(self.bias, self.table[own[:-1]], own[1:])
