"""golf/ground/shape.py: the record's network in numbers (record-stack.md sections 1.3 and 6.1)"""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from golf.ground import params, schema
from golf.ground.shape import Shape
from golf.model.gpt import GPT
from golf.quant.kinds import kind

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def record() -> params.Params:
    return params.read(ROOT / "profiles" / "record.yaml")


def on_paper(shape: Shape) -> GPT:
    """The model without its numbers."""
    with torch.device("meta"):
        return GPT(shape)


def test_the_record_has_exactly_its_number_of_parameters(record):
    assert sum(weight.numel() for weight in on_paper(record.model).parameters()) == 35_944_536


def test_a_loop_over_two_layers_has_one_skip_row_fewer_and_1024_parameters_less(record):
    """record-stack.md section 6.1: loop 4-5, 7 skips."""
    shape = dataclasses.replace(record.model, loop_start=4)
    assert shape.skips == 7
    assert sum(weight.numel() for weight in on_paper(shape).parameters()) == 35_943_512


def test_the_record_runs_11_layers_before_the_loop_and_17_with_it(record):
    assert record.model.order(looped=False) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9, 10))
    assert record.model.order(looped=True) == ((0, 1, 2, 3, 4, 5, 3, 4), (5, 3, 4, 5, 6, 7, 8, 9, 10))


def test_the_record_uses_5_skips_before_the_loop_and_8_with_it(record):
    assert len(record.model.order(looped=False)[0]) == 5
    assert record.model.skips == 8


def test_the_record_has_67_tensors_with_hessians(record):
    state = on_paper(record.model).state_dict()
    kinds = [kind(name, tensor.shape, record.quantize.min_weights) for name, tensor in state.items()]
    assert kinds.count("embed") == 1
    assert kinds.count("matrix") == 66
    small = sum(
        tensor.numel()
        for name, tensor in state.items()
        if kind(name, tensor.shape, record.quantize.min_weights) == "small"
    )
    assert small == 11 * 2056 + 2 * 8 * 512


def test_before_its_first_step_the_record_knows_nothing_ln_8192_nats_a_token(record):
    """record-stack.md section 6.1: 9.008 to 9.010 over the validation text; ln 8192 = 9.0109."""
    model = GPT(record.model).initialise(torch.Generator().manual_seed(1))
    tokens = torch.randint(8192, (1, 65), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        loss = model.nll(tokens[:, :-1], tokens[:, 1:], looped=False).mean().item()
    assert loss == pytest.approx(math.log(8192), abs=0.02)


shapes = st.builds(
    lambda base, layers, start, end, passes: dataclasses.replace(
        base, layers=layers, loop_start=start, loop_end=end, loop_passes=passes, parallel_from=layers, xsa_from=layers
    ),
    st.just(params.read(ROOT / "profiles" / "laptop.yaml").model),
    st.integers(1, 12),
    st.integers(0, 11),
    st.integers(0, 11),
    st.integers(1, 4),
)


@given(shapes)
def test_every_layer_runs_in_order_and_only_the_looped_segment_again(shape):
    assume(shape.loop_start <= shape.loop_end < shape.layers)
    plain, looped = (sum(shape.order(looped), ()) for looped in (False, True))
    assert plain == tuple(range(shape.layers))
    inside = range(shape.loop_start, shape.loop_end + 1)
    assert looped == (*range(shape.loop_start), *[*inside] * shape.loop_passes, *range(inside.stop, shape.layers))


@given(shapes, st.booleans())
def test_the_decoder_is_at_most_one_layer_longer_and_the_skip_rows_always_suffice(shape, looped):
    assume(shape.loop_start <= shape.loop_end < shape.layers)
    encoder, decoder = shape.order(looped)
    assert len(decoder) - len(encoder) in (0, 1)
    assert len(encoder) <= shape.skips


def test_a_shape_survives_the_way_through_an_artifact(record):
    made, problems = schema.build(Shape, dataclasses.asdict(record.model), "model")
    assert problems == []
    assert made == record.model
