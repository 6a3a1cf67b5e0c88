"""golf.compression.reader and writer: the .golf file, its sections, and every kind of damage."""

import dataclasses
import json
import struct
import zlib

import brotli
import pytest
import torch

from golf.artifacts.source_deps import find_import_closure
from golf.compression import brotli_planes, reader, size_budget, writer
from golf.errors import ArtifactError, BudgetExceededError
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

MODEL_CONFIG = dataclasses.replace(
    TINY_MODEL_CONFIG, vocab_size=300, n_layers=12, context_length=16, embed_std=0.5, recur_passes=3
)


def make_tensors() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    tensors_by_name = {"tok_emb.weight.codes": torch.randint(-127, 128, (30, 8), generator=rng).to(torch.int8)}
    for i in (0, 1, 2, 11):  # 11 sorts before 2 as text
        shape = (4, 8) if i < 11 else (5, 8)
        tensors_by_name[f"blocks.{i}.mlp.fc.weight.codes"] = torch.randint(-31, 32, shape, generator=rng).to(torch.int8)
        tensors_by_name[f"blocks.{i}.mlp.fc.weight.row_scales"] = torch.rand(shape[0], generator=rng).half()
    tensors_by_name |= {
        "skip_weights": torch.rand(2, 8, generator=rng),
        "scalar": torch.tensor(0.5).half(),
        "v1.x": torch.ones(3),
    }
    return tensors_by_name


def pack_file(**changes) -> bytes:
    return writer.pack(
        make_tensors(),
        MODEL_CONFIG,
        **({"upstream_splits": ("train",), "codec": "brotli", "brotli_quality": 5} | changes),
    )


@pytest.fixture
def ans_path(tmp_path, monkeypatch):
    """A file whose integers went through the entropy coder, the small ones too."""
    monkeypatch.setattr(writer, "TRY_BOTH_BELOW_BYTES", 0)
    path = tmp_path / "model.golf"
    path.write_bytes(pack_file(codec="ans"))
    return path


@pytest.fixture
def golf_path(tmp_path):
    path = tmp_path / "model.golf"
    path.write_bytes(pack_file())
    return path


def test_unpacking_returns_every_tensor_the_shape_and_the_splits_seen(golf_path):
    back, header = reader.read(golf_path)
    assert back.keys() == make_tensors().keys()
    for name, tensor in make_tensors().items():
        assert back[name].dtype == tensor.dtype, name
        assert torch.equal(back[name], tensor), name
    assert header.model == MODEL_CONFIG
    assert header.upstream_splits == ("train",)


def test_the_same_tensors_in_another_order_give_the_same_bytes():
    shuffled = dict(reversed(make_tensors().items()))
    assert (
        writer.pack(shuffled, MODEL_CONFIG, upstream_splits=("train",), codec="brotli", brotli_quality=5) == pack_file()
    )


def test_the_sections_sizes_add_up_to_the_file(golf_path):
    sizes = size_budget.measure_sections(golf_path)
    assert sum(sizes.values()) == golf_path.stat().st_size
    assert list(sizes) == [
        "header",
        "float16",
        "float32",
        "blocks.#.mlp.fc.weight.codes",
        "tok_emb.weight.codes",
    ]


def test_tensors_of_all_layers_share_one_group_of_the_header():
    many = {f"blocks.{i}.mlp.fc.weight.codes": torch.zeros(4, 8, dtype=torch.int8) for i in range(100)}
    few = dict(list(many.items())[:10])
    sizes = [
        len(writer.pack(t, MODEL_CONFIG, upstream_splits=(), codec="brotli", brotli_quality=5)) for t in (few, many)
    ]
    assert sizes[1] - sizes[0] < 300


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_anywhere_is_refused_by_name(golf_path, bit):
    good = golf_path.read_bytes()
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1 << bit
        with pytest.raises(ArtifactError) as caught:
            reader.parse(golf_path, bytes(bad))
        assert str(caught.value).startswith(str(golf_path))


def test_damage_in_a_section_names_the_section(golf_path):
    data = bytearray(golf_path.read_bytes())
    data[-1] ^= 1
    golf_path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"section tok_emb\.weight\.codes is damaged"):
        reader.read(golf_path)


def test_a_file_cut_short_anywhere_or_grown_is_refused(golf_path):
    good = golf_path.read_bytes()
    for length in range(len(good)):
        with pytest.raises(ArtifactError):
            reader.parse(golf_path, good[:length])
    with pytest.raises(ArtifactError, match="its header says"):
        reader.parse(golf_path, good + b"\0")


