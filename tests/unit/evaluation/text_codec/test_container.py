"""golf/evaluation/text_codec/container.py: what the header holds, its size, and that every damage is refused"""

import dataclasses

import pytest

from golf.errors import ArtifactError
from golf.evaluation.scoring_loop import MODES
from golf.evaluation.text_codec import container
from golf.evaluation.text_codec.container import TextHeader

HEADER = TextHeader(
    mode="ttt",
    is_split=True,
    uses_predict=False,
    threads=2,
    torch=(2, 13, 0),
    artifact=b"arti",
    tokenizer=b"toke",
    settings=b"sett",
    libraries=b"libr",
    cpu=b"cpu.",
    digest=container.hash_text(b"text"),
    n_targets=210_193,
)
DATA = container.pack(HEADER, b"side", b"code of the tokens")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_targets", [0, 127, 128, 1 << 40])
def test_a_header_comes_back(mode, n_targets):
    header = dataclasses.replace(HEADER, mode=mode, n_targets=n_targets, is_split=False, uses_predict=True)
    for side, code in ((b"", b""), (b"s" * 300, b"c")):
        assert container.parse("x", container.pack(header, side, code)) == (header, side, code)


def test_each_mode_keeps_its_number_in_the_file():
    numbers = {mode: container.pack(dataclasses.replace(HEADER, mode=mode), b"", b"")[8] & 3 for mode in MODES}
    assert numbers == {"plain": 0, "sliding": 1, "ttt": 2}


def test_header_and_checksum_take_at_most_56_bytes():
    assert len(container.pack(HEADER, b"", b"")) <= 56


def test_every_flipped_bit_and_every_cut_is_refused():
    damaged = [DATA[:n] + bytes([DATA[n] ^ 1 << bit]) + DATA[n + 1 :] for n in range(len(DATA)) for bit in range(8)]
    for data in [*damaged, *(DATA[:n] for n in range(len(DATA))), DATA + b"\0"]:
        with pytest.raises(ArtifactError, match=r"^x: "):
            container.parse("x", data)


@pytest.mark.parametrize(("offset", "value"), [(0, 3), (0, 16), (1, 0)])
def test_a_number_out_of_range_is_refused_under_a_matching_checksum(offset, value):
    body = bytearray(DATA[8:])
    body[offset] = value
    data = DATA[:4] + container.zlib.crc32(body).to_bytes(4, "little") + bytes(body)
    with pytest.raises(ArtifactError, match="header is not valid"):
        container.parse("x", data)


def test_each_difference_is_named_and_the_threads_are_the_decoders_to_follow():
    assert HEADER.find_differences(dataclasses.replace(HEADER, threads=1, n_targets=3)) == []
    assert HEADER.find_differences(dataclasses.replace(HEADER, cpu=b"none", artifact=b"othe")) == ["artifact", "cpu"]
