"""golf.quantization.rate_control: any budget is met in few solves, and one too small is refused."""

import functools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compression import reader, writer
from golf.errors import BudgetExceededError, DivergenceError
from golf.quantization import codes_io, rate_control, report
from tests.helpers.quantization_inputs import draw_hessian, draw_weights, make_quantize_config
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

INPUTS = {"tok_emb.weight": "tok_emb", "blocks.0.mlp.fc.weight": "blocks.0.mlp.fc"}
WEIGHTS = {"tok_emb.weight": 0.3 * draw_weights(3000, 32), "blocks.0.mlp.fc.weight": draw_weights(640, 32, 1)}
HESSIANS = {"tok_emb": draw_hessian(32), "blocks.0.mlp.fc": draw_hessian(32, 1)}
SENSITIVITY = {name: torch.rand(len(w), generator=torch.Generator().manual_seed(3)) for name, w in WEIGHTS.items()}
OVERHEAD_BYTES = 9000


def measure_packed_size(quantized, parity_known: bool = False) -> int:
    """The size under a codec 2 % off the ideal."""
    return OVERHEAD_BYTES + round(
        1.02
        * sum(
            report.compute_empirical_entropy(q.codes, parity_known=parity_known) * q.codes.numel() / 8
            for q in quantized.values()
        )
    )


def quantize_to(max_bytes: int, coding: str = "scalar"):
    cfg, size_fn = (
        make_quantize_config(coding=coding),
        functools.partial(measure_packed_size, parity_known=coding == "trellis"),
    )
    return rate_control.quantize_to_budget(
        WEIGHTS, HESSIANS, INPUTS, cfg, SENSITIVITY, size_fn=size_fn, max_bytes=max_bytes
    )


@pytest.mark.parametrize("max_bytes", [25_000, 35_000, 50_000, 70_000])
def test_any_limit_is_met_to_a_thousandth_within_four_solves(max_bytes, monkeypatch):
    n_solves, solve = [], rate_control.solver.quantize_with_column_scales
    monkeypatch.setattr(
        rate_control.solver, "quantize_with_column_scales", lambda *args: n_solves.append(1) or solve(*args)
    )
    assert max_bytes * 0.999 <= measure_packed_size(quantize_to(max_bytes)[0]) <= max_bytes
    assert len(n_solves) <= 4


def test_a_limit_too_small_for_any_base_step_names_the_smallest_file_and_what_fills_it():
    with pytest.raises(
        BudgetExceededError,
        match=r"limit_bytes: leaves 7,000 bytes .* takes 9,000 without a single code .scales, small tensors",
    ):
        quantize_to(7000)


@pytest.mark.parametrize("coding", ["scalar", "trellis"])
def test_a_limit_that_only_the_coarsest_codes_would_meet_is_never_exceeded(coding):
    with pytest.raises(BudgetExceededError, match=r"leaves 9,001 bytes for the model, which takes"):
        quantize_to(9001, coding)


@pytest.mark.parametrize("coding", ["scalar", "trellis"])
def test_bytes_beyond_the_smallest_base_step_stay_unused_and_a_line_says_why(coding, capfd):
    quantized, base_step = quantize_to(1_000_000, coding)
    assert base_step == rate_control.MIN_BASE_STEP
    unused_bytes = 1_000_000 - measure_packed_size(quantized, parity_known=coding == "trellis")
    line = f"{unused_bytes:,} of 1,000,000 bytes ({unused_bytes / 1e6:.1%}) stay unused: at base step 0.000977"
    assert line in capfd.readouterr().err


def test_a_filled_limit_needs_no_line(capfd):
    quantize_to(50_000)
    assert capfd.readouterr().err == ""


def test_a_given_base_step_is_kept_whatever_the_budget():
    cfg = make_quantize_config(base_step=0.7)
    quantized, base_step = rate_control.quantize_to_budget(
        WEIGHTS, HESSIANS, INPUTS, cfg, SENSITIVITY, size_fn=measure_packed_size, max_bytes=10
    )
    expected = rate_control.solver.quantize_model(WEIGHTS, HESSIANS, INPUTS, cfg, SENSITIVITY)
    assert base_step == 0.7
    assert all(torch.equal(quantized[name].codes, expected[name].codes) for name in INPUTS)


def falling_size(base_step: float) -> int:
    return round(1e6 - 1e5 * math.log2(base_step))


@given(st.integers(500_000, 1_500_000), st.floats(0, 0.01), st.integers(0, 2**20))
def test_noisy_sizes_still_end_in_a_file_that_fits_and_is_not_much_smaller(max_bytes, jump, seed):
    rng = random.Random(seed)

    def solve(base_step):
        return rate_control.Attempt(base_step, round(falling_size(base_step) * (1 + rng.uniform(-jump, jump))), {})

    attempts = rate_control.search_base_step(solve, lambda base_step: 0.8 * falling_size(base_step), max_bytes)
    assert len(attempts) <= rate_control.SOLVE_BUDGET + 6
    assert rate_control.select_best(attempts, max_bytes).size_bytes > max_bytes * (0.99 - 4 * jump)


def test_two_nearly_equal_base_steps_do_not_send_the_search_to_the_end_of_its_range():
    sizes = iter([306_294, 300_126, 300_105, 299_600])
    attempts = rate_control.search_base_step(
        lambda base_step: rate_control.Attempt(base_step, next(sizes), {}), lambda base_step: 3e5 / base_step, 300_000
    )
    assert attempts[-1].size_bytes == 299_600
    assert attempts[-1].base_step < 2 * attempts[0].base_step