def test_a_missing_file_and_a_foreign_file_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="not found"):
        reader.read(tmp_path / "none.golf")
    (tmp_path / "text").write_text("a text that is not an artifact at all")
    with pytest.raises(ArtifactError, match=r"not a \.golf file"):
        reader.read(tmp_path / "text")


def forge(change, bodies: bytes = b"", *, raw: int | None = None, version: int = reader.FORMAT_VERSION) -> bytes:
    """A file whose checksums are right and whose header is what ``change`` makes of a good one."""
    data = pack_file()
    size = struct.unpack_from("<I", data, 5)[0]
    tree = json.loads(brotli.decompress(data[reader.PREAMBLE.size : reader.PREAMBLE.size + size]))
    header_json = json.dumps(change(tree) or tree).encode()
    header = brotli.compress(header_json)
    start = struct.pack("<4sBII", b"GOLF", version, len(header), len(header_json) if raw is None else raw)
    body = bodies or data[reader.PREAMBLE.size + size :]
    return start + struct.pack("<I", zlib.crc32(start + header)) + header + body


def claim(section: int = 0, **fields):
    """The first tensors of a section claim these fields of a group."""
    return lambda tree: tree["sections"][section]["groups"][0].update(fields)


def twice(tree):
    tree["sections"][0]["groups"].append(tree["sections"][0]["groups"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (claim(shape=[1 << 40]), "claims .* bytes of tensors"),
        (claim(shape=[0, 1 << 40]), "none of them 0"),
        (claim(shape=[1] * 100), "at most 4 dimensions"),
        (claim(pattern="a" * 1000), "1,000 characters, at most 256"),
        (claim(pattern="a.#", indices=list(range(20_000))), "name 20,00. tensors, at most 16,384"),
        (lambda tree: tree["sections"][0].update(dtype="object"), "dtype"),
        (twice, "name a tensor twice"),
        (claim(shape=[-1]), "at least 0"),
        (
            lambda tree: tree["sections"][1].update(codec="pickle"),
            r"sections\[1\]\.codec: must be one of brotli, ans, trellis, got pickle",
        ),
        (lambda tree: tree["model"].update(n_heads=5), "model.d_model"),
        (lambda tree: tree["model"].update(depth=5), "model.depth: unknown key"),
        (claim(-1, shape=[31, 8]), "does not decode: unpacks to 240 bytes, 248 were declared"),
        (lambda tree: [tree], "expected a section"),
        (lambda tree: {"model": 1}, "missing|expected"),
        (lambda tree: tree["sections"][0].update(codec="ans"), "integers only"),  # the name of another codec
        (lambda tree: tree["sections"][-1].update(codec="ans"), "tok_emb.weight.codes does not decode"),
    ],
)
def test_a_header_with_right_checksums_and_wrong_claims_is_refused(golf_path, change, message):
    golf_path.write_bytes(forge(change))
    with pytest.raises(ArtifactError, match=message):
        reader.read(golf_path)


def test_a_header_that_unpacks_to_more_than_it_says_is_refused(golf_path):
    golf_path.write_bytes(forge(lambda tree: None, raw=10))
    with pytest.raises(ArtifactError, match="more than the 10 bytes declared"):
        reader.read(golf_path)
    golf_path.write_bytes(forge(lambda tree: None, raw=1 << 31))
    with pytest.raises(ArtifactError, match="header is damaged"):
        reader.read(golf_path)


def test_an_older_format_version_says_what_to_run(golf_path):
    golf_path.write_bytes(forge(lambda tree: None, version=1))
    with pytest.raises(ArtifactError, match=r"has format version 1, .* reads 2 only; run quantize and compress again"):
        reader.read(golf_path)


def test_a_model_beyond_what_a_file_may_hold_is_not_packed(monkeypatch):
    monkeypatch.setattr(writer, "MAX_RAW_BYTES", 100)
    with pytest.raises(BudgetExceededError, match=r"a \.golf file holds 100"):
        pack_file()


def test_the_header_is_rebuilt_strictly(golf_path):
    header = reader.read(golf_path)[1]
    assert dataclasses.asdict(header.model) == dataclasses.asdict(MODEL_CONFIG)
    assert header.raw_bytes == sum(t.numel() * t.element_size() for t in make_tensors().values())
    assert [section.codec for section in header.sections] == ["brotli"] * 4


def reversed_decode(packed, dtype, shapes):
    """Another codec: Brotli's bytes back to front."""
    return brotli_planes.decode(packed[::-1], dtype, shapes)


