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

from golf.data.shards import Split
from golf.ground.errors import BadInput


def windows(seed: int, epoch: int, lengths: list[int], context: int) -> np.ndarray:
    """int64 [n, 2]: (shard, first token) of the epoch's windows of context + 1 tokens, in the order they are drawn.

    Windows start ``context`` tokens apart, so each token is an input at most once an epoch. A shard shorter than a
    window has none; any other has at least one, whatever its phase.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    parts = []
    for shard, length in enumerate(lengths):
        phase = random.integers(phases(length, context))
        starts = np.arange(phase, length - context, context, dtype=np.int64)
        parts.append(np.stack([np.full_like(starts, shard), starts], axis=1))
    return random.permutation(np.concatenate(parts))


def phases(length: int, context: int) -> int:
    """Number of phases that leave a shard of this length its first window; 1 for a shard without any."""
    return max(1, min(context, length - context))


def fewest_windows(lengths: list[int], context: int) -> int:
    """Windows that an epoch has at the least, whatever the phases."""
    return sum(max(0, -(-(length - context - phases(length, context) + 1) // context)) for length in lengths)


def batches(
    shards: list[np.ndarray], context: int, rows: slice, global_rows: int, seed: int, position: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Without end: (position after it, int64 [2, own rows, context]) of each batch from ``position`` on."""
    epoch, batch = position
    while True:
        order = windows(seed, epoch, [len(shard) for shard in shards], context)
        count = len(order) // global_rows
        for number in range(batch, count):
            own = order[number * global_rows : (number + 1) * global_rows][rows]
            block = np.stack([shards[shard][start : start + context + 1] for shard, start in own]).astype(np.int64)
            after = (epoch, number + 1) if number + 1 < count else (epoch + 1, 0)
            yield after, np.stack([block[:, :-1], block[:, 1:]])
        epoch, batch = epoch + 1, 0


class Loader:
    """An endless iterator of (x, y), int64 [rows // ranks, context] each, y one token after x.

    rows: of the global batch, of which rank r has rows r, r + ranks, …; so the batch is the same for any number of
    ranks. position: (epoch, batch) of the next batch; a Loader made with it goes on exactly there. key: the parameter
    that asks for so many rows, for the message. Use as a context manager, or close(): a thread reads ahead.
    Raises BadInput when the split has too few tokens for one batch.
    """

    def __init__(
        self,
        split: Split,
        *,
        context: int,
        rows: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        device="cpu",
        prefetch: int = 2,
        position: tuple[int, int] = (0, 0),
        key: str = "train.batch_tokens",
    ):
        if rows < 1 or rows % ranks or not 0 <= rank < ranks or prefetch < 1:
            raise ValueError(f"rows {rows}, rank {rank} of {ranks}, prefetch {prefetch}")
        least = fewest_windows([len(shard) for shard in split.shards], context)
        if least < rows:
            raise BadInput(
                f"{key}: {rows * context:,} tokens are {rows} windows of {context}; {split.name} has {split.tokens:,} "
                f"tokens in {len(split.shards)} shards, enough for {least}; lower {key} or fetch more text"
            )
        self.device = torch.device(device)
        self.position = tuple(position)
        self.ready, stop = queue.Queue(maxsize=prefetch), threading.Event()
        source = batches(split.shards, context, slice(rank, None, ranks), rows, seed, self.position)
        # The thread holds no reference to the loader, so that one dropped unclosed ends its thread too.
        self.thread = threading.Thread(
            target=read_ahead, args=(source, self.ready, stop, self.device.type == "cuda"), daemon=True
        )
        self.end = weakref.finalize(self, stop.set)
        self.thread.start()

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.end.alive:
            raise ValueError("the loader is closed")
        item = self.ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        self.position, pair = item
        x, y = pair.to(self.device, non_blocking=True)
        return x, y

    def close(self) -> None:
        """End the thread. May be called twice."""
        self.end()
        self.thread.join()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read_ahead(source: Iterator, ready: queue.Queue, stop: threading.Event, pin: bool) -> None:
    """Fill the queue until stopped; an error takes the place of a batch and is raised by the consumer."""
    try:
        for position, block in source:
            pair = torch.from_numpy(block)
            if not hand_over((position, pair.pin_memory() if pin else pair), ready, stop):
                return
    except BaseException as error:
        hand_over(error, ready, stop)


def hand_over(item, ready: queue.Queue, stop: threading.Event) -> bool:
    """Put the item as soon as there is room; False when stopped before."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.05)
            return True
        except queue.Full:
            continue
    return False


def held_out(split: Split, context: int, tokens: int) -> torch.Tensor:
    """The first ``tokens`` of a split as windows with their targets: int64 [n, context + 1], n at least 1.

    Raises BadInput when the split is shorter than one window.
    """
    stream = split.all()
    count = min(len(stream) - 1, tokens) // context
    if count < 1:
        raise BadInput(
            f"{split.name}: {len(stream):,} tokens hold no window of model.context = {context} and its target; raise "
            f"fetch.{split.name}_percent, lower model.context, or give more text"
        )
    index = np.arange(count)[:, None] * context + np.arange(context + 1)
    return torch.from_numpy(stream[index].astype(np.int64))
