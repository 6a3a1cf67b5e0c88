import math
import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compression import writer
from golf.errors import BudgetExceededError
from golf.quantization import codes_io, rate_control, report
from golf.quantization.column_scales import StepTooSmallError
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.unit.quantization.test_gptq import correlated, drawn

INPUTS = {"tok_emb.weight": "tok_emb", "blocks.0.mlp.fc.weight": "blocks.0.mlp.fc"}
WEIGHTS = {"tok_emb.weight": 0.3 * drawn(3000, 32), "blocks.0.mlp.fc.weight": drawn(640, 32, 1)}
HESSIANS = {"tok_emb": correlated(32), "blocks.0.mlp.fc": correlated(32, 1)}
SENSITIVITY = {name: torch.rand(len(w), generator=torch.Generator().manual_seed(3)) for name, w in WEIGHTS.items()}
OVERHEAD = 9000


def size_of(quantized) -> int:
    """As a codec 2 % off the ideal would pack it."""
    return OVERHEAD + round(
        1.02 * sum(report.empirical_entropy(q.codes) * q.codes.numel() / 8 for q in quantized.values())
    )


def spent(room: int):
    plan = SimpleNamespace(grid="row_column", base_step=None, damping_frac=0.01, block_size=128)
    return rate_control.quantize_to_budget(
        WEIGHTS, HESSIANS, INPUTS, plan, SENSITIVITY, size_fn=size_of, max_bytes=room
    )


@pytest.mark.parametrize("room", [25_000, 35_000, 50_000, 70_000])
def test_any_limit_is_met_to_a_thousandth_within_four_solves(room, monkeypatch):
    solves, whole = [], rate_control.solver.quantize_with_column_scales
    monkeypatch.setattr(
        rate_control.solver, "quantize_with_column_scales", lambda *given: solves.append(1) or whole(*given)
    )
    assert room * 0.999 <= size_of(spent(room)[0]) <= room
    assert len(solves) <= 4


def test_a_limit_too_small_for_any_level_names_the_smallest_file_and_what_fills_it():
    with pytest.raises(
        BudgetExceededError, match=r"limit_bytes: leaves 7,000 bytes .* takes 9,000 .steps, small tensors"
    ):
        spent(7000)


def test_a_limit_that_only_the_coarsest_codes_would_meet_is_never_exceeded():
    with pytest.raises(BudgetExceededError, match=r"leaves 9,001 bytes for the model, which takes"):
        spent(9001)


def test_more_room_than_the_finest_level_needs_stays_empty():
    assert spent(1_000_000)[1] == rate_control.MIN_BASE_STEP


def test_a_level_fixed_by_hand_is_kept_whatever_the_room():
    plan = SimpleNamespace(grid="row_column", base_step=0.7, damping_frac=0.01, block_size=128)
    found, level = rate_control.quantize_to_budget(
        WEIGHTS, HESSIANS, INPUTS, plan, SENSITIVITY, size_fn=size_of, max_bytes=10
    )
    expected = rate_control.solver.quantize_model(WEIGHTS, HESSIANS, INPUTS, plan, SENSITIVITY)
    assert level == 0.7
    assert all(torch.equal(found[name].codes, expected[name].codes) for name in INPUTS)


def shrinking(level: float) -> int:
    return round(1e6 - 1e5 * math.log2(level))


@settings(max_examples=200)
@given(st.integers(500_000, 1_500_000), st.floats(0, 0.01), st.integers(0, 2**20))
def test_sizes_that_jump_about_the_room_still_end_in_a_file_that_fits_and_is_not_much_smaller(sandbox, jump, seed):
    dice = random.Random(seed)

    def solve(level):
        return rate_control.Attempt(level, round(shrinking(level) * (1 + dice.uniform(-jump, jump))), {})

    tried = rate_control.search_base_step(solve, lambda level: 0.8 * shrinking(level), sandbox)
    assert len(tried) <= rate_control.SOLVE_BUDGET + 6
    assert rate_control.select_best(tried, sandbox).size_bytes > sandbox * (0.99 - 4 * jump)


def test_two_levels_that_are_nearly_the_same_do_not_throw_the_search_to_the_end_of_its_range():
    sizes = iter([306_294, 300_126, 300_105, 299_600])
    tried = rate_control.search_base_step(
        lambda level: rate_control.Attempt(level, next(sizes), {}), lambda level: 3e5 / level, 300_000
    )
    assert tried[-1].size_bytes == 299_600
    assert tried[-1].base_step < 2 * tried[0].base_step


def test_a_limit_that_only_levels_too_fine_for_the_codes_would_fill_gets_the_finest_file_there_is():
    _, level = spent(200_000)
    assert level == rate_control.MIN_BASE_STEP
    weights = {name: w * 1e3 for name, w in WEIGHTS.items()}
    outlier = weights["blocks.0.mlp.fc.weight"]
    outlier[0, 0] *= 1e3
    plan = SimpleNamespace(grid="row_column", base_step=None, damping_frac=0.01, block_size=128)
    _, level = rate_control.quantize_to_budget(
        weights, HESSIANS, INPUTS, plan, SENSITIVITY, size_fn=size_of, max_bytes=200_000
    )
    assert level > rate_control.MIN_BASE_STEP


def test_an_outlier_beyond_every_level_ends_in_an_error_that_names_its_tensor():
    weights = {name: w.clone() for name, w in WEIGHTS.items()}
    weights["blocks.0.mlp.fc.weight"][0, 0] = 1e9
    plan = SimpleNamespace(grid="row_column", base_step=None, damping_frac=0.01, block_size=128)
    with pytest.raises(
        StepTooSmallError, match=r"blocks\.0\.mlp\.fc\.weight: needs a code of .* raise quantize\.base_step"
    ):
        rate_control.quantize_to_budget(weights, HESSIANS, INPUTS, plan, SENSITIVITY, size_fn=size_of, max_bytes=50_000)


@pytest.mark.parametrize("codec", ["brotli", "ans"])
@pytest.mark.parametrize("room", [14_000, 30_000, 60_000])
def test_real_files_fit_and_fill_their_room(codec, room):
    plan = SimpleNamespace(grid="row_column", base_step=None, damping_frac=0.01, block_size=128)

    def packed(quantized) -> int:
        stored = codes_io.to_storage(quantized, {})
        return len(writer.pack(stored, TINY_MODEL_CONFIG, upstream_splits=("train",), codec=codec, brotli_quality=5))

    found, _ = rate_control.quantize_to_budget(
        WEIGHTS, HESSIANS, INPUTS, plan, SENSITIVITY, size_fn=packed, max_bytes=room
    )
    assert room * 0.98 < packed(found) <= room


@pytest.mark.parametrize("bend", [0.5, 1.0, 2.0])
def test_the_search_puts_right_a_guess_that_is_off_in_height_and_slope(bend):
    def solve(level):
        return rate_control.Attempt(level, round(1e6 - 1e5 * math.log2(level)), {})

    tried = rate_control.search_base_step(
        solve, lambda level: 9e5 - (1 + 0.05 * bend) * 1e5 * math.log2(level), 950_000
    )
    assert rate_control.is_within_tolerance(tried[-1], 950_000)


def test_of_files_within_the_room_the_largest_is_shipped():
    tried = [rate_control.Attempt(1.0, size, {}) for size in (90, 120, 99, 101)]
    assert rate_control.select_best(tried, 100).size_bytes == 99
