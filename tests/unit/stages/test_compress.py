import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from golf.artifacts import io, lineage
from golf.compression import code_archive, quantized_tensor, reader, size_budget
from golf.compression.quantized_tensor import QuantizedTensor
from golf.config import loader
from golf.errors import ArtifactError, BudgetExceededError, DivergenceError
from golf.quantization import codes_io, report, row_scales
from golf.submission.bundle import packing
from stages import compress
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

MODEL_CONFIG = dataclasses.replace(
    TINY_MODEL_CONFIG,
    vocab_size=300,
    n_layers=2,
    context_length=16,
    embed_std=0.5,
    recur_end=1,
    parallel_residual_from=1,
)
LAPTOP = loader.load_config(ROOT / "profiles" / "laptop.yaml")
RECORD = lineage.with_digest(lineage.make_lineage("quantize", {}) | {"splits_seen": ["train"]})


def make_stored() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    quantized = {}
    for i in range(2):
        w = torch.randn(64, 32, generator=rng)
        steps = row_scales.compute_sdclip_scales(w, 12.85, 6)
        quantized[f"blocks.{i}.mlp.fc.weight"] = QuantizedTensor(row_scales.round_to_nearest(w, steps, 6), steps)
    return codes_io.to_storage(quantized, {"skip_weights": torch.randn(2, 32, generator=rng)})


@pytest.fixture
def set_limit(tmp_path, monkeypatch):
    """Prepare a codes file, a predictor and compress's parameters; return a function that sets the limit."""
    monkeypatch.chdir(tmp_path)
    codes_io.save(compress.CODES_PATH, make_stored(), MODEL_CONFIG, bits={}, lineage=RECORD)
    (tmp_path / "golf" / "inference").mkdir(parents=True)
    (tmp_path / "golf/inference/predictor.py").write_text("import golf.small\n")
    (tmp_path / "golf/small.py").write_text("x = 1\n")
    driver = tmp_path / packing.DRIVER
    driver.parent.mkdir(parents=True)
    driver.write_text("def main(settings):\n    print(settings)\n")

    def limit(limit_bytes: int, reserve: int = 10_000, count: str = "predictor"):
        changes = {"codec": "brotli", "limit_bytes": limit_bytes, "code_reserve_bytes": reserve, "count": count}
        configs = {name: getattr(LAPTOP, name) for name in packing.SECTIONS}
        configs["compress"] = dataclasses.replace(LAPTOP.compress, **changes)
        monkeypatch.setattr(loader, "load_sections", lambda *names: tuple(configs[name] for name in names))
        return tmp_path

    return limit


def test_sizes_add_up_and_the_artifact_opens(set_limit):
    folder = set_limit(100_000)
    compress.main()
    sizes = io.read_json(folder / compress.SIZES_PATH)
    assert sizes["payload_bytes"] == (folder / compress.ARTIFACT_PATH).stat().st_size == sum(sizes["sections"].values())
    assert sizes["artifact_bytes"] == sizes["payload_bytes"] + sizes["code_bytes"]
    assert sizes["headroom_bytes"] == 100_000 - sizes["artifact_bytes"]
    assert sizes["code_files"] == ["golf/inference/predictor.py", "golf/small.py"]
    code = (folder / compress.CODE_PATH).read_bytes()
    assert sizes["code_bytes"] == len(code)
    assert list(code_archive.unpack(code, compress.CODE_PATH)) == sizes["code_files"]
    assert lineage.hash_artifact(folder / compress.CODE_PATH) == sizes["code_sha256"]
    assert sizes["splits_seen"] == ["train"]
    assert lineage.read_lineage(folder / compress.ARTIFACT_PATH) == sizes["lineage"]
    restored, header = reader.read(folder / compress.ARTIFACT_PATH)
    assert header.model == MODEL_CONFIG
    assert header.upstream_splits == ("train",)
    expected = quantized_tensor.dequantize_state_dict(make_stored())
    assert all(
        torch.equal(weight, expected[name]) for name, weight in quantized_tensor.dequantize_state_dict(restored).items()
    )


