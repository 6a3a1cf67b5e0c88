"""golf/config/model.py: the record's network in numbers (record-stack.md sections 1.3 and 6.1)"""

import dataclasses
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from golf.config import loader, validation
from golf.config.model import ModelConfig
from golf.model.gpt import GPT
from golf.quantization.param_kinds import param_kind
from tests.helpers.tiny_corpus import ROOT


@pytest.fixture(scope="module")
def record_params() -> loader.Config:
    return loader.load_config(ROOT / "profiles" / "record.yaml")


def on_paper(shape: ModelConfig) -> GPT:
    """The model without its numbers."""
    with torch.device("meta"):
        return GPT(shape)


def test_the_record_has_exactly_its_number_of_parameters(record_params):
    assert sum(weight.numel() for weight in on_paper(record_params.model).parameters()) == 35_944_536


def test_a_loop_over_two_layers_has_one_skip_row_fewer_and_1024_parameters_less(record_params):
    """record-stack.md section 6.1: loop 4-5, 7 skips."""
    shape = dataclasses.replace(record_params.model, recur_start=4)
    assert shape.n_skips == 7
    assert sum(weight.numel() for weight in on_paper(shape).parameters()) == 35_943_512


def test_the_record_runs_11_layers_before_the_loop_and_17_with_it(record_params):
    assert record_params.model.order(recurrent=False) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9, 10))
    assert record_params.model.order(recurrent=True) == ((0, 1, 2, 3, 4, 5, 3, 4), (5, 3, 4, 5, 6, 7, 8, 9, 10))


def test_the_record_uses_5_skips_before_the_loop_and_8_with_it(record_params):
    assert len(record_params.model.order(recurrent=False)[0]) == 5
    assert record_params.model.n_skips == 8


def test_the_record_has_67_tensors_with_hessians(record_params):
    state = on_paper(record_params.model).state_dict()
    kinds = [param_kind(name, tensor.shape, record_params.quantize.min_weights) for name, tensor in state.items()]
    assert kinds.count("embed") == 1
    assert kinds.count("matrix") == 66
    small = sum(
        tensor.numel()
        for name, tensor in state.items()
        if param_kind(name, tensor.shape, record_params.quantize.min_weights) == "small"
    )
    assert small == 11 * 2056 + 2 * 8 * 512


def test_before_its_first_step_the_record_knows_nothing_ln_8192_nats_a_token(record_params):
    """record-stack.md section 6.1: 9.008 to 9.010 over the validation text; ln 8192 = 9.0109."""
    model = GPT(record_params.model).init_weights(torch.Generator().manual_seed(1))
    tokens = torch.randint(8192, (1, 65), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        loss = model.nll(tokens[:, :-1], tokens[:, 1:], recurrent=False).mean().item()
    assert loss == pytest.approx(math.log(8192), abs=0.02)


shapes = st.builds(
    lambda base, layers, start, end, passes: dataclasses.replace(
        base,
        n_layers=layers,
        recur_start=start,
        recur_end=end,
        recur_passes=passes,
        parallel_residual_from=layers,
        xsa_from=layers,
    ),
    st.just(loader.load_config(ROOT / "profiles" / "laptop.yaml").model),
    st.integers(1, 12),
    st.integers(0, 11),
    st.integers(0, 11),
    st.integers(1, 4),
)


@given(shapes)
def test_every_layer_runs_in_order_and_only_the_looped_segment_again(shape):
    assume(shape.recur_start <= shape.recur_end < shape.n_layers)
    plain, looped = (sum(shape.order(looped), ()) for looped in (False, True))
    assert plain == tuple(range(shape.n_layers))
    inside = range(shape.recur_start, shape.recur_end + 1)
    assert looped == (*range(shape.recur_start), *[*inside] * shape.recur_passes, *range(inside.stop, shape.n_layers))


@given(shapes, st.booleans())
def test_the_decoder_is_at_most_one_layer_longer_and_the_skip_rows_always_suffice(shape, looped):
    assume(shape.recur_start <= shape.recur_end < shape.n_layers)
    encoder, decoder = shape.order(looped)
    assert len(decoder) - len(encoder) in (0, 1)
    assert len(encoder) <= shape.n_skips


def test_a_shape_survives_the_way_through_an_artifact(record_params):
    made, problems = validation.from_mapping(ModelConfig, dataclasses.asdict(record_params.model), "model")
    assert problems == []
    assert made == record_params.model
