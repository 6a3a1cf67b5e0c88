import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from conftest import TINY_SHAPE

from golf import budget
from golf.codec import code_bundle, container
from golf.ground import lineage, params, sections, store
from golf.ground.errors import BadArtifact, Diverged, OverBudget
from golf.quant import codes, grid, outcome, sdclip
from golf.quant.grid import Quantized
from stages import compress

SHAPE = dataclasses.replace(
    TINY_SHAPE, vocabulary=300, layers=2, context=16, embed_std=0.5, loop_end=1, parallel_from=1
)
ORIGIN = lineage.sealed(lineage.of("quantize", {}) | {"splits_seen": ["train"]})


def stored() -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(0)
    made = {}
    for i in range(2):
        w = torch.randn(64, 32, generator=dice)
        steps = sdclip.steps(w, 12.85, 6)
        made[f"blocks.{i}.mlp.fc.weight"] = Quantized(sdclip.nearest(w, steps, 6), steps)
    return codes.flatten(made, {"skip_weights": torch.randn(2, 32, generator=dice)})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a codes file, a method to weigh, and compress's parameters; returns how to set the limit."""
    monkeypatch.chdir(tmp_path)
    codes.save(compress.CODES, stored(), SHAPE, bits={}, lineage=ORIGIN)
    (tmp_path / "golf").mkdir()
    (tmp_path / "golf/method.py").write_text("import golf.small\n")
    (tmp_path / "golf/small.py").write_text("x = 1\n")

    def limit(limit_bytes: int, reserve: int = 10_000):
        section = sections.Compress(codec="brotli", quality=11, limit_bytes=limit_bytes, code_reserve_bytes=reserve)
        monkeypatch.setattr(params, "load", lambda *_: section)
        return tmp_path

    return limit


def test_sizes_add_up_and_the_artifact_opens(place):
    folder = place(100_000)
    compress.main()
    sizes = store.read_json(folder / compress.SIZES)
    assert sizes["payload_bytes"] == (folder / compress.GOLF).stat().st_size == sum(sizes["sections"].values())
    assert sizes["artifact_bytes"] == sizes["payload_bytes"] + sizes["code_bytes"]
    assert sizes["headroom_bytes"] == 100_000 - sizes["artifact_bytes"]
    assert sizes["code_files"] == ["golf/method.py", "golf/small.py"]
    code = (folder / compress.CODE).read_bytes()
    assert sizes["code_bytes"] == len(code)
    assert list(code_bundle.unpack(code, compress.CODE)) == sizes["code_files"]
    assert lineage.file_digest(folder / compress.CODE) == sizes["code_sha256"]
    assert sizes["splits_seen"] == ["train"]
    assert lineage.read(folder / compress.GOLF) == sizes["lineage"]
    back, header = container.read(folder / compress.GOLF)
    assert header.model == SHAPE
    assert header.seen == ("train",)
    expected = grid.weights(stored())
    assert all(torch.equal(weight, expected[name]) for name, weight in grid.weights(back).items())


def test_over_the_limit_says_by_how_much_and_what_to_turn_and_writes_nothing(place):
    place(100_000)
    compress.main()
    sizes = store.read_json(compress.SIZES)
    folder = place(sizes["artifact_bytes"] - 7)
    for name in (compress.GOLF, compress.CODE, compress.SIZES, compress.TABLE):
        (folder / name).unlink()
    with pytest.raises(OverBudget, match=r"compress\.limit_bytes: .* 7 over .*quantize\.matrix_clip"):
        compress.main()
    assert not list((folder / "artifacts/compress").iterdir())
    place(sizes["artifact_bytes"])
    compress.main()


def test_a_damaged_codes_file_is_refused_by_name(place):
    folder = place(100_000)
    path = folder / compress.CODES
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadArtifact, match=r"codes\.safetensors"):
        compress.main()


def test_codes_of_an_impossible_model_are_refused(tmp_path):
    path = tmp_path / "codes.safetensors"
    impossible = dataclasses.asdict(SHAPE) | {"heads": 5}
    store.save_tensors(path, stored(), kind=codes.KIND, meta={"shape": impossible})
    with pytest.raises(BadArtifact, match=r"model\.width"):
        codes.load(path)


def test_a_small_tensor_beyond_fp16_is_refused_by_name():
    with pytest.raises(Diverged, match="skip_weights: holds 1e"):
        codes.flatten({}, {"skip_weights": torch.tensor([1e5])})


def test_weighing_is_exact_at_the_limit():
    assert budget.weigh(70, 30, 100, 30)["headroom_bytes"] == 0
    with pytest.raises(OverBudget, match=r"101 bytes \(model 71 \+ code 30\), 1 over 100; choose coarser steps"):
        budget.weigh(71, 30, 100, 30)


def test_code_beyond_its_reserve_is_named_as_what_does_not_fit_where_the_model_kept_to_its_room():
    with pytest.raises(OverBudget, match=r"2 over 100; choose coarser steps"):
        budget.weigh(71, 31, 100, 30)
    with pytest.raises(OverBudget, match=r"1 over 100; raise compress\.code_reserve_bytes, 30 now, to at least 31"):
        budget.weigh(70, 31, 100, 30)


def test_the_table_tells_what_quantising_each_tensor_cost():
    dice = torch.Generator().manual_seed(0)
    w = torch.randn(64, 32, generator=dice)
    plan = SimpleNamespace(embed_bits=8, matrix_bits=6)
    steps = torch.ones(64).half()
    halved = Quantized(sdclip.nearest(w, steps / 2, 6), steps / 2)
    rows = outcome.table(
        {"blocks.0.mlp.fc.weight": w},
        {"blocks.0.mlp.fc.weight": halved},
        {"x": torch.eye(32)},
        {"blocks.0.mlp.fc.weight": "x"},
        plan,
    )
    exact = float(((w - grid.dequantize(halved)).double() ** 2).sum())
    assert outcome.output_error(w, halved, torch.eye(32)) == pytest.approx(exact, rel=1e-5)
    assert rows[0]["error_ratio"] == 1.0
    assert rows[0]["clipped"] == 0.0
    assert 2.5 < rows[0]["bits"] < math.log2(15)
    totals = outcome.totals(rows, {"skip_weights": torch.ones(5)})
    assert totals["weights"] == 64 * 32
    assert totals["small_weights"] == 5
    assert totals["ideal_bytes"] == pytest.approx(rows[0]["bits"] * 64 * 32 / 8, abs=1)
