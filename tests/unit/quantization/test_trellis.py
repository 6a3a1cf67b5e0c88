"""golf.quantization.trellis: paths against a search over all of them, rates, and inputs at the edge."""

import dataclasses
import itertools
import math
import sys

import numpy as np
import pytest
import torch

from golf.compression import ans_fit, quantized_tensor, trellis, writer
from golf.compression.trellis_writer import follow_states
from golf.errors import DivergenceError, UnavailableError
from golf.quantization import report, solver, viterbi
from golf.quantization import trellis as trellis_coding
from golf.quantization.trellis import Coding, ColumnRounder, RateModel
from tests.helpers.quantization_inputs import draw_hessian, draw_layers, draw_weights, make_quantize_config

PROJ = "blocks.0.mlp.proj.weight"


def path_cost(codes, x, importance, mean, level, coding: Coding) -> float:
    """The cost that a path of codes minimizes, in Python's floats."""
    total = 0.0
    for n, value, weight, m, l in zip(codes, x, importance, mean, level, strict=True):
        total += weight * (value - n) ** 2
        if coding.rate_weight:
            parity = (n - m) & 1 if coding.trellis_states else None
            support = np.arange(-60, 61)
            support = support if parity is None else support[support % 2 == parity]
            half_precision = 32 * 0.8**l
            log2_sum = math.log2(np.exp(-half_precision * support.astype(float) ** 2).sum())
            bits = half_precision * math.log2(math.e) * (n - m) ** 2 + log2_sum
            total += coding.rate_weight * coding.spacing**2 * min(bits, 24)
    return total


def all_paths(n_states: int, x) -> list[list[int]]:
    """Every path whose codes lie near the column, or between it and the means."""
    paths = [([], 0)]
    for value in x:
        paths = [
            ([*codes, n], int(trellis.next_states(n_states)[state, n >> 1 & 1]))
            for codes, state in paths
            for n in range(math.floor(min(value, -2)) - 3, math.ceil(max(value, 2)) + 4)
            if (n ^ state) & 1 == 0
        ]
    return [codes for codes, _ in paths]


@pytest.mark.parametrize("n_states", trellis.STATE_COUNTS)
@pytest.mark.parametrize("rate_weight", [0.0, 0.1, 0.7])
def test_the_path_is_the_cheapest_of_all(n_states, rate_weight):
    rng, coding = np.random.default_rng(n_states), Coding(trellis_states=n_states, rate_weight=rate_weight)
    for _ in range(3):
        x, importance = rng.normal(0, 2, 4).astype(np.float32), rng.uniform(0.5, 2, 4).astype(np.float32)
        mean, level = rng.integers(-2, 3, 4).astype(np.int32), rng.integers(4, 20, 4).astype(np.int16)
        codes = np.empty((1, 4), np.float32)
        bit_cost = coding.rate_weight * 4
        viterbi.find_path(
            x[None], importance[None], mean[None], level[None], bit_cost * ans_fit.square_bits(),
            bit_cost * ans_fit.log2_parity_partitions(), bit_cost * 24, np.array([[0, 4]]),
            trellis.next_states(n_states), codes,
        )  # fmt: skip
        x, importance, mean, level = (values.tolist() for values in (x, importance, mean, level))
        found = path_cost([int(n) for n in codes[0]], x, importance, mean, level, coding)
        follow_states(codes.T.astype(int), n_states)
        cheapest = min(path_cost(path, x, importance, mean, level, coding) for path in all_paths(n_states, x))
        assert found == pytest.approx(cheapest, abs=1e-9)


@pytest.mark.parametrize("rate_weight", [0.02, 0.1, 0.5])
def test_a_scalar_code_is_the_cheapest_of_all(rate_weight):
    rng, coding = np.random.default_rng(3), Coding(trellis_states=None, rate_weight=rate_weight)
    codes_OI = torch.from_numpy(np.rint(rng.normal(0, 2, (40, 3))).astype(np.int16))
    model = RateModel.fit(codes_OI, coding)
    importance = torch.rand(1, 40) + 0.5
    rounder = ColumnRounder(coding, [[40]], importance, torch.ones(1, 3), [[model]], torch.tensor([[2, 0, 1]]))
    x = torch.from_numpy(rng.normal(0, 3, 40)).float()
    codes = rounder(x[None, None], 1)[0, 0]
    for row in range(40):
        parts = (
            importance[0, row : row + 1].tolist(),
            model.template_OI[row, :1].tolist(),
            model.level_OI[row, :1].tolist(),
        )
        costs = [path_cost([n], x[row : row + 1].tolist(), *parts, coding) for n in range(-15, 16)]
        assert path_cost([int(codes[row])], x[row : row + 1].tolist(), *parts, coding) == pytest.approx(min(costs))


