"""golf/data/shard_file.py"""

import gc
import os

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


BOUND = st.none() | st.integers(-6_000, 6_000)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "a.bin"
    write_shard(path, TOKENS)
    return read_shard(path)


@given(BOUND, BOUND)
def test_a_slice_is_what_the_same_slice_of_an_array_is(shard, start, stop):
    found = shard[start:stop]
    assert found.dtype == np.uint16
    assert np.array_equal(found, TOKENS[start:stop])


@given(st.integers(-5_000, 4_999))
def test_one_number_is_read_as_from_an_array(shard, index):
    assert shard[index] == TOKENS[index]


def test_a_shard_behaves_as_an_array_where_one_is_asked_for(shard):
    assert len(shard) == 5_000
    assert np.array_equal(np.asarray(shard), TOKENS)
    assert np.array_equal(np.concatenate([shard, shard]), np.concatenate([TOKENS, TOKENS]))
    assert np.asarray(shard, dtype=np.int64).dtype == np.int64
    with pytest.raises(IndexError):
        shard[5_000]
    with pytest.raises(ValueError, match="step 2"):
        shard[::2]


def test_a_file_that_is_cut_short_while_it_is_open_is_named_and_ends_no_process(path):
    shard = read_shard(path)
    os.truncate(path, HEADER_BYTES + 2 * 4_000)
    assert np.array_equal(shard[:4_000], TOKENS[:4_000])
    wanted = r"train_000000\.bin: was cut short while it was read: 11,024 bytes when opened, now 9,024; run"
    for read in (lambda: shard[3_990:4_001], lambda: shard[4_999], lambda: np.asarray(shard)):
        with pytest.raises(ArtifactError, match=wanted):
            read()


def test_a_file_that_another_takes_the_name_of_stays_what_it_was(path):
    shard = read_shard(path)
    write_shard(path, TOKENS[:10])
    assert np.array_equal(shard[:], TOKENS)


def test_a_shard_that_nobody_holds_is_closed(path):
    shard = read_shard(path)
    fd = shard.fd
    os.fstat(fd)
    del shard
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
