"""golf.inference.predictor: opening an artifact, passes with and without adaptation, refused artifacts."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from golf.compression import quantized_tensor, stored_weights, writer
from golf.distributed import context
from golf.errors import ArtifactError
from golf.evaluation import scoring_loop
from golf.evaluation.ledger import Ledger
from golf.inference.interface import ScoredChunk
from golf.inference.predictor import GolfPredictor
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.quantization import row_scales
from tests.helpers.ttt_settings import make_ttt_settings

TTT_CONFIG = make_ttt_settings()
MEMORY_CONFIG = SimpleNamespace(
    scope="stream",
    orders=(1, 3),
    escape_weights=(2.0, 0.5),
    max_successors=4,
    recency_exponent=1.4,
    cache_tokens=50,
    cache_theta=8.0,
    cache_decay_tokens=30.0,
    cache_exponent=0.4,
    cache_escape_weight=2.0,
    tilt_order=None,
)
NO_MEMORY = SimpleNamespace(**{**vars(MEMORY_CONFIG), "orders": (), "cache_tokens": None})
STREAM = np.random.default_rng(0).integers(0, 60, 321).astype(np.uint16)


@pytest.fixture
def stored_tensors(tiny_model_config):
    """A model's tensors as compress stores them: one matrix in codes, the rest fp16."""
    state_dict = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0)).state_dict()
    name = "blocks.0.mlp.fc.weight"
    scales = row_scales.compute_sdclip_scales(state_dict[name], 12.85, 6)
    tensors = {key: tensor.half() for key, tensor in state_dict.items() if key != name}
    return tensors | {
        f"{name}.codes": row_scales.round_to_nearest(state_dict[name], scales, 6),
        f"{name}.row_scales": scales,
    }


def write_artifact(path, tensors, model_cfg, codec="brotli"):
    path.write_bytes(writer.pack(tensors, model_cfg, upstream_splits=("train",), codec=codec, brotli_quality=5))
    return path


@pytest.fixture
def predictor(tmp_path, stored_tensors, tiny_model_config) -> GolfPredictor:
    return open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config))


def open_predictor(path) -> GolfPredictor:
    return GolfPredictor.open(path, context.single_process(), eval_batch_tokens=128)


def score_stream(predictor, **settings) -> np.ndarray:
    """The nll of every target of STREAM, in chunks of 64."""
    predictor.reset(**settings)
    ledger = Ledger("x", bos=1)
    progress = Progress("t", 1, "x", quiet=True)
    scoring_loop.score_stream(predictor, STREAM, np.ones(320), ledger, chunk_tokens=64, progress=progress)
    return ledger.to_data().nll


def test_an_artifact_with_rotation_and_repair_scores_like_its_weights(tmp_path, stored_tensors, tiny_model_config):
    stored_tensors |= {
        stored_weights.ROTATION_SEED: torch.tensor([5.0]).half(),
        "extra.low_rank.blocks.0.mlp.fc.weight": torch.linspace(-0.1, 0.1, 2 * (64 + 32 + 1)).half(),
    }
    opened = open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config))
    model = GPT(tiny_model_config)
    model.load_state_dict(stored_weights.to_state_dict(stored_tensors))
    in_memory = GolfPredictor(model, context.single_process(), eval_batch_tokens=128)

    np.testing.assert_array_equal(score_stream(opened, stride=8), score_stream(in_memory, stride=8))


@pytest.mark.parametrize("codec", ["brotli", "ans"])
@pytest.mark.parametrize("columns", [False, True])
def test_the_artifact_scores_bit_for_bit_like_the_codes_in_memory(
    tmp_path, stored_tensors, tiny_model_config, codec, columns
):
    if columns:
        n_columns = stored_tensors["blocks.0.mlp.fc.weight.codes"].shape[1]
        stored_tensors["blocks.0.mlp.fc.weight.col_scales"] = torch.linspace(0.5, 2, n_columns).half()
    opened = open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config, codec))
    model = GPT(tiny_model_config)
    model.load_state_dict(quantized_tensor.dequantize_state_dict(stored_tensors))
    in_memory = GolfPredictor(model, context.single_process(), eval_batch_tokens=128)

    np.testing.assert_array_equal(score_stream(opened, stride=8), score_stream(in_memory, stride=8))