def test_paths_of_tensors_that_are_solved_together_start_anew():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 3, (2, 1, 30))).float()
    coding = Coding(trellis_states=8, rate_weight=0.0)
    ones = torch.ones(2, 30), torch.ones(2, 1)
    codes = ColumnRounder(coding, [[20, 10], [12, 10, 8]], *ones, None, torch.zeros(2, 1, dtype=torch.int64))(x, 0)
    for stack, bounds in ((0, [0, 20, 30]), (1, [0, 12, 22, 30])):
        for start, end in itertools.pairwise(bounds):
            part = codes[stack, 0, start:end, None].int().numpy()
            follow_states(part, 8)
            alone = ColumnRounder(
                coding, [[end - start]], torch.ones(1, end - start), torch.ones(1, 1), None, torch.zeros(1, 1).long()
            )(x[stack : stack + 1, :, start:end], 0)
            assert np.array_equal(alone[0, 0].numpy(), part[:, 0])


@pytest.mark.parametrize(("n_states", "gain"), [(4, 0.165), (8, 0.177), (16, 0.187)])
def test_gaussians_take_the_published_bits_less_than_scalar_rounding_at_equal_error(n_states, gain):
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 5, (1, 1, 40_000))).float()
    coding = Coding(trellis_states=n_states, rate_weight=0.0)
    rounder = ColumnRounder(coding, [[40_000]], torch.ones(1, 40_000), torch.ones(1, 1), None, torch.zeros(1, 1).long())
    codes = rounder(x, 0)
    error = float((x - codes).square().mean())
    bits = report.compute_empirical_entropy(codes.int(), parity_known=True)
    scalar_bits = report.compute_empirical_entropy((x / math.sqrt(12 * error)).round().int())
    assert scalar_bits - bits == pytest.approx(gain, abs=0.02)


def problem():
    weights, hessians, inputs = draw_layers()
    rng = torch.Generator().manual_seed(4)
    return weights, hessians, inputs, {name: torch.rand(len(weights[name]), generator=rng) + 0.1 for name in inputs}


def quantize(weights, hessians, inputs, sensitivity, **changes):
    options = {"base_step": 0.5, "coding": "trellis", "rate_weight": 0.05} | changes
    return solver.quantize_model(weights, hessians, inputs, make_quantize_config(**options), sensitivity)


def assert_roundtrip(quantized, n_states=8):
    for qtensor in quantized.values():
        codes = qtensor.codes.numpy()
        packed = writer.encode_trellis([codes], n_states, 5)
        assert np.array_equal(trellis.decode(packed, codes.dtype, [codes.shape])[0], codes)
        assert quantized_tensor.dequantize(qtensor).isfinite().all()


@pytest.mark.parametrize("n_states", trellis.STATE_COUNTS)
@pytest.mark.parametrize("rate_weight", [0.0, 0.1])
def test_the_codes_of_every_tensor_of_a_model_follow_the_trellis(n_states, rate_weight):
    weights, hessians, inputs, sensitivity = problem()
    quantized = quantize(weights, hessians, inputs, sensitivity, trellis_states=n_states, rate_weight=rate_weight)
    assert list(quantized) == list(inputs)
    assert_roundtrip(quantized, n_states)


@pytest.mark.parametrize("max_elements", [1, 1 << 24])
def test_solving_many_together_gives_each_matrix_its_own_codes(max_elements, monkeypatch):
    together = quantize(*problem())
    monkeypatch.setattr(solver, "MAX_BATCH_ELEMENTS", max_elements)
    assert all(torch.equal(qtensor.codes, together[name].codes) for name, qtensor in quantize(*problem()).items())


@pytest.mark.parametrize("coding", ["scalar", "trellis"])
def test_a_dearer_bit_gives_fewer_bits_and_more_error(coding):
    w, h = draw_weights(400, 48), draw_hessian(48)
    name, bits, errors = "blocks.0.mlp.fc.weight", [], []
    for rate_weight in (0.0, 0.1, 0.4):
        quantized = quantize(
            {name: w},
            {"x": h},
            {name: "x"},
            {name: torch.ones(400)},
            coding=coding,
            rate_weight=rate_weight,
            base_step=1.0,
        )[name]
        bits.append(report.compute_empirical_entropy(quantized.codes, parity_known=coding == "trellis"))
        errors.append(report.compute_output_error(w, quantized, h))
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_zero_and_constant_tensors_and_dead_columns_are_solved_like_any_other(value):
    weights, hessians, inputs, sensitivity = problem()
    weights[PROJ].fill_(value)
    hessians["blocks.1.mlp.proj"][5], hessians["blocks.1.mlp.proj"][:, 5] = 0, 0
    hessians["tok_emb"].zero_()
    quantized = quantize(weights, hessians, inputs, sensitivity)
    assert_roundtrip(quantized)
    assert quantized["blocks.1.mlp.proj.weight"].codes[:, 5].eq(0).all()
    assert quantized["tok_emb.weight"].codes.eq(0).all()
    assert value or quantized[PROJ].codes.eq(0).all()


