"""Training batches: windows of the train split without replacement, in an order that the seed decides.

An epoch gives each shard a random phase and cuts it into windows that lie side by side; all windows of all shards are
then drawn in one random order (record-stack: the sampler of PR #1493, made independent of the number of ranks).
"""

import queue
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import torch

from golf.data.split_reader import TokenSplit
from golf.errors import InputError


def epoch_windows(seed: int, epoch: int, lengths: list[int], context_length: int) -> np.ndarray:
    """int64 [n, 2]: (shard, first token) of the epoch's windows of context + 1 tokens, in the order they are drawn.

    Windows start ``context`` tokens apart, so each token is an input at most once an epoch. A shard shorter than a
    window has none; any other has at least one, whatever its phase.
    """
    rng = np.random.Generator(np.random.PCG64([seed, epoch]))
    shard_windows = []
    for shard, length in enumerate(lengths):
        phase = rng.integers(count_phases(length, context_length))
        starts = np.arange(phase, length - context_length, context_length, dtype=np.int64)
        shard_windows.append(np.stack([np.full_like(starts, shard), starts], axis=1))
    return rng.permutation(np.concatenate(shard_windows))


def count_phases(length: int, context_length: int) -> int:
    """Number of phases that leave a shard of this length its first window; 1 for a shard without any."""
    return max(1, min(context_length, length - context_length))


def min_windows(lengths: list[int], context_length: int) -> int:
    """Windows that an epoch has at the least, whatever the phases."""
    return sum(
        max(0, -(-(length - context_length - count_phases(length, context_length) + 1) // context_length))
        for length in lengths
    )


def _iter_batches(
    shards: list[np.ndarray],
    context_length: int,
    row_slice: slice,
    global_rows: int,
    seed: int,
    position: tuple[int, int],
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Without end: (position after it, int64 [2, own rows, context]) of each batch from ``position`` on."""
    epoch, batch = position
    while True:
        order = epoch_windows(seed, epoch, [len(shard) for shard in shards], context_length)
        n_batches = len(order) // global_rows
        for batch_number in range(batch, n_batches):
            own_windows = order[batch_number * global_rows : (batch_number + 1) * global_rows][row_slice]
            block = np.stack(
                [shards[shard][start : start + context_length + 1] for shard, start in own_windows]
            ).astype(np.int64)
            next_position = (epoch, batch_number + 1) if batch_number + 1 < n_batches else (epoch + 1, 0)
            yield next_position, np.stack([block[:, :-1], block[:, 1:]])
        epoch, batch = epoch + 1, 0


class TokenLoader:
    """An endless iterator of (x, y), int64 [rows // ranks, context] each, y one token after x.

    rows: of the global batch, of which rank r has rows r, r + ranks, …; so the batch is the same for any number of
    ranks. position: (epoch, batch) of the next batch; a Loader made with it goes on exactly there. key: the parameter
    that asks for so many rows, for the message. Use as a context manager, or close(): a thread reads ahead.
    Raises BadInput when the split has too few tokens for one batch.
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
        device="cpu",
        prefetch: int = 2,
        position: tuple[int, int] = (0, 0),
        param_name: str = "train.batch_tokens",
    ):
        if rows < 1 or rows % world_size or not 0 <= rank < world_size or prefetch < 1:
            raise ValueError(f"rows {rows}, rank {rank} of {world_size}, prefetch {prefetch}")
        n_windows = min_windows([len(shard) for shard in split.shards], context_length)
        if n_windows < rows:
            raise InputError(
                f"{param_name}: {rows * context_length:,} tokens are {rows} windows of {context_length}; {split.name} has {split.tokens:,} "
                f"tokens in {len(split.shards)} shards, enough for {n_windows}; lower {param_name} or fetch more text"
            )
        self.device = torch.device(device)
        self.position = tuple(position)
        self._queue, stop_event = queue.Queue(maxsize=prefetch), threading.Event()
        batch_iter = _iter_batches(
            split.shards, context_length, slice(rank, None, world_size), rows, seed, self.position
        )
        # The thread holds no reference to the loader, so that one dropped unclosed ends its thread too.
        self.thread = threading.Thread(
            target=_prefetch, args=(batch_iter, self._queue, stop_event, self.device.type == "cuda"), daemon=True
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
        """End the thread. May be called twice."""
        self._finalizer()
        self.thread.join()

    def __enter__(self) -> "TokenLoader":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _prefetch(batch_iter: Iterator, batch_queue: queue.Queue, stop_event: threading.Event, pin_memory: bool) -> None:
    """Fill the queue until stopped; an error takes the place of a batch and is raised by the consumer."""
    try:
        for position, block in batch_iter:
            pair = torch.from_numpy(block)
            if not _put((position, pair.pin_memory() if pin_memory else pair), batch_queue, stop_event):
                return
    except BaseException as error:
        _put(error, batch_queue, stop_event)


def _put(item, batch_queue: queue.Queue, stop_event: threading.Event) -> bool:
    """Put the item as soon as there is room; False when stopped before."""
    while not stop_event.is_set():
        try:
            batch_queue.put(item, timeout=0.05)
            return True
        except queue.Full:
            continue
    return False


def make_eval_windows(split: TokenSplit, context_length: int, n_tokens: int) -> torch.Tensor:
    """The first ``tokens`` of a split as windows with their targets: int64 [n, context + 1], n at least 1.

    Raises BadInput when the split is shorter than one window.
    """
    token_ids = split.read_tokens()
    n_windows = min(len(token_ids) - 1, n_tokens) // context_length
    if n_windows < 1:
        raise InputError(
            f"{split.name}: {len(token_ids):,} tokens hold no window of model.context_length = {context_length} and its target; raise "
            f"fetch.{split.name}_percent, lower model.context_length, or give more text"
        )
    positions = np.arange(n_windows)[:, None] * context_length + np.arange(context_length + 1)
    return torch.from_numpy(token_ids[positions].astype(np.int64))
