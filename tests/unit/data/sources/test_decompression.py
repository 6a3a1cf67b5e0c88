"""golf/data/sources/decompression.py: a compressed file is decoded whole, or refused with the place."""

import functools
import gzip
import lzma
import re
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from golf.data.sources import decompression
from golf.errors import InputError

COMPRESS = {
    ".gz": functools.partial(gzip.compress, mtime=0),
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TEXT = b"some text 123 " * 20
SKIPPABLE = struct.pack("<II", 0x184D2A53, 4) + b"abcd"
every_format = pytest.mark.parametrize("suffix", COMPRESS)


def decompress(suffix, data):
    return decompression.decompress(Path(f"a.txt{suffix}"), data)


def refusal(suffix, data) -> str:
    with pytest.raises(InputError) as raised:
        decompress(suffix, data)
    return str(raised.value)


def test_another_suffix_is_not_decompressed_and_case_does_not_matter():
    assert decompress("", b"\x1f\x8b") == b"\x1f\x8b"
    assert decompress(".GZ", gzip.compress(TEXT)) == TEXT


@every_format
@given(texts=st.lists(st.binary(max_size=3000), min_size=1, max_size=5))
def test_all_streams_of_a_file_are_joined(suffix, texts):
    assert decompress(suffix, b"".join(map(COMPRESS[suffix], texts))) == b"".join(texts)


@every_format
def test_streams_longer_than_what_is_decoded_at_once_are_joined(suffix, monkeypatch):
    monkeypatch.setattr(decompression, "_FIRST_CHUNK_BYTES", 1)
    monkeypatch.setattr(decompression, "_MAX_CHUNK_BYTES", 3)
    assert decompress(suffix, COMPRESS[suffix](TEXT) * 2) == TEXT * 2


@every_format
def test_a_file_cut_anywhere_is_truncated_and_the_stream_is_named(suffix):
    stream = COMPRESS[suffix](TEXT)
    for size in range(1, len(stream)):
        assert "truncated: the stream that starts at byte 0 " in refusal(suffix, stream[:size])
        place = f"truncated: the stream that starts at byte {len(stream)} "
        assert place in refusal(suffix, stream + stream[:size])


@every_format
def test_a_flipped_bit_is_found_in_the_second_stream_too_unless_it_changes_nothing(suffix):
    stream = COMPRESS[suffix](TEXT)
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert decompress(suffix, stream + damaged) == 2 * TEXT  # the time in a gzip header, a reserved bit
        except InputError as error:
            place = int(re.search(r"byte (\d+)", str(error))[1])
            assert place >= len(stream)
    assert f"damaged: the stream that starts at byte {len(stream)} " in refusal(suffix, stream + damaged)


@every_format
@pytest.mark.parametrize("rest", [b"garbage", b"\n", b'{"text": "x"}\n', *(make(b"x") for make in COMPRESS.values())])
def test_what_follows_a_stream_is_read_or_refused_with_its_place(suffix, rest):
    stream = COMPRESS[suffix](TEXT)
    if rest == COMPRESS[suffix](b"x"):
        assert decompress(suffix, stream + rest) == TEXT + b"x"
    else:
        message = refusal(suffix, stream + rest)
        assert f"a.txt{suffix}: can't be decompressed: byte {len(stream)} starts no {suffix} stream (0x" in message
        assert "something else follows the stream before it; replace it" in message


@pytest.mark.parametrize(("suffix", "unit"), [(".gz", 1), (".xz", 4), (".zst", 0)])
def test_padding_is_skipped_as_the_format_allows(suffix, unit):
    stream = COMPRESS[suffix](TEXT)
    for n_nuls in range(1, 10):
        padded = stream + b"\0" * n_nuls
        if unit and n_nuls % unit == 0:
            assert decompress(suffix, padded) == TEXT
            assert decompress(suffix, padded + stream) == 2 * TEXT
        else:
            assert f"byte {len(stream)} " in refusal(suffix, padded)
            assert f"byte {len(stream)} " in refusal(suffix, padded + stream)
        assert "byte 0 starts no" in refusal(suffix, b"\0" * n_nuls + stream)


@every_format
def test_a_misnamed_file_is_called_so(suffix):
    assert "byte 0 starts no" in refusal(suffix, b"plain text")
    assert "the file is misnamed or damaged" in refusal(suffix, b"plain text")
    assert "byte 0 starts no .xz stream" in refusal(".xz", lzma.compress(TEXT, lzma.FORMAT_ALONE))


@every_format
def test_a_file_of_no_bytes_is_truncated_and_an_empty_text_is_not(suffix):
    assert f"a.txt{suffix}: can't be decompressed: truncated: it has 0 bytes" in refusal(suffix, b"")
    assert decompress(suffix, COMPRESS[suffix](b"")) == b""


def test_frames_to_skip_are_skipped_wherever_they_stand():
    stream = COMPRESS[".zst"](TEXT)
    assert decompress(".zst", SKIPPABLE + stream + SKIPPABLE + SKIPPABLE + stream + SKIPPABLE) == 2 * TEXT
    assert decompress(".zst", SKIPPABLE) == b""
    assert f"truncated: the stream that starts at byte {len(stream)} " in refusal(".zst", stream + SKIPPABLE[:-1])


@pytest.mark.parametrize("window_log", [27, 28, 31])
def test_a_window_of_up_to_two_gibibytes_is_read(window_log):
    settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    frame = compressor.compress(TEXT) + compressor.flush()
    assert zstandard.get_frame_parameters(frame).window_size == 1 << window_log
    assert decompress(".zst", frame) == TEXT


def test_a_window_above_two_gibibytes_is_named_with_what_is_allowed():
    header = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3 | 1])  # 2 GiB and an eighth
    message = refusal(".zst", header + b"\0" * 20)
    assert (
        "the stream that starts at byte 0 needs a window of 2,415,919,104 bytes, allowed are 2,147,483,648" in message
    )


def test_a_frame_that_needs_a_dictionary_says_so():
    samples = [b"hello world %d some text" % number for number in range(1000)]
    dictionary = zstandard.train_dictionary(1000, samples)
    frame = zstandard.ZstdCompressor(dict_data=dictionary).compress(TEXT)
    plain = COMPRESS[".zst"](TEXT)
    for data, start in ((frame, 0), (plain + frame, len(plain))):
        message = refusal(".zst", data)
        place = f"byte {start} needs a dictionary, the one with the id {dictionary.dict_id()}; compress the text"
        assert place in message
