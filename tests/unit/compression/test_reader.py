import dataclasses
import json
import struct
import zlib

import brotli
import pytest
import torch

from golf.artifacts.source_deps import import_closure
from golf.compression import brotli_planes, reader, writer
from golf.errors import ArtifactError, BudgetExceededError
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

SHAPE = dataclasses.replace(
    TINY_MODEL_CONFIG, vocab_size=300, n_layers=12, context_length=16, embed_std=0.5, recur_passes=3
)


def tensors() -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    made = {"tok_emb.weight.codes": torch.randint(-127, 128, (30, 8), generator=dice).to(torch.int8)}
    for i in (0, 1, 2, 11):  # 11 sorts before 2 as text
        shape = (4, 8) if i < 11 else (5, 8)
        made[f"blocks.{i}.mlp.fc.weight.codes"] = torch.randint(-31, 32, shape, generator=dice).to(torch.int8)
        made[f"blocks.{i}.mlp.fc.weight.steps"] = torch.rand(shape[0], generator=dice).half()
    made |= {
        "skip_weights": torch.rand(2, 8, generator=dice),
        "scalar": torch.tensor(0.5).half(),
        "v1.x": torch.ones(3),
    }
    return made


def packed(**changes) -> bytes:
    return writer.pack(tensors(), SHAPE, **({"seen": ("train",), "codec": "brotli", "quality": 5} | changes))


@pytest.fixture
def ans_path(tmp_path, monkeypatch):
    """A file whose integers went through the entropy coder, the small ones too."""
    monkeypatch.setattr(writer, "TRY_BOTH_BELOW_BYTES", 0)
    path = tmp_path / "model.golf"
    path.write_bytes(packed(codec="ans"))
    return path


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.golf"
    path.write_bytes(packed())
    return path


def test_unpacking_returns_every_tensor_the_shape_and_the_splits_seen(file):
    back, header = reader.read(file)
    assert back.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert back[name].dtype == tensor.dtype, name
        assert torch.equal(back[name], tensor), name
    assert header.model == SHAPE
    assert header.upstream_splits == ("train",)


def test_the_same_tensors_in_another_order_give_the_same_bytes():
    shuffled = dict(reversed(tensors().items()))
    assert writer.pack(shuffled, SHAPE, upstream_splits=("train",), codec="brotli", brotli_quality=5) == packed()


def test_the_sections_sizes_add_up_to_the_file(file):
    sizes = reader.section_bytes(file)
    assert sum(sizes.values()) == file.stat().st_size
    assert list(sizes) == [
        "header",
        "float16",
        "float32",
        "blocks.#.mlp.fc.weight.codes",
        "tok_emb.weight.codes",
    ]


def test_tensors_of_all_layers_share_one_line_of_the_header():
    many = {f"blocks.{i}.mlp.fc.weight.codes": torch.zeros(4, 8, dtype=torch.int8) for i in range(100)}
    few = dict(list(many.items())[:10])
    sizes = [len(writer.pack(t, SHAPE, upstream_splits=(), codec="brotli", brotli_quality=5)) for t in (few, many)]
    assert sizes[1] - sizes[0] < 300


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_anywhere_is_refused_by_name(file, bit):
    good = file.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << bit
        with pytest.raises(ArtifactError) as caught:
            reader.parse(file, bytes(bad))
        assert str(caught.value).startswith(str(file))


def test_damage_in_a_section_names_the_section(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"section tok_emb\.weight\.codes is damaged"):
        reader.read(file)


def test_a_file_cut_short_anywhere_or_grown_is_refused(file):
    good = file.read_bytes()
    for length in range(len(good)):
        with pytest.raises(ArtifactError):
            reader.parse(file, good[:length])
    with pytest.raises(ArtifactError, match="bytes long"):
        reader.parse(file, good + b"\0")


def test_a_missing_file_and_another_file_are_told_apart(tmp_path):
    with pytest.raises(ArtifactError, match="not found"):
        reader.read(tmp_path / "none.golf")
    (tmp_path / "text").write_text("a text that is not an artifact at all")
    with pytest.raises(ArtifactError, match=r"not a \.golf file"):
        reader.read(tmp_path / "text")


