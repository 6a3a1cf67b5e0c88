import numpy as np
import pytest
import torch

from golf.data.loader import TokenLoader
from golf.data.sampling.document_order import DocumentOrder
from golf.data.split_reader import TokenSplit

CONTEXT = 8
NOISE = np.random.default_rng(0).integers(0, 60000, 300)
TEXTS = [NOISE[:40], np.full(50, 7), np.tile([1, 2, 3], 20), NOISE[40:140], np.arange(30)]


def make_split(shard_tokens=90, listed=True) -> TokenSplit:
    tokens = np.concatenate(TEXTS).astype(np.uint16)
    shards = np.split(tokens, range(shard_tokens, len(tokens), shard_tokens))
    documents = [{"tokens": len(text)} for text in TEXTS] if listed else []
    return TokenSplit("train", 65536, 1, "00", len(tokens), 0, documents, shards)


def make_order(data_order, seed=3, listed=True) -> DocumentOrder:
    split = make_split(listed=listed)
    return DocumentOrder(split.shards, [row["tokens"] for row in split.documents], data_order, seed)


def read_stream(order: DocumentOrder, epoch=0) -> list[int]:
    """The reordered stream from its first window on."""
    starts, read = order.draw_epoch(epoch, CONTEXT, 1)
    rows = [read(start) for start in sorted(starts.tolist())]
    return [int(rows[0][0]), *(int(token) for row in rows for token in row[1:])]


@pytest.mark.parametrize(
    ("data_order", "expected"), [("compressible_first", [1, 2, 4, 3, 0]), ("compressible_last", [0, 3, 4, 2, 1])]
)
def test_documents_are_laid_out_by_what_zlib_leaves_of_them(data_order, expected):
    stream = np.concatenate([TEXTS[i] for i in expected]).tolist()
    assert read_stream(make_order(data_order)) == stream[: len(read_stream(make_order(data_order)))]
    starts, _ = make_order(data_order).draw_epoch(0, CONTEXT, 1)
    assert starts.tolist() == sorted(starts.tolist())


def test_documents_are_shuffled_whole_and_anew_each_epoch_by_the_seed():
    order = make_order("documents")
    streams = [read_stream(order, epoch) for epoch in (0, 1)]
    assert streams[0] != streams[1]
    assert read_stream(make_order("documents"), 0) == streams[0]
    assert read_stream(make_order("documents", seed=4), 0) != streams[0]
    for stream in streams:
        text = " ".join(map(str, stream))
        assert sum(" ".join(map(str, document.tolist())) in text for document in TEXTS) >= len(TEXTS) - 1


def test_a_split_without_listed_documents_is_ordered_by_shards():
    shards = make_split().shards
    first = read_stream(make_order("compressible_first", listed=False))[:10]
    assert first in [shard[:10].tolist() for shard in shards[1:]]


@pytest.mark.parametrize("data_order", ["documents", "compressible_first", "shuffled"])
@pytest.mark.parametrize("context_length", [4, CONTEXT])
def test_batches_do_not_depend_on_ranks_and_continue_at_a_position(data_order, context_length):
    settings = {"rows": 32 // context_length, "seed": 2, "data_order": data_order, "context_length": context_length}
    with TokenLoader(make_split(), **settings) as whole:
        batches = [next(whole) for _ in range(20)]
        position = whole.position
        following = next(whole)
    for rank in (0, 1):
        with TokenLoader(make_split(), **settings, rank=rank, world_size=2) as half:
            for x, y in batches:
                own_x, own_y = next(half)
                assert (own_x == x[rank::2]).all()
                assert (own_y == y[rank::2]).all()
    with TokenLoader(make_split(), **settings, position=position) as resumed:
        assert all((a == b).all() for a, b in zip(next(resumed), following, strict=True))


def test_another_context_length_keeps_the_position_and_the_tokens_of_a_batch():
    settings = {"seed": 2, "data_order": "documents"}
    with TokenLoader(make_split(), context_length=CONTEXT, rows=4, **settings) as batches:
        for _ in range(3):
            next(batches)
        batches.set_context_length(4)
        switched = [next(batches) for _ in range(3)]
    with TokenLoader(make_split(), context_length=4, rows=8, position=(0, 3), **settings) as fresh:
        assert all(torch.equal(a, b) for pair in switched for a, b in zip(pair, next(fresh), strict=True))
    assert [tuple(x.shape) for x, _ in switched] == [(8, 4)] * 3
