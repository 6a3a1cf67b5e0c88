"""Sharded Muon in the manner of ZeRO: reduce-scatter gradients to each matrix's owner, all-gather the updates.

A bank (the matrices of one size) travels as one buffer, in the precision of the run. PR #1493 instead sends fp32
gradients to all ranks, and then a buffer as long as all updates, zeros included (docs/references.md#sharded-muon).
"""

import math
from collections.abc import Callable

import torch
import torch.distributed as dist

from golf.distributed.context import DistContext

__all__ = ["ALL_GATHER_NAMES", "REDUCE_SCATTER_NAMES", "BankCollectives", "assign_owners", "resolve_collective"]

# torch's name for each collective, and its name before torch 2.13
REDUCE_SCATTER_NAMES = "reduce_scatter_single", "reduce_scatter_tensor"
ALL_GATHER_NAMES = "all_gather_single", "all_gather_into_tensor"


def assign_owners(banks: list[tuple[int, float]], world_size: int) -> list[list[int]]:
    """Return, for each bank of (number of matrices, cost of one), the rank that owns each matrix.

    Banks are assigned in order of falling cost, each matrix to the least loaded rank, with at most
    ceil(matrices / world_size) of a bank on one rank.
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
    """The collectives of one bank. A single rank gets back the tensors it passes in, uncopied.

    A step calls reduce_scatter_async, wait_gradients, all_gather_async and wait_updates. With NCCL the device waits,
    never the host.
    """

    def __init__(self, matrices: list[torch.Tensor], owners: list[int], ctx: DistContext) -> None:
        """matrices: of one number of elements each; their shapes are those of gradients and updates.

        owners: for each matrix the rank that owns it, at most ceil(matrices / ranks) of them on one rank.
        """
        self._ctx = ctx
        self.owned = [i for i, owner in enumerate(owners) if owner == ctx.rank]  # indices into matrices
        self._local_tensors: list[torch.Tensor] = []  # what a single rank passes on
        self._work: dist.Work | None = None
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
        self._full_buffer, self._shard_buffer = full_buffer.flatten(0, 1), shard_buffer

    def reduce_scatter_async(self, gradients: list[torch.Tensor]) -> None:
        """Start sending the gradients of all matrices; each rank will receive the sums of its own.

        gradients: one for each matrix, of its shape, on every rank. They are sent in the context's dtype.
        """
        if self._ctx.world_size == 1:
            self._local_tensors = gradients
            return
        torch._foreach_copy_(self._slots, gradients)
        self._work = resolve_collective(REDUCE_SCATTER_NAMES)(self._shard_buffer, self._full_buffer, async_op=True)

    def wait_gradients(self) -> list[torch.Tensor]:
        """Return the summed gradients of this rank's matrices, in the order of ``owned``; valid until the gather.

        Each has its matrix's shape and the context's dtype; a single rank gets the tensors it passed in. Raises
        AssertionError when no reduction was started.
        """
        if self._ctx.world_size == 1:
            return self._local_tensors
        self._wait()
        return self._owned_slots

    def all_gather_async(self, updates: list[torch.Tensor]) -> None:
        """Start sending the updates of this rank's matrices to all ranks.

        updates: in the order of ``owned``, each of its matrix's shape. They are sent in the context's dtype.
        """
        if self._ctx.world_size == 1:
            self._local_tensors = updates
            return
        if updates:  # a rank may own no matrix of this bank
            torch._foreach_copy_(self._owned_slots, updates)
        self._work = resolve_collective(ALL_GATHER_NAMES)(self._full_buffer, self._shard_buffer, async_op=True)

    def wait_updates(self) -> list[torch.Tensor]:
        """Return the updates of all matrices, in their order, valid until the next reduce_scatter_async.

        Each has its matrix's shape and the context's dtype; a single rank gets the tensors it passed in. Raises
        AssertionError when no gather was started.
        """
        if self._ctx.world_size == 1:
            updates, self._local_tensors = self._local_tensors, []
            return updates
        self._wait()
        return self._slots

    def _wait(self) -> None:
        assert self._work is not None, "a collective must be started before it is awaited"
        self._work.wait()


def resolve_collective(names: tuple[str, ...]) -> Callable[..., dist.Work]:
    """Return the first of these functions that this version of torch has. Raises StopIteration if it has none."""
    return next(getattr(dist, name) for name in names if hasattr(dist, name))
