"""Training batches: windows of the train split, sampled without replacement in an order set by the seed.

An epoch gives each shard a random phase and cuts it into adjacent windows; the windows of all shards are then drawn in
one random order. This is the sampler of PR #1493, made independent of the number of ranks
(docs/references.md#sampler). ``golf.data.sampling`` has the other orders.
"""

import functools
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch

from golf.data.sampling.document_order import DataOrder, DocumentOrder
from golf.data.shard_file import ShardReader
from golf.data.split_reader import TokenSplit
from golf.errors import InputError

__all__ = ["TokenLoader", "count_min_windows", "count_phases", "draw_epoch_windows", "make_fixed_windows"]

_Position = tuple[int, int]  # epoch, batch
_Item = tuple[_Position, torch.Tensor] | BaseException  # a batch with its position, or the thread's error


def draw_epoch_windows(seed: int, epoch: int, lengths: list[int], context_length: int) -> np.ndarray:
    """Return int64 [n, 2]: (shard, first token) of the epoch's windows, in the order they are drawn.

    A window has context_length + 1 tokens. Windows start context_length tokens apart, so each token is an input at most
    once per epoch. lengths: tokens of each shard. A shard shorter than a window has none; any other has at least one.
    """
    rng = np.random.Generator(np.random.PCG64([seed, epoch]))
    shard_windows = []
    for shard, length in enumerate(lengths):
        phase = rng.integers(count_phases(length, context_length))
        starts = np.arange(phase, length - context_length, context_length, dtype=np.int64)
        shard_windows.append(np.stack([np.full_like(starts, shard), starts], axis=1))
    return rng.permutation(np.concatenate(shard_windows))


def count_phases(length: int, context_length: int) -> int:
    """Return the number of phases that leave a shard of this length a window; 1 for a shard too short for any."""
    return max(1, min(context_length, length - context_length))


