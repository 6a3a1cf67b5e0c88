"""A predictor with state of every kind."""

import collections
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch


class Slotted:
    __slots__ = ("inside", "unset")

    def __init__(self, inside):
        self.inside = inside


def make_predictor():
    """An object with state of every kind."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return SimpleNamespace(
        model=model,
        optimizer=optimizer,
        cache={("the", 3): [1, 2.0], 5: {"deep": np.arange(6.0)}},
        counter=3,
        count=np.int64(4),
        recent=collections.deque([1, 2, 3]),
        rng=np.random.default_rng(0),
        torch_rng=torch.Generator().manual_seed(1),
        raw=bytearray(b"abc"),
        names={"a", "b", "c"},
        slotted=Slotted(1),
        path=Path("model.golf"),
        half=torch.ones(3, dtype=torch.bfloat16),
        flag=torch.tensor(True),
        n_empty=torch.empty(0),
        lock=threading.Lock(),
        function=make_predictor,
        stepped=(i for i in range(3)),
    )