def test_each_section_is_decoded_by_the_codec_it_names(golf_path, monkeypatch):
    decoders = {"brotli": brotli_planes.decode, "reversed": reversed_decode}
    monkeypatch.setattr(reader, "CODECS", tuple(decoders))
    monkeypatch.setattr(reader, "load_decoder", decoders.__getitem__)
    header, bodies = reader.parse(golf_path, pack_file(codec="brotli"))

    def mixed(tree):
        tree["sections"][1] |= {"codec": "reversed", "crc32": zlib.crc32(bodies[1][::-1])}

    golf_path.write_bytes(forge(mixed, b"".join([bodies[0], bodies[1][::-1], *bodies[2:]])))
    back, header = reader.read(golf_path)
    assert [section.codec for section in header.sections] == ["brotli", "reversed", "brotli", "brotli"]
    assert all(torch.equal(back[name], tensor) for name, tensor in make_tensors().items())


def test_a_codec_for_every_section_costs_a_few_bytes_of_header(golf_path):
    many = {f"{letter}.codes": torch.zeros(4, 8, dtype=torch.int8) for letter in "abcdefghij"}
    golf_path.write_bytes(writer.pack(many, MODEL_CONFIG, upstream_splits=("train",), codec="brotli", brotli_quality=5))
    assert size_budget.measure_sections(golf_path)["header"] < 450


def test_integers_go_through_the_entropy_coder_and_floats_through_brotli(ans_path):
    back, header = reader.read(ans_path)
    assert {(section.dtype, section.codec) for section in header.sections} == {
        ("int8", "ans"),
        ("float16", "brotli"),
        ("float32", "brotli"),
    }
    assert back.keys() == make_tensors().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in make_tensors().items())


def test_a_small_section_goes_the_way_that_makes_it_smaller(golf_path):
    tensors_by_name = {"zeros.codes": torch.zeros(200, 200, dtype=torch.int8)}
    tensors_by_name["wide.codes"] = (
        torch.randn(200, 200, generator=torch.Generator().manual_seed(0)).mul(3).round().to(torch.int8)
    )
    golf_path.write_bytes(
        writer.pack(tensors_by_name, MODEL_CONFIG, upstream_splits=(), codec="ans", brotli_quality=11)
    )
    assert [section.codec for section in reader.read(golf_path)[1].sections] == ["ans", "brotli"]


@pytest.mark.parametrize("codec", ["brotli", "ans"])
def test_codes_of_16_and_32_bits_have_sections_of_their_own(golf_path, monkeypatch, codec):
    monkeypatch.setattr(writer, "TRY_BOTH_BELOW_BYTES", 0)
    tensors_by_name = make_tensors() | {"fine.codes": torch.arange(-300, 300, dtype=torch.int16).reshape(20, 30)}
    tensors_by_name["finer.codes"] = torch.tensor([[-32768, 32767]], dtype=torch.int16)
    tensors_by_name["finest.codes"] = torch.tensor([[-(2**31), 2**31 - 1, 32768, 0]], dtype=torch.int32)
    golf_path.write_bytes(
        writer.pack(tensors_by_name, MODEL_CONFIG, upstream_splits=("train",), codec=codec, brotli_quality=5)
    )
    back, header = reader.read(golf_path)
    assert all(
        torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors_by_name.items()
    )
    names = [section.name for section in header.sections if section.dtype in ("int16", "int32")]
    assert names == ["fine.codes int16", "finer.codes int16", "finest.codes int32"]


def test_layers_of_one_pattern_in_two_widths_are_two_parts_of_the_file(golf_path):
    tensors_by_name = {
        f"blocks.{i}.fc.codes": torch.full((20, 30), i, dtype=(torch.int8, torch.int16)[i]) for i in range(2)
    }
    golf_path.write_bytes(
        writer.pack(tensors_by_name, MODEL_CONFIG, upstream_splits=("train",), codec="ans", brotli_quality=5)
    )
    sizes = size_budget.measure_sections(golf_path)
    assert list(sizes) == ["header", "blocks.#.fc.codes int16", "blocks.#.fc.codes"]
    assert sizes["header"] == reader.PREAMBLE.size + reader.PREAMBLE.unpack_from(golf_path.read_bytes())[2]


def test_every_byte_of_a_coded_file_flipped_in_turn_is_refused(ans_path):
    good = ans_path.read_bytes()
    for index in range(len(good)):
        ans_path.write_bytes(good[:index] + bytes([good[index] ^ 0xFF]) + good[index + 1 :])
        with pytest.raises(ArtifactError):
            reader.read(ans_path)


def test_writing_a_file_is_not_part_of_what_is_submitted():
    carried = find_import_closure("golf/inference/predictor.py", root=ROOT)
    assert {"golf/compression/reader.py", "golf/compression/ans.py", "golf/compression/brotli_planes.py"} <= set(
        carried
    )
    assert {"golf/compression/writer.py", "golf/compression/ans_fit.py"}.isdisjoint(carried)