def test_each_pass_begins_with_the_weights_as_opened(predictor):
    fixed = score_stream(predictor, stride=8)
    adapted = score_stream(predictor, stride=8, ttt_cfg=TTT_CONFIG, n_chunks=5)

    assert not np.array_equal(fixed, adapted)
    np.testing.assert_array_equal(score_stream(predictor, stride=8), fixed)
    np.testing.assert_array_equal(score_stream(predictor, stride=8, ttt_cfg=TTT_CONFIG, n_chunks=5), adapted)


def test_learning_changes_no_score_of_the_chunk_learned_from(predictor):
    fixed, adapted = (
        score_stream(predictor, stride=8),
        score_stream(predictor, stride=8, ttt_cfg=TTT_CONFIG, n_chunks=5),
    )

    np.testing.assert_array_equal(fixed[:64], adapted[:64])
    assert adapted[64:].mean() < fixed[64:].mean()


def test_a_rate_of_zero_scores_like_the_fixed_model(predictor):
    no_rate = SimpleNamespace(**{**vars(TTT_CONFIG), "lr": 0.0})

    np.testing.assert_array_equal(
        score_stream(predictor, stride=8, ttt_cfg=no_rate, n_chunks=5), score_stream(predictor, stride=8)
    )


def test_an_adapted_score_never_depends_on_later_text(predictor, monkeypatch):
    before = score_stream(predictor, stride=8, ttt_cfg=TTT_CONFIG, n_chunks=5)
    changed = STREAM.copy()
    changed[200:] = 5
    monkeypatch.setitem(globals(), "STREAM", changed)

    np.testing.assert_array_equal(score_stream(predictor, stride=8, ttt_cfg=TTT_CONFIG, n_chunks=5)[:199], before[:199])


def test_memory_mixes_scores_and_predictions_alike_and_each_pass_forgets(predictor):
    fixed, mixed = (score_stream(predictor, stride=8, memory_cfg=cfg) for cfg in (None, MEMORY_CONFIG))

    assert not np.array_equal(fixed, mixed)
    np.testing.assert_array_equal(score_stream(predictor, stride=8, memory_cfg=MEMORY_CONFIG), mixed)
    np.testing.assert_array_equal(score_stream(predictor, stride=8, memory_cfg=NO_MEMORY), fixed)
    predictor.reset(stride=8, memory_cfg=MEMORY_CONFIG)
    predictor.update(ScoredChunk(0, STREAM[:65], False, ""))
    nll = predictor.score(STREAM[:65], STREAM[65:73])
    np.testing.assert_array_equal(nll, mixed[64:72])
    for row in (0, 5):
        assert -predictor.predict(STREAM[: 65 + row])[STREAM[65 + row]] == pytest.approx(nll[row], abs=1e-5)


def test_a_prediction_needs_no_target_and_holds_the_score(predictor):
    predictor.reset(stride=8)
    nll = predictor.score(STREAM[:65], STREAM[65:73])
    predicted = predictor.predict(STREAM[:65])

    assert np.exp(predicted.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
    assert -predicted[STREAM[65]] == pytest.approx(nll[0], abs=1e-5)


@pytest.mark.parametrize("stride", [4, 8, 32])
def test_the_prediction_at_every_position_is_the_distribution_that_scored_it(
    tmp_path, stored_tensors, tiny_model_config, stride
):
    rng = torch.Generator().manual_seed(1)
    for name, tensor in stored_tensors.items():
        if name.endswith("proj.weight"):  # initially zero, so that no context would count
            stored_tensors[name] = (torch.randn(tensor.shape, generator=rng) * 0.1).half()
    predictor = open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config))
    stream = STREAM[:120]
    nll = predictor.reset(stride=stride).score(stream[:1], stream[1:])
    predicted = [-predictor.predict(stream[: p + 1])[stream[p + 1]] for p in range(119)]

    np.testing.assert_allclose(predicted, nll, atol=2e-5)


def test_a_predictor_keeps_the_header_of_its_file(tmp_path, stored_tensors, tiny_model_config):
    opened = open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config))

    assert opened.header.model == tiny_model_config
    assert opened.header.upstream_splits == ("train",)
    assert GolfPredictor(GPT(tiny_model_config), context.single_process(), eval_batch_tokens=128).header is None


