"""Matrices dealt to the ranks: each gets the summed gradients of its own, and hands their updates to all.

A bank (matrices of one size) travels as one buffer, in bf16 where the run computes in it, fp32 else. PR #1493 sends
fp32 gradients to all ranks, and then a buffer as long as all updates, zeros included (record-stack 5.1, item 8).
"""

import math
from collections.abc import Callable

import torch
import torch.distributed as dist

from golf.ground.runtime import Runtime

SCATTER = "reduce_scatter_single", "reduce_scatter_tensor"  # what torch calls it, and called it before 2.13
GATHER = "all_gather_single", "all_gather_into_tensor"


def dealt(banks: list[tuple[int, float]], ranks: int) -> list[list[int]]:
    """For each bank of (matrices, cost of one): the rank that owns each matrix.

    The dearest bank goes first and each matrix to the rank with the least to do, at most ceil(matrices / ranks) a rank.
    """
    load = [0.0] * ranks
    owners: list[list[int]] = [[] for _ in banks]
    for bank in sorted(range(len(banks)), key=lambda b: -banks[b][1]):
        matrices, cost = banks[bank]
        room = [math.ceil(matrices / ranks)] * ranks
        for _ in range(matrices):
            rank = min((r for r in range(ranks) if room[r]), key=lambda r: load[r])
            owners[bank].append(rank)
            load[rank] += cost
            room[rank] -= 1
    return owners


class Exchange:
    """One bank's way between ranks. On one rank nothing is copied: what goes in comes out.

    matrices: of one number of elements each; owners: the rank of each. A step calls scatter, mine, gather and all.
    Waiting is the device's, never the host's, where the backend is NCCL.
    """

    def __init__(self, matrices: list[torch.Tensor], owners: list[int], here: Runtime):
        self.here, self.matrices = here, matrices
        self.own = [i for i, owner in enumerate(owners) if owner == here.rank]  # indices into matrices
        if here.ranks == 1:
            return
        each = math.ceil(len(matrices) / here.ranks)
        whole = torch.zeros(here.ranks, each, matrices[0].numel(), dtype=here.dtype, device=here.device)
        part = torch.zeros_like(whole[0])  # slots without a matrix stay zero
        ranked = [[i for i, owner in enumerate(owners) if owner == rank] for rank in range(here.ranks)]
        slots = {i: whole[r, s] for r, indices in enumerate(ranked) for s, i in enumerate(indices)}
        self.slots = [slots[i].view_as(matrix) for i, matrix in enumerate(matrices)]
        self.places = [part[s].view_as(matrices[i]) for s, i in enumerate(self.own)]
        self.whole, self.part, self.work = whole.flatten(0, 1), part, None

    def scatter(self, gradients: list[torch.Tensor]) -> None:
        """Send off the gradients of all matrices; each rank will get the sums of its own."""
        if self.here.ranks == 1:
            self.shard = gradients
            return
        torch._foreach_copy_(self.slots, gradients)
        self.work = known(SCATTER)(self.part, self.whole, async_op=True)

    def mine(self) -> list[torch.Tensor]:
        """The summed gradients of this rank's matrices, in the order of ``own``, valid until gather."""
        if self.here.ranks == 1:
            return self.shard
        self.work.wait()
        return self.places

    def gather(self, updates: list[torch.Tensor]) -> None:
        """Send off the updates of this rank's matrices."""
        if self.here.ranks == 1:
            self.shard = updates
            return
        if updates:  # a rank may own no matrix of this bank
            torch._foreach_copy_(self.places, updates)
        self.work = known(GATHER)(self.whole, self.part, async_op=True)

    def all(self) -> list[torch.Tensor]:
        """The updates of all matrices, in their order, valid until the next scatter."""
        if self.here.ranks == 1:
            updates, self.shard = self.shard, None
            return updates
        self.work.wait()
        return self.slots


def known(names: tuple[str, ...]) -> Callable[..., dist.Work]:
    """The first of these calls that this torch has."""
    return next(getattr(dist, name) for name in names if hasattr(dist, name))