def test_a_tensor_of_one_row_is_solved_like_any_other():
    name, w = "blocks.0.mlp.fc.weight", draw_weights(1, 40)
    quantized = quantize({name: w}, {"x": draw_hessian(40)}, {name: "x"}, {name: torch.ones(1)})
    assert_roundtrip(quantized)
    assert (quantized[name].codes & 1).eq(0).all()  # paths start at state 0, whose codes are even


@pytest.mark.parametrize("coding", ["scalar", "trellis"])
@pytest.mark.parametrize("outlier", [500.0, 1e9])
def test_an_outlier_makes_the_steps_of_its_row_coarser_and_of_no_other(coding, outlier):
    weights, hessians, inputs, sensitivity = problem()
    weights[PROJ][3, 7] = outlier
    quantized = quantize(weights, hessians, inputs, sensitivity, base_step=2.0**-10, coding=coding)
    if coding == "trellis":
        assert_roundtrip(quantized)
    restored = quantized_tensor.dequantize(quantized[PROJ])
    assert float(restored[3, 7]) == pytest.approx(outlier, rel=1e-3)
    others = [row for row in range(16) if row != 3]
    assert torch.allclose(restored[others], weights[PROJ][others], atol=20 * 2.0**-10 * float(weights[PROJ].std()))


def test_weights_that_are_not_finite_are_refused_by_name():
    weights, hessians, inputs, sensitivity = problem()
    weights[PROJ][2, 3] = math.nan
    with pytest.raises(DivergenceError, match=r"blocks\.0\.mlp\.proj\.weight: holds weights that are not finite"):
        quantize(weights, hessians, inputs, sensitivity)


@pytest.mark.parametrize(("base_step", "message"), [(1e-9, "raise it"), (1e9, "beyond fp16; lower it")])
def test_a_step_too_fine_or_too_coarse_is_refused_by_name(base_step, message):
    weights, *others = problem()
    with pytest.raises(DivergenceError, match=rf"weight: quantize\.base_step = .* {message}"):
        quantize({name: 1e-3 * w for name, w in weights.items()}, *others, base_step=base_step)


def test_codes_of_a_trellis_end_where_float32_holds_no_odd_numbers(monkeypatch):
    assert solver._MAX_TRELLIS_CODE == 2**24
    assert np.float32(2**24 - 1) + 1 == np.float32(2**24) == np.float32(2**24) + np.float32(1)
    monkeypatch.setattr(solver, "_MAX_TRELLIS_CODE", 3)
    with pytest.raises(
        DivergenceError, match=r"weight: needs a code of .*, the largest is 3; raise quantize\.base_step"
    ):
        quantize(*problem())


def test_a_compiler_that_fails_ends_in_the_same_message(monkeypatch):
    def fail() -> None:
        raise RuntimeError("no target for this machine")

    trellis_coding._load_kernel.cache_clear()
    monkeypatch.setattr(viterbi, "compile_kernel", fail)
    with pytest.raises(UnavailableError, match=r"numba, which does not work here \(no target for this machine\)"):
        quantize(*problem())


def test_without_the_compiler_scalar_coding_works_and_the_trellis_says_what_to_install(monkeypatch):
    trellis_coding._load_kernel.cache_clear()
    monkeypatch.delitem(sys.modules, "golf.quantization.viterbi")
    monkeypatch.delattr("golf.quantization.viterbi")
    monkeypatch.setitem(sys.modules, "numba", None)
    assert quantize(*problem(), coding="scalar")
    with pytest.raises(
        UnavailableError, match=r"quantize\.coding: trellis needs .* numba.* set quantize\.coding: scalar"
    ):
        quantize(*problem())
    trellis_coding._load_kernel.cache_clear()


def test_the_table_of_a_trellis_counts_bits_given_parities():
    weights, hessians, inputs, sensitivity = problem()
    cfg = make_quantize_config(base_step=0.5, coding="trellis")
    coding = Coding.from_config(cfg)
    quantized = solver.quantize_model(weights, hessians, inputs, cfg, sensitivity)
    row = report.list_tensors(weights, quantized, hessians, inputs, cfg, coding)[-1]
    qtensor, h, w = quantized[row["tensor"]], hessians[inputs[row["tensor"]]], weights[row["tensor"]]
    codes = qtensor.codes
    bits = sum(
        float((codes & 1 == parity).double().mean()) * report.compute_empirical_entropy(codes[codes & 1 == parity])
        for parity in (0, 1)
    )
    assert row["bits_per_weight"] == pytest.approx(bits, abs=1e-4)
    rounded = dataclasses.replace(
        qtensor,
        codes=2 * (w / quantized_tensor.dequantize(dataclasses.replace(qtensor, codes=torch.full_like(w, 2)))).round(),
    )
    expected = report.compute_output_error(w, qtensor, h) / report.compute_output_error(w, rounded, h)
    assert row["error_vs_rtn"] == pytest.approx(expected, abs=1e-3)