def forged(change, bodies: bytes = b"", *, raw: int | None = None, version: int = reader.FORMAT_VERSION) -> bytes:
    """A file whose checksums are right and whose header is what ``change`` makes of a good one."""
    data = packed()
    size = struct.unpack_from("<I", data, 5)[0]
    tree = json.loads(brotli.decompress(data[reader.PREAMBLE.size : reader.PREAMBLE.size + size]))
    text = json.dumps(change(tree) or tree).encode()
    header = brotli.compress(text)
    start = struct.pack("<4sBII", b"GOLF", version, len(header), len(text) if raw is None else raw)
    body = bodies or data[reader.PREAMBLE.size + size :]
    return start + struct.pack("<I", zlib.crc32(start + header)) + header + body


def shaped(*shape: int, section: int = 0):
    """The first tensor of a section claims this shape."""
    return lambda tree: tree["sections"][section]["lines"][0].update(shape=list(shape))


def long_name(tree):
    tree["sections"][0]["lines"][0]["pattern"] = "a" * 1000


def many(tree):
    tree["sections"][0]["lines"][0] |= {"pattern": "a.#", "numbers": list(range(20_000))}


def wrong_type(tree):
    tree["sections"][0]["dtype"] = "object"


def twice(tree):
    tree["sections"][0]["lines"].append(tree["sections"][0]["lines"][0])


def other_codec(tree):
    tree["sections"][1]["codec"] = "pickle"


def bad_shape(tree):
    tree["model"]["heads"] = 5


def extra(tree):
    tree["model"]["depth"] = 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shaped(1 << 40), "claims .* bytes of tensors"),
        (shaped(0, 1 << 40), "none of them 0"),
        (shaped(*[1] * 100), "at most 4 dimensions"),
        (long_name, "1,000 characters, at most 256"),
        (many, "name 20,00. tensors, at most 16,384"),
        (wrong_type, "dtype"),
        (twice, "name a tensor twice"),
        (shaped(-1), "at least 0"),
        (other_codec, r"sections\[1\]\.codec: must be one of brotli, entropy, got pickle"),
        (bad_shape, "model.d_model"),
        (extra, "model.depth: unknown key"),
        (shaped(31, 8, section=-1), "does not decode: 240 bytes, 248 were declared"),
        (lambda tree: [tree], "expected a section"),
        (lambda tree: {"model": 1}, "missing|expected"),
    ],
)
def test_a_header_with_right_checksums_and_wrong_claims_is_refused(file, change, words):
    file.write_bytes(forged(change))
    with pytest.raises(ArtifactError, match=words):
        reader.read(file)


def test_a_header_that_unpacks_to_more_than_it_says_is_refused(file):
    file.write_bytes(forged(lambda tree: None, raw=10))
    with pytest.raises(ArtifactError, match="more than the 10 bytes declared"):
        reader.read(file)
    file.write_bytes(forged(lambda tree: None, raw=1 << 31))
    with pytest.raises(ArtifactError, match="header is damaged"):
        reader.read(file)


def test_another_format_version_says_so(file):
    file.write_bytes(forged(lambda tree: None, version=2))
    with pytest.raises(ArtifactError, match="version 2, this code reads 1"):
        reader.read(file)


def test_a_model_beyond_what_a_file_may_hold_is_not_packed(monkeypatch):
    monkeypatch.setattr(writer, "MAX_RAW_BYTES", 100)
    with pytest.raises(BudgetExceededError, match=r"a \.golf file holds 100"):
        packed()


def test_the_header_is_rebuilt_strictly(file):
    header = reader.read(file)[1]
    assert dataclasses.asdict(header.model) == dataclasses.asdict(SHAPE)
    assert header.raw_bytes == sum(t.numel() * t.element_size() for t in tensors().values())
    assert [section.codec for section in header.sections] == ["brotli"] * 4


def reversed_decode(packed, dtype, shapes):
    """Another codec: Brotli's bytes back to front."""
    return brotli_planes.decode(packed[::-1], dtype, shapes)


