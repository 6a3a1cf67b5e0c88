"""golf/config/model.py: the dimensions of the record network (docs/references.md#pr-1493)"""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.config import loader, validation
from golf.config.model import ModelConfig
from golf.model.gpt import GPT
from golf.quantization.param_kinds import get_param_kind
from tests.helpers.tiny_corpus import ROOT


@pytest.fixture(scope="module")
def record_params() -> loader.Config:
    return loader.load_config(ROOT / "profiles" / "record.yaml")


def build_on_meta(model_cfg: ModelConfig) -> GPT:
    """The model without storage for its weights."""
    with torch.device("meta"):
        return GPT(model_cfg)


def test_the_record_has_35944536_parameters(record_params):
    assert sum(weight.numel() for weight in build_on_meta(record_params.model).parameters()) == 35_944_536


def test_recurrence_over_two_layers_has_one_skip_and_1024_parameters_fewer(record_params):
    model_cfg = dataclasses.replace(record_params.model, recur_start=4)
    assert model_cfg.n_skips == 7
    assert sum(weight.numel() for weight in build_on_meta(model_cfg).parameters()) == 35_943_512


def test_the_record_runs_11_layers_without_and_17_with_recurrence(record_params):
    assert record_params.model.layer_order(recurrent=False) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9, 10))
    assert record_params.model.layer_order(recurrent=True) == ((0, 1, 2, 3, 4, 5, 3, 4), (5, 3, 4, 5, 6, 7, 8, 9, 10))


def test_the_record_uses_5_skips_without_and_8_with_recurrence(record_params):
    assert len(record_params.model.layer_order(recurrent=False)[0]) == 5
    assert record_params.model.n_skips == 8


def test_the_record_has_67_tensors_with_hessians(record_params):
    state = build_on_meta(record_params.model).state_dict()
    kinds = [get_param_kind(name, tensor.shape, record_params.quantize.min_weights) for name, tensor in state.items()]
    assert kinds.count("embed") == 1
    assert kinds.count("matrix") == 66
    small = sum(
        tensor.numel()
        for name, tensor in state.items()
        if get_param_kind(name, tensor.shape, record_params.quantize.min_weights) == "small"
    )
    assert small == 11 * 2056 + 2 * 8 * 512


def test_the_untrained_record_scores_ln_8192_nats_per_token(record_params):
    """The record's logs report 9.008 to 9.010 on the validation text; ln 8192 = 9.0109."""
    model = GPT(record_params.model).init_weights(torch.Generator().manual_seed(1))
    tokens = torch.randint(8192, (1, 65), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        loss = model.nll(tokens[:, :-1], tokens[:, 1:], recurrent=False).mean().item()
    assert loss == pytest.approx(math.log(8192), abs=0.02)


@st.composite
def model_configs(draw):
    """A model of 1 to 12 layers with a recurrent segment that lies within them."""
    n_layers = draw(st.integers(1, 12))
    recur_start = draw(st.integers(0, n_layers - 1))
    return dataclasses.replace(
        loader.load_config(ROOT / "profiles" / "laptop.yaml").model,
        n_layers=n_layers,
        recur_start=recur_start,
        recur_end=draw(st.integers(recur_start, n_layers - 1)),
        recur_passes=draw(st.integers(1, 4)),
        parallel_residual_from=n_layers,
        xsa_from=n_layers,
    )


@given(model_configs())
def test_layers_run_in_order_and_only_the_segment_repeats(model_cfg):
    plain, recurrent = (sum(model_cfg.layer_order(recurrent), ()) for recurrent in (False, True))
    assert plain == tuple(range(model_cfg.n_layers))
    segment = range(model_cfg.recur_start, model_cfg.recur_end + 1)
    assert recurrent == (
        *range(model_cfg.recur_start),
        *[*segment] * model_cfg.recur_passes,
        *range(segment.stop, model_cfg.n_layers),
    )


@given(model_configs(), st.booleans())
def test_the_decoder_is_at_most_one_layer_longer_and_skips_suffice(model_cfg, recurrent):
    encoder, decoder = model_cfg.layer_order(recurrent)
    assert len(decoder) - len(encoder) in (0, 1)
    assert len(encoder) <= model_cfg.n_skips


def test_a_model_config_survives_a_round_trip_through_a_mapping(record_params):
    restored, problems = validation.from_mapping(ModelConfig, dataclasses.asdict(record_params.model), "model")
    assert problems == []
    assert restored == record_params.model