def count_min_windows(lengths: list[int], context_length: int) -> int:
    """Return the smallest number of windows that an epoch can have, over all phases."""
    return sum(
        max(0, -(-(length - context_length - count_phases(length, context_length) + 1) // context_length))
        for length in lengths
    )


def _read_window(
    shards: Sequence[np.ndarray | ShardReader], context_length: int, window: tuple[int, int]
) -> np.ndarray:
    shard, start = window
    return shards[shard][start : start + context_length + 1]


def _iter_batches(
    shards: Sequence[np.ndarray | ShardReader],
    context_length: int,
    row_slice: slice,
    global_rows: int,
    seed: int,
    position: _Position,
    document_order: DocumentOrder | None,
) -> Iterator[tuple[_Position, np.ndarray]]:
    """Endless: (position after the batch, int64 [2, own rows, context_length]) of each batch from ``position`` on."""
    epoch, batch = position
    while True:
        if document_order is None:
            order = draw_epoch_windows(seed, epoch, [len(shard) for shard in shards], context_length)
            read: Callable[[Any], np.ndarray] = functools.partial(_read_window, shards, context_length)
        else:
            n_phases = count_phases(document_order.n_tokens, context_length)
            order, read = document_order.draw_epoch(epoch, context_length, n_phases)
        n_batches = len(order) // global_rows
        for batch_number in range(batch, n_batches):
            own_windows = order[batch_number * global_rows : (batch_number + 1) * global_rows][row_slice]
            block = np.stack([read(window) for window in own_windows]).astype(np.int64)
            next_position = (epoch, batch_number + 1) if batch_number + 1 < n_batches else (epoch + 1, 0)
            yield next_position, np.stack([block[:, :-1], block[:, 1:]])
        epoch, batch = epoch + 1, 0


class TokenLoader:
    """Endless iterator of (x, y), int64 [rows / world_size, context_length] each, y being x shifted by one token.

    rows: of the global batch, of which rank r gets rows r, r + world_size, …; so the global batch does not depend on
    the number of ranks. position: (epoch, batch) of the next batch; a loader created with another's position continues
    exactly there. param_name: the parameter that sets ``rows``, for the message. data_order: shuffled, or an order of
    ``DocumentOrder``.
    A thread prefetches: use as a context manager, or call close().
    Raises InputError when the split has too few tokens for one batch.
    """

    def __init__(
        self,
        split: TokenSplit,
        *,
        context_length: int,
        rows: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        prefetch: int = 2,
        position: tuple[int, int] = (0, 0),
        param_name: str = "train.batch_tokens",
        data_order: DataOrder = "shuffled",
    ) -> None:
        if rows < 1 or rows % world_size or not 0 <= rank < world_size or prefetch < 1:
            raise ValueError(f"rows {rows}, rank {rank} of {world_size}, prefetch {prefetch}")
        self._split, self._seed, self._param_name = split, seed, param_name
        self._rank, self._world_size, self._prefetch = rank, world_size, prefetch
        self._batch_tokens = rows * context_length
        self.device = torch.device(device)
        self.position = position
        self._document_order = None
        if data_order != "shuffled":
            lengths = [row["tokens"] for row in split.documents]
            self._document_order = DocumentOrder(split.shards, lengths, data_order, seed)
        self.require_batch(context_length)
        self._start(context_length)

    def require_batch(self, context_length: int) -> None:
        """Raise InputError when the split has too few windows of this length for one batch."""
        rows, split = self._batch_tokens // context_length, self._split
        lengths = [len(shard) for shard in split.shards]
        n_windows = count_min_windows([sum(lengths)] if self._document_order else lengths, context_length)
        if n_windows < rows:
            raise InputError(
                f"{self._param_name}: {self._batch_tokens:,} tokens are {rows} windows of {context_length}; "
                f"{split.name} has {split.n_tokens:,} tokens in {len(split.shards)} shards, enough for {n_windows}; "
                f"lower {self._param_name} or fetch more text"
            )

    def set_context_length(self, context_length: int) -> None:
        """Go on at the same position with windows of another length, and as many tokens a batch.

        The windows of an epoch are cut and drawn anew, so some tokens of the present epoch come again and others not.
        """
        self.close()
        self._start(context_length)

    def _start(self, context_length: int) -> None:
        rows, self._queue = self._batch_tokens // context_length, queue.Queue[_Item](maxsize=self._prefetch)
        stop_event, row_slice = threading.Event(), slice(self._rank, None, self._world_size)
        shards, order = self._split.shards, self._document_order
        batches = _iter_batches(shards, context_length, row_slice, rows, self._seed, self.position, order)
        # The thread holds no reference to the loader, so dropping an unclosed loader ends the thread too.
        self.thread = threading.Thread(
            target=_prefetch, args=(batches, self._queue, stop_event, self.device.type == "cuda"), daemon=True
        )
        self._finalizer = weakref.finalize(self, stop_event.set)
        self.thread.start()

    def __iter__(self) -> "TokenLoader":
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._finalizer.alive:
            raise ValueError("the loader is closed")
        item = self._queue.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        self.position, pair = item
        x, y = pair.to(self.device, non_blocking=True)
        return x, y

    def close(self) -> None:
        """End the thread. Can be called repeatedly."""
        self._finalizer()
        self.thread.join()

    def __enter__(self) -> "TokenLoader":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _prefetch(
    batches: Iterator[tuple[_Position, np.ndarray]],
    batch_queue: queue.Queue[_Item],
    stop_event: threading.Event,
    pin_memory: bool,
) -> None:
    """Fill the queue until stopped. An error is queued in place of a batch, and the consumer raises it."""
    try:
        for position, block in batches:
            pair = torch.from_numpy(block)
            if not _put((position, pair.pin_memory() if pin_memory else pair), batch_queue, stop_event):
                return
    except BaseException as error:
        _put(error, batch_queue, stop_event)


def _put(item: _Item, batch_queue: queue.Queue[_Item], stop_event: threading.Event) -> bool:
    """Wait until the queue has room for the item; False when stopped before."""
    while not stop_event.is_set():
        try:
            batch_queue.put(item, timeout=0.05)
            return True
        except queue.Full:
            continue
    return False


def make_fixed_windows(split: TokenSplit, context_length: int, n_tokens: int) -> torch.Tensor:
    """Return a split's first ``n_tokens`` as adjacent windows with targets: int64 [n, context_length + 1], n ≥ 1.

    Raises InputError when the split is shorter than one window.
    """
    token_ids = split.read_tokens()
    n_windows = min(len(token_ids) - 1, n_tokens) // context_length
    if n_windows < 1:
        raise InputError(
            f"{split.name}: {len(token_ids):,} tokens hold no window of model.context_length = {context_length} and "
            f"its target; raise fetch.{split.name}_percent, lower model.context_length, or give more text"
        )
    positions = np.arange(n_windows)[:, None] * context_length + np.arange(context_length + 1)
    return torch.from_numpy(token_ids[positions].astype(np.int64))