def quantize_with_outlier(outlier: float, max_bytes: int, coding: str = "scalar"):
    weights = {name: w.clone() for name, w in WEIGHTS.items()}
    weights["blocks.0.mlp.fc.weight"][0, 0] = outlier
    size_fn = functools.partial(measure_packed_size, parity_known=coding == "trellis")
    return rate_control.quantize_to_budget(
        weights,
        HESSIANS,
        INPUTS,
        make_quantize_config(coding=coding),
        SENSITIVITY,
        size_fn=size_fn,
        max_bytes=max_bytes,
    )


@pytest.mark.parametrize("coding", ["scalar", "trellis"])
@pytest.mark.parametrize("outlier", [1e4, 1e9])
def test_an_outlier_leaves_no_large_limit_unfilled(coding, outlier):
    quantized, _ = quantize_with_outlier(outlier, 150_000, coding=coding)
    assert 150_000 * 0.999 <= measure_packed_size(quantized, parity_known=coding == "trellis") <= 150_000


def test_an_outlier_beyond_every_row_scale_ends_in_an_error_that_names_its_tensor():
    with pytest.raises(DivergenceError, match=r"blocks\.0\.mlp\.fc\.weight: holds weights of about .* beyond fp16"):
        quantize_with_outlier(1e15, 50_000)


@pytest.mark.parametrize(
    ("codec", "coding", "rate_weight"),
    [("brotli", "scalar", 0.0), ("ans", "scalar", 0.0), ("ans", "scalar", 0.1)],
)
@pytest.mark.parametrize("max_bytes", [14_000, 30_000, 60_000])
def test_real_files_fit_and_fill_their_budget(codec, coding, rate_weight, max_bytes):
    check_budget(codec, coding, rate_weight, max_bytes)


def test_real_files_of_trellis_codes_fit_and_fill_their_budget():
    check_budget("ans", "trellis", 0.1, 30_000)


def check_budget(codec: str, coding: str, rate_weight: float, max_bytes: int) -> None:
    cfg = make_quantize_config(coding=coding, rate_weight=rate_weight)
    options = {"codec": codec, "brotli_quality": 5, "trellis_states": 8 if coding == "trellis" else None}

    def pack_size(quantized) -> int:
        stored = codes_io.to_storage(quantized, {})
        return len(writer.pack(stored, TINY_MODEL_CONFIG, upstream_splits=("train",), **options))

    quantized, _ = rate_control.quantize_to_budget(
        WEIGHTS, HESSIANS, INPUTS, cfg, SENSITIVITY, size_fn=pack_size, max_bytes=max_bytes
    )
    assert max_bytes * 0.98 < pack_size(quantized) <= max_bytes


@pytest.mark.parametrize("max_bytes", [60_000, 120_000, 160_000])
def test_weights_with_heavy_tails_fill_limits_that_need_codes_beyond_int16(max_bytes, tmp_path):
    rng = np.random.default_rng(0)
    weights = {name: torch.from_numpy(rng.standard_t(2, w.shape)).float() for name, w in WEIGHTS.items()}
    cfg = make_quantize_config()

    def pack(quantized) -> bytes:
        stored = codes_io.to_storage(quantized, {})
        return writer.pack(stored, TINY_MODEL_CONFIG, upstream_splits=("train",), codec="ans", brotli_quality=5)

    quantized, _ = rate_control.quantize_to_budget(
        weights, HESSIANS, INPUTS, cfg, SENSITIVITY, size_fn=lambda quantized: len(pack(quantized)), max_bytes=max_bytes
    )
    (tmp_path / "model.golf").write_bytes(pack(quantized))
    assert max_bytes * 0.998 <= len(pack(quantized)) <= max_bytes  # so small a file changes by jumps of 0.1 %
    stored, _ = reader.read(tmp_path / "model.golf")
    for name, pair in quantized.items():
        assert torch.equal(stored[name + ".codes"], pair.codes)
        assert stored[name + ".codes"].dtype == pair.codes.dtype
    assert (torch.int32 in {pair.codes.dtype for pair in quantized.values()}) == (max_bytes == 160_000)


@pytest.mark.parametrize("bend", [0.5, 1.0, 2.0])
def test_the_search_corrects_an_estimate_that_is_off_in_height_and_slope(bend):
    def solve(base_step):
        return rate_control.Attempt(base_step, round(1e6 - 1e5 * math.log2(base_step)), {})

    attempts = rate_control.search_base_step(
        solve, lambda base_step: 9e5 - (1 + 0.05 * bend) * 1e5 * math.log2(base_step), 950_000
    )
    assert rate_control.is_within_tolerance(attempts[-1], 950_000)


def test_of_files_within_the_budget_the_largest_is_shipped():
    attempts = [rate_control.Attempt(1.0, size, {}) for size in (90, 120, 99, 101)]
    assert rate_control.select_best(attempts, 100).size_bytes == 99
    assert rate_control.make_unfilled_note(attempts, 99) == ""
    note = "1 of 100 bytes (1.0%) stay unused: none of 4 files came closer"
    assert rate_control.make_unfilled_note(attempts, 100) == note