def test_each_section_is_decoded_by_the_codec_it_names(file, monkeypatch):
    monkeypatch.setitem(reader.DECODERS, "reversed", reversed_decode)
    header, bodies = reader.parse(file, packed(codec="brotli"))

    def mixed(tree):
        tree["sections"][1] |= {"codec": "reversed", "crc": zlib.crc32(bodies[1][::-1])}

    file.write_bytes(forged(mixed, b"".join([bodies[0], bodies[1][::-1], *bodies[2:]])))
    back, header = reader.read(file)
    assert [section.codec for section in header.sections] == ["brotli", "reversed", "brotli", "brotli"]
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors().items())


def test_a_codec_for_every_section_costs_a_few_bytes_of_header(file):
    many = {f"{letter}.codes": torch.zeros(4, 8, dtype=torch.int8) for letter in "abcdefghij"}
    file.write_bytes(writer.pack(many, SHAPE, upstream_splits=("train",), codec="brotli", brotli_quality=5))
    assert reader.section_bytes(file)["header"] < 450


def test_integers_go_through_the_entropy_coder_and_floats_through_brotli(ans_path):
    back, header = reader.read(ans_path)
    assert {(section.dtype, section.codec) for section in header.sections} == {
        ("int8", "ans"),
        ("float16", "brotli"),
        ("float32", "brotli"),
    }
    assert back.keys() == tensors().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors().items())


def test_a_small_section_goes_the_way_that_makes_it_smaller(file):
    made = {"zeros.codes": torch.zeros(200, 200, dtype=torch.int8)}
    made["wide.codes"] = torch.randn(200, 200, generator=torch.Generator().manual_seed(0)).mul(3).round().to(torch.int8)
    file.write_bytes(writer.pack(made, SHAPE, upstream_splits=(), codec="ans", brotli_quality=11))
    assert [section.codec for section in reader.read(file)[1].sections] == ["ans", "brotli"]


@pytest.mark.parametrize("codec", ["brotli", "ans"])
def test_codes_of_16_bits_have_sections_of_their_own(file, monkeypatch, codec):
    monkeypatch.setattr(writer, "TRY_BOTH_BELOW_BYTES", 0)
    made = tensors() | {"fine.codes": torch.arange(-300, 300, dtype=torch.int16).reshape(20, 30)}
    made["finer.codes"] = torch.tensor([[-32768, 32767]], dtype=torch.int16)
    file.write_bytes(writer.pack(made, SHAPE, upstream_splits=("train",), codec=codec, brotli_quality=5))
    back, header = reader.read(file)
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in made.items())
    names = [section.name for section in header.sections if section.dtype == "int16"]
    assert names == ["fine.codes int16", "finer.codes int16"]


def test_layers_of_one_pattern_in_two_widths_are_two_parts_of_the_file(file):
    made = {f"blocks.{i}.fc.codes": torch.full((20, 30), i, dtype=(torch.int8, torch.int16)[i]) for i in range(2)}
    file.write_bytes(writer.pack(made, SHAPE, upstream_splits=("train",), codec="ans", brotli_quality=5))
    sizes = reader.section_bytes(file)
    assert list(sizes) == ["header", "blocks.#.fc.codes int16", "blocks.#.fc.codes"]
    assert sizes["header"] == reader.PREAMBLE.size + reader.PREAMBLE.unpack_from(file.read_bytes())[2]


def test_every_byte_of_a_coded_file_flipped_in_turn_is_refused(ans_path):
    good = ans_path.read_bytes()
    for place in range(len(good)):
        ans_path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        with pytest.raises(ArtifactError):
            reader.read(ans_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree["sections"][0].update(codec="ans"), "integers alone"),
        (lambda tree: tree["sections"][-1].update(codec="ans"), "tok_emb.weight.codes does not decode"),
    ],
)
def test_a_section_under_the_name_of_another_codec_is_refused(file, change, words):
    file.write_bytes(forged(change))
    with pytest.raises(ArtifactError, match=words):
        reader.read(file)


def test_writing_a_file_is_not_part_of_what_is_submitted():
    carried = import_closure("golf/inference/predictor.py", root=ROOT)
    assert {"golf/compression/reader.py", "golf/compression/ans.py", "golf/compression/brotli_planes.py"} <= set(
        carried
    )
    assert {"golf/compression/writer.py", "golf/compression/ans_fit.py"}.isdisjoint(carried)
