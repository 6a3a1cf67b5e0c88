"""golf/data/shard_file.py"""

import gc
import hashlib
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data.shard_file import HEADER_BYTES, read_shard, write_shard
from golf.errors import ArtifactError

TOKENS = np.random.default_rng(0).integers(0, 65_536, size=5_000).astype(np.uint16)


@pytest.fixture
def path(tmp_path):
    write_shard(tmp_path / "train_000000.bin", TOKENS)
    return tmp_path / "train_000000.bin"


def test_a_shard_is_in_the_challenges_format_to_the_byte(tmp_path):
    sha256 = write_shard(tmp_path / "x.bin", np.array([1, 513], dtype=np.uint16))
    data = struct.pack("<3i", 20240520, 1, 2) + bytes(1012) + b"\x01\x00\x01\x02"
    assert (tmp_path / "x.bin").read_bytes() == data
    assert sha256 == hashlib.sha256(data).hexdigest()


BOUND = st.none() | st.integers(-6_000, 6_000)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "a.bin"
    write_shard(path, TOKENS)
    return read_shard(path)


@given(BOUND, BOUND)
def test_a_slice_equals_the_slice_of_an_array(shard, start, stop):
    piece = shard[start:stop]
    assert piece.dtype == np.uint16
    assert np.array_equal(piece, TOKENS[start:stop])


@given(st.integers(-5_000, 4_999))
def test_an_index_equals_the_index_of_an_array(shard, index):
    assert shard[index] == TOKENS[index]


def test_a_shard_converts_to_an_array(shard):
    assert len(shard) == 5_000
    assert np.array_equal(np.asarray(shard), TOKENS)
    assert np.array_equal(np.concatenate([shard, shard]), np.concatenate([TOKENS, TOKENS]))
    assert np.asarray(shard, dtype=np.int64).dtype == np.int64
    with pytest.raises(IndexError):
        shard[5_000]
    with pytest.raises(ValueError, match="step 1, got 2"):
        shard[::2]


def test_a_file_truncated_while_open_raises_an_error_that_names_it(path):
    shard = read_shard(path)
    os.truncate(path, HEADER_BYTES + 2 * 4_000)
    assert np.array_equal(shard[:4_000], TOKENS[:4_000])
    message = r"train_000000\.bin: was truncated while in use: 11,024 bytes when opened, now 9,024; make it again"
    for read in (lambda: shard[3_990:4_001], lambda: shard[4_999], lambda: np.asarray(shard)):
        with pytest.raises(ArtifactError, match=message):
            read()


def test_a_file_that_is_replaced_on_disk_is_still_read_from_the_open_one(path):
    shard = read_shard(path)
    write_shard(path, TOKENS[:10])
    assert np.array_equal(shard[:], TOKENS)


def test_dropping_a_shard_closes_its_file(path):
    shard = read_shard(path)
    fd = shard.fd
    os.fstat(fd)
    del shard
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