def test_the_code_that_counts_is_the_predictors_or_the_bundles_and_both_are_stated(set_limit):
    folder = set_limit(100_000, count="bundle")
    compress.main()
    sizes, bundle = io.read_json(compress.SIZES_PATH), folder / compress.BUNDLE_PATH
    assert (sizes["code_counted"], sizes["code_bytes"]) == ("bundle", bundle.stat().st_size)
    assert sizes["artifact_bytes"] == sizes["payload_bytes"] + bundle.stat().st_size
    assert sizes["bundle_sha256"] == io.sha256_file(bundle)
    stated = {"predictor": compress.CODE_PATH, "bundle": compress.BUNDLE_PATH}
    assert all(sizes[f"{kind}_code_bytes"] == (folder / path).stat().st_size for kind, path in stated.items())

    set_limit(100_000)
    compress.main()
    other = io.read_json(compress.SIZES_PATH)
    assert (other["code_counted"], other["code_bytes"]) == ("predictor", sizes["predictor_code_bytes"])


def test_over_the_limit_the_error_says_by_how_much_and_nothing_is_written(set_limit):
    set_limit(100_000)
    compress.main()
    sizes = io.read_json(compress.SIZES_PATH)
    folder = set_limit(sizes["artifact_bytes"] - 7)
    for name in (
        compress.ARTIFACT_PATH,
        compress.CODE_PATH,
        compress.BUNDLE_PATH,
        compress.SIZES_PATH,
        compress.BREAKDOWN_PATH,
    ):
        (folder / name).unlink()
    with pytest.raises(BudgetExceededError, match=r"compress\.limit_bytes: .* 7 over .*quantize\.matrix_clip"):
        compress.main()
    assert not list((folder / "artifacts/compress").iterdir())
    set_limit(sizes["artifact_bytes"])
    compress.main()


def test_a_damaged_codes_file_is_named(set_limit):
    folder = set_limit(100_000)
    path = folder / compress.CODES_PATH
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"codes\.safetensors"):
        compress.main()


def test_codes_of_an_impossible_model_are_refused(tmp_path):
    path = tmp_path / "codes.safetensors"
    impossible = dataclasses.asdict(MODEL_CONFIG) | {"n_heads": 5}
    io.save_tensors(path, make_stored(), kind=codes_io.KIND, meta={"model": impossible})
    with pytest.raises(ArtifactError, match=r"model\.d_model"):
        codes_io.load(path)


def test_a_small_tensor_beyond_fp16_is_named():
    with pytest.raises(DivergenceError, match="skip_weights: holds 1e"):
        codes_io.to_storage({}, {"skip_weights": torch.tensor([1e5])})


def test_the_size_check_is_exact_at_the_limit():
    assert size_budget.require_within_limit(70, 30, 100, 30)["headroom_bytes"] == 0
    with pytest.raises(
        BudgetExceededError, match=r"101 bytes \(model 71 \+ code 30\), 1 over the limit of 100; choose coarser steps"
    ):
        size_budget.require_within_limit(71, 30, 100, 30)


def test_code_beyond_its_reserve_is_blamed_if_the_model_fits():
    with pytest.raises(BudgetExceededError, match=r"2 over the limit of 100; choose coarser steps"):
        size_budget.require_within_limit(71, 31, 100, 30)
    with pytest.raises(
        BudgetExceededError, match=r"1 over the limit of 100; raise compress\.code_reserve_bytes from 30 to at least 31"
    ):
        size_budget.require_within_limit(70, 31, 100, 30)


def test_the_table_shows_the_cost_of_quantizing_each_tensor():
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(64, 32, generator=rng)
    cfg = SimpleNamespace(embed_bits=8, matrix_bits=6)
    steps = torch.ones(64).half()
    halved = QuantizedTensor(row_scales.round_to_nearest(w, steps / 2, 6), steps / 2)
    rows = report.list_tensors(
        {"blocks.0.mlp.fc.weight": w},
        {"blocks.0.mlp.fc.weight": halved},
        {"x": torch.eye(32)},
        {"blocks.0.mlp.fc.weight": "x"},
        cfg,
    )
    exact = float(((w - quantized_tensor.dequantize(halved)).double() ** 2).sum())
    assert report.compute_output_error(w, halved, torch.eye(32)) == pytest.approx(exact, rel=1e-5)
    assert rows[0]["error_vs_rtn"] == 1.0
    assert rows[0]["clipped_frac"] == 0.0
    assert 2.5 < rows[0]["bits_per_weight"] < math.log2(15)
    totals = report.compute_totals(rows, {"skip_weights": torch.ones(5)}, 0.5)
    assert totals["weights"] == 64 * 32
    assert totals["unquantized_weights"] == 5
    assert totals["entropy_bytes"] == pytest.approx(rows[0]["bits_per_weight"] * 64 * 32 / 8, abs=1)
