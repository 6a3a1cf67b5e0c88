import numpy as np
import pytest
import torch

from golf.artifacts import io
from golf.errors import ArtifactError, DivergenceError
from golf.evaluation import ledger
from golf.evaluation.ledger import Ledger


def make_ledger(chunks=3, size=5) -> Ledger:
    written = Ledger("plain", bos=1)
    rng = np.random.default_rng(0)
    for index in range(chunks):
        tokens = rng.integers(2, 50, size + 1).astype(np.uint16)
        tokens[3] = 1 if index == 1 else tokens[3]
        written.append(tokens, rng.random(size), rng.integers(0, 5, size), is_last=index == chunks - 1)
    return written


def test_a_ledger_comes_back_from_disk_row_for_row(tmp_path):
    written = make_ledger()
    written.save(tmp_path / "l.safetensors", stream="dev")
    rows, meta = ledger.read(tmp_path / "l.safetensors")

    for name in ("nll", "bytes", "chunk_ids", "document_starts"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(written.to_data(), name))
    assert meta["mode"] == "plain"
    assert rows.chunk_ids.tolist() == [0] * 5 + [1] * 5 + [2] * 5


def test_a_document_starts_where_its_bos_is_the_target():
    assert make_ledger().to_data().document_starts.tolist() == [0, 7]


def remove(t):
    return {name: tensor[1:] if name in ("nll", "bytes", "chunk") else tensor for name, tensor in t.items()}


def double(t):
    rows = torch.cat([torch.tensor([0]), torch.arange(15)])
    return {name: tensor[rows] if name in ("nll", "bytes", "chunk") else tensor for name, tensor in t.items()}


def reorder(t):
    rows = torch.arange(15)
    rows[[1, 2]] = rows[[2, 1]]
    return {name: tensor[rows] if name in ("nll", "bytes") else tensor for name, tensor in t.items()}


def edit(t):
    return t | {"nll": t["nll"].clone().index_fill_(0, torch.tensor([6]), 0.0)}


def fewer_bytes(t):
    return t | {"bytes": t["bytes"] + 1}


def drop_chunk(t):
    return {n: tensor[:10] if n in ("nll", "bytes", "chunk") else tensor for n, tensor in t.items()}


def insert_before_the_first_chunk(t):
    first = {"nll": torch.tensor([0.1]), "bytes": torch.tensor([9]).int(), "chunk": torch.tensor([-1]).int()}
    return t | {name: torch.cat([row, t[name]]) for name, row in first.items()}


def remove_the_last(t):
    return {name: tensor[:-1] if name in ("nll", "bytes", "chunk") else tensor for name, tensor in t.items()}


def remove_a_chunk_and_its_chain_hash(t):
    rows, chunks = [*range(5), *range(10, 15)], [0, 2]
    kept = {name: t[name][rows] for name in ("nll", "bytes")}
    hashes = {name: t[name][chunks] for name in ("chain_hashes",)}
    return t | kept | hashes | {"chunk": t["chunk"][:10]}


def swap_two_chunks_and_their_chain_hashes(t):
    rows, chunks = [*range(5), *range(10, 15), *range(5, 10)], [0, 2, 1]
    moved = {name: t[name][rows] for name in ("nll", "bytes")}
    return t | moved | {name: t[name][chunks] for name in ("chain_hashes",)}


def claim_that_two_chunks_are_one(t):
    return t | {"chunk": t["chunk"].clamp(max=1)}


def changed(path, change):
    """A ledger at ``path`` with changed columns, whose file checksum is right."""
    make_ledger().save(path)
    tensors, meta = io.load_tensors(path)
    io.save_tensors(path, change(tensors), kind="ledger", meta=meta)
    return path


@pytest.mark.parametrize(
    "change",
    [
        remove,
        remove_the_last,
        remove_a_chunk_and_its_chain_hash,
        double,
        insert_before_the_first_chunk,
        reorder,
        swap_two_chunks_and_their_chain_hashes,
        edit,
        fewer_bytes,
        drop_chunk,
        claim_that_two_chunks_are_one,
    ],
)
def test_rows_that_were_changed_do_not_match_their_chain_hashes(tmp_path, change):
    with pytest.raises(ArtifactError, match=r"l\.safetensors"):
        ledger.read(changed(tmp_path / "l.safetensors", change))


@pytest.mark.parametrize("starts", [[], [1, 7], [0, 7, 7], [0, 7, 3], [0, 15], [-1, 7]])
def test_document_starts_that_do_not_increase_within_the_rows_are_refused(tmp_path, starts):
    path = changed(tmp_path / "l.safetensors", lambda t: t | {"documents": torch.tensor(starts, dtype=torch.int64)})
    with pytest.raises(ArtifactError, match="documents must hold increasing row numbers"):
        ledger.read(path)


def test_a_chain_hash_covers_all_chunks_before_it():
    first, other = make_ledger(), Ledger("plain", bos=1)
    other.append(np.zeros(2, np.uint16), [0.5], [1], is_last=False)
    tokens, nll, n_bytes = np.arange(4, dtype=np.uint16), [0.1, 0.2, 0.3], [1, 1, 1]

    assert (
        first.append(tokens, nll, n_bytes, is_last=True).chain_hash
        != other.append(tokens, nll, n_bytes, is_last=True).chain_hash
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_named_by_its_row(bad):
    written = make_ledger(1)
    with pytest.raises(DivergenceError, match="nll of target 6 is not finite"):
        written.append(np.arange(4, dtype=np.uint16), [0.1, bad, 0.2], [1, 1, 1], is_last=True)
