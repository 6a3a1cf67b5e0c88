"""Matrices dealt to the ranks: each gets the summed gradients of its own, and hands their updates to all.

A bank (matrices of one size) travels as one buffer, in bf16 where the run computes in it, fp32 else. PR #1493 sends
fp32 gradients to all ranks, and then a buffer as long as all updates, zeros included (record-stack 5.1, item 8).
"""

import math
from collections.abc import Callable

import torch
import torch.distributed as dist

from golf.distributed.context import DistContext

REDUCE_SCATTER_NAMES = (
    "reduce_scatter_single",
    "reduce_scatter_tensor",
)  # what torch calls it, and called it before 2.13
ALL_GATHER_NAMES = "all_gather_single", "all_gather_into_tensor"


def assign_owners(banks: list[tuple[int, float]], world_size: int) -> list[list[int]]:
    """For each bank of (matrices, cost of one): the rank that owns each matrix.

    The dearest bank goes first and each matrix to the rank with the least to do, at most ceil(matrices / ranks) a rank.
    """
    load = [0.0] * world_size
    owners: list[list[int]] = [[] for _ in banks]
    for bank in sorted(range(len(banks)), key=lambda b: -banks[b][1]):
        n_matrices, cost = banks[bank]
        free_slots = [math.ceil(n_matrices / world_size)] * world_size
        for _ in range(n_matrices):
            rank = min((r for r in range(world_size) if free_slots[r]), key=lambda r: load[r])
            owners[bank].append(rank)
            load[rank] += cost
            free_slots[rank] -= 1
    return owners


class BankCollectives:
    """One bank's way between ranks. On one rank nothing is copied: what goes in comes out.

    matrices: of one number of elements each; owners: the rank of each. A step calls scatter, mine, gather and all.
    Waiting is the device's, never the host's, where the backend is NCCL.
    """

    def __init__(self, matrices: list[torch.Tensor], owners: list[int], ctx: DistContext):
        self._ctx, self._matrices = ctx, matrices
        self.owned = [i for i, owner in enumerate(owners) if owner == ctx.rank]  # indices into matrices
        if ctx.world_size == 1:
            return
        slots_per_rank = math.ceil(len(matrices) / ctx.world_size)
        full_buffer = torch.zeros(
            ctx.world_size, slots_per_rank, matrices[0].numel(), dtype=ctx.dtype, device=ctx.device
        )
        shard_buffer = torch.zeros_like(full_buffer[0])  # slots without a matrix stay zero
        indices_by_rank = [[i for i, owner in enumerate(owners) if owner == rank] for rank in range(ctx.world_size)]
        slots = {i: full_buffer[r, s] for r, indices in enumerate(indices_by_rank) for s, i in enumerate(indices)}
        self._slots = [slots[i].view_as(matrix) for i, matrix in enumerate(matrices)]
        self._owned_slots = [shard_buffer[s].view_as(matrices[i]) for s, i in enumerate(self.owned)]
        self._full_buffer, self._shard_buffer, self._work = full_buffer.flatten(0, 1), shard_buffer, None

    def reduce_scatter_async(self, gradients: list[torch.Tensor]) -> None:
        """Send off the gradients of all matrices; each rank will get the sums of its own."""
        if self._ctx.world_size == 1:
            self._local_tensors = gradients
            return
        torch._foreach_copy_(self._slots, gradients)
        self._work = resolve_collective(REDUCE_SCATTER_NAMES)(self._shard_buffer, self._full_buffer, async_op=True)

    def wait_gradients(self) -> list[torch.Tensor]:
        """The summed gradients of this rank's matrices, in the order of ``own``, valid until gather."""
        if self._ctx.world_size == 1:
            return self._local_tensors
        self._work.wait()
        return self._owned_slots

    def all_gather_async(self, updates: list[torch.Tensor]) -> None:
        """Send off the updates of this rank's matrices."""
        if self._ctx.world_size == 1:
            self._local_tensors = updates
            return
        if updates:  # a rank may own no matrix of this bank
            torch._foreach_copy_(self._owned_slots, updates)
        self._work = resolve_collective(ALL_GATHER_NAMES)(self._full_buffer, self._shard_buffer, async_op=True)

    def wait_updates(self) -> list[torch.Tensor]:
        """The updates of all matrices, in their order, valid until the next scatter."""
        if self._ctx.world_size == 1:
            updates, self._local_tensors = self._local_tensors, None
            return updates
        self._work.wait()
        return self._slots


def resolve_collective(names: tuple[str, ...]) -> Callable[..., dist.Work]:
    """The first of these calls that this torch has."""
    return next(getattr(dist, name) for name in names if hasattr(dist, name))