def without_gates(tensors):
    del tensors["skip_gates"]


def extra_tensor(tensors):
    tensors["extra"] = torch.ones(1)


def one_scale_for_all(tensors):
    tensors["blocks.0.mlp.fc.weight.row_scales"] = tensors["blocks.0.mlp.fc.weight.row_scales"][:1]


def codes_alone(tensors):
    del tensors["blocks.0.mlp.fc.weight.row_scales"]


def scales_alone(tensors):
    del tensors["blocks.0.mlp.fc.weight.codes"]


def stored_twice(tensors):
    tensors["blocks.0.mlp.fc.weight"] = torch.ones(64, 32)


def vector_in_codes(tensors):
    tensors["blocks.0.attn_scale.codes"] = torch.ones(32, dtype=torch.int8)
    tensors["blocks.0.attn_scale.row_scales"] = tensors.pop("blocks.0.attn_scale")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_gates, r"skip_gates must be \[3, 32\], got absent"),
        (extra_tensor, r"extra must be absent, got \[1\]"),
        (one_scale_for_all, r"blocks\.0\.mlp\.fc\.weight\.row_scales must be \[64\], got \[1\]"),
        (codes_alone, r"blocks\.0\.mlp\.fc\.weight\.row_scales must be \[64\], got absent"),
        (scales_alone, r"blocks\.0\.mlp\.fc\.weight must be \[64, 32\], got absent"),
        (vector_in_codes, r"blocks\.0\.attn_scale must be \[32\], got absent"),
        (stored_twice, r"blocks\.0\.mlp\.fc\.weight must be absent, got \[64, 32\]"),
    ],
)
def test_an_artifact_whose_tensors_are_not_its_models_is_refused_by_name(
    tmp_path, stored_tensors, tiny_model_config, change, message
):
    change(stored_tensors)
    with pytest.raises(ArtifactError, match=r"m\.golf: its tensors are not those of the model it names: " + message):
        open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("extra.rotation_seed", 2),
        ("extra.low_rank.blocks.0.mlp.fc.weight", 98),
        ("extra.low_rank.skip_gates", 36),
        ("extra.other", 1),
    ],
)
def test_an_extra_that_does_not_fit_is_refused_by_name(tmp_path, stored_tensors, tiny_model_config, name, shape):
    stored_tensors[name] = torch.ones(shape)
    message = rf"m\.golf: {re.escape(name)}, \[{shape}\], does not fit its tensors"
    with pytest.raises(ArtifactError, match=message):
        open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, tiny_model_config))


def test_codes_of_another_shape_than_the_header_says_are_refused(tmp_path, stored_tensors, tiny_model_config):
    other = dataclasses.replace(tiny_model_config, d_ff=96)
    with pytest.raises(
        ArtifactError, match=r"m\.golf: .*blocks\.0\.mlp\.fc\.weight\.codes must be \[96, 32\], got \[64, 32\]"
    ):
        open_predictor(write_artifact(tmp_path / "m.golf", stored_tensors, other))


class ForbidLargeAllocations(TorchDispatchMode):
    """Raises when an operation makes a real tensor of more than a megabyte, before a larger one can be asked for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type != "meta":
            assert result.nbytes <= 1 << 20, f"{function} allocated {result.nbytes:,} bytes"
        return result


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"d_model": 16384, "n_layers": 256}, r"blocks\.0\.attn\.c_k\.weight must be \[8192, 16384\], got absent"),
        (
            {"d_model": 16384, "context_length": 1 << 20, "rope_dims": 4096},
            "its rotary tables take 17,179,869,184 bytes",
        ),
    ],
)
def test_a_file_of_some_bytes_that_claims_a_huge_model_is_refused_before_it_is_built(
    tmp_path, tiny_model_config, claims, message
):
    path = write_artifact(
        tmp_path / "m.golf", {"skip_gates": torch.ones(1)}, dataclasses.replace(tiny_model_config, **claims)
    )
    assert path.stat().st_size < 500
    with ForbidLargeAllocations(), pytest.raises(ArtifactError, match=message):
        open_predictor(path)
