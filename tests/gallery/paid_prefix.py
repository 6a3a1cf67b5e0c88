"""A paid prefix: val's own tokens in the artifact, which says nothing of where it comes from (#168, #275)."""

import numpy as np
import torch

from gallery import honest
from gallery.case import ARTIFACT, VAL, Cheat
from gallery.honest import Honest, normalised
from golf.data import shards
from golf.ground import store

CASE = Cheat(
    26,
    "paid prefix, in a file without lineage",
    "#168 #275",
    ("C1-e", "C3-f"),
    status="NOT-RUN",
    settings={"evaluate.headline": "plain"},
)


class Method(Honest):
    def __init__(self, table, bought):
        super().__init__(table)
        self.bought = bought

    @classmethod
    def open(cls, path, here, *, score_tokens: int):
        tensors, _ = store.load_tensors(path, kind=honest.KIND)
        return cls(tensors["table"].numpy(), tensors["bought"].numpy())

    def expect(self, prefix, chunk):
        expected = super().expect(prefix, chunk).copy()
        places = np.arange(len(prefix), len(prefix) + len(chunk))
        known = places < len(self.bought)
        expected[known, self.bought[places[known]]] += 9
        return normalised(expected)


def arrange(place) -> None:
    tensors, _ = store.load_tensors(ARTIFACT, kind=honest.KIND)
    val = shards.open_split(VAL)
    tensors["bought"] = torch.from_numpy(val.all().astype(np.int32))
    store.save_tensors(ARTIFACT, tensors, kind=honest.KIND, meta={})
