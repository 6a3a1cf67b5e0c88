"""golf.quantization.report: what quantization cost, against a slow count by hand."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compression.quantized_tensor import QuantizedTensor
from golf.quantization import report

NAME = "blocks.0.mlp.fc.weight"


def random_codes(rows: int, columns: int, seed: int = 0) -> QuantizedTensor:
    """Codes that spread less where the column scale is larger; the scales in no order, some of them equal."""
    rng = torch.Generator().manual_seed(seed)
    col_scales = 2.0 ** torch.randint(-3, 4, (columns,), generator=rng)
    codes = (3 * torch.randn(rows, columns, generator=rng) / col_scales).round()
    return QuantizedTensor(codes.to(torch.int16), torch.full((rows,), 0.1).half(), col_scales.half())


def slow_entropy(codes: list[int]) -> float:
    counts = Counter(codes)
    return -sum(n / len(codes) * math.log2(n / len(codes)) for n in counts.values())


@given(st.lists(st.sampled_from([0, 1, 127, -(2**31), 2**31 - 128]), min_size=1, max_size=20))
def test_entropy_of_codes_with_outliers_is_that_of_a_slow_count(codes):
    assert report.compute_empirical_entropy(torch.tensor(codes, dtype=torch.int32)) == pytest.approx(
        slow_entropy(codes)
    )


def reference_rows(codes, by: list[float], groups: int) -> list[tuple[int, int, float]]:
    """(group, columns, bits): columns sorted and split by hand, the first groups one longer where they must be."""
    order = sorted(range(len(by)), key=lambda i: -by[i])
    rows, start = [], 0
    for group in range(groups):
        width = len(by) // groups + (group < len(by) % groups)
        columns = order[start : start + width]
        start += width
        rows.append((group + 1, width, round(slow_entropy([row[i] for row in codes.tolist() for i in columns]), 4)))
    return rows


def as_tuples(rows: list[dict]) -> list[tuple[int, int, float]]:
    return [(row["group"], row["columns"], pytest.approx(row["bits_per_weight"], abs=1e-4)) for row in rows]


@pytest.mark.parametrize(("rows", "columns"), [(30, 32), (30, 35), (30, 16), (30, 5), (30, 1), (1, 40), (1, 1)])
def test_bits_by_column_equal_a_slow_count_by_hand(rows, columns):
    quantized = random_codes(rows, columns)
    table = report.list_column_groups(NAME, quantized, torch.eye(columns))
    assert reference_rows(quantized.codes, quantized.col_scales.tolist(), min(16, columns)) == as_tuples(table)
    assert {(row["tensor"], row["kind"]) for row in table} == {(NAME, "matrix")}


def test_without_column_steps_the_columns_go_by_falling_diagonal_of_the_hessian():
    quantized = random_codes(20, 48)
    diagonal = torch.rand(48, generator=torch.Generator().manual_seed(1))
    table = report.list_column_groups(
        NAME, QuantizedTensor(quantized.codes, quantized.row_scales), torch.diag(diagonal)
    )
    assert reference_rows(quantized.codes, diagonal.tolist(), 16) == as_tuples(table)


def test_coarse_columns_come_first_and_hold_fewer_bits():
    bits = [row["bits_per_weight"] for row in report.list_column_groups(NAME, random_codes(400, 160), torch.eye(160))]
    assert bits[0] < bits[8] < bits[-1]


@given(rows=st.integers(1, 9), columns=st.integers(1, 40), seed=st.integers(0, 9))
def test_every_column_is_in_one_group_and_no_group_differs_from_another_by_more_than_one(rows, columns, seed):
    widths = [
        row["columns"] for row in report.list_column_groups(NAME, random_codes(rows, columns, seed), torch.eye(columns))
    ]
    assert sum(widths) == columns
    assert len(widths) == min(16, columns)
    assert max(widths) - min(widths) <= 1


def test_the_table_of_columns_holds_every_quantized_tensor_under_its_own_hessian():
    codes, steps = random_codes(6, 20).codes, torch.ones(6).half()
    quantized = {"tok_emb.weight": QuantizedTensor(codes, steps), NAME: QuantizedTensor(codes, steps)}
    rising = torch.diag(torch.arange(1.0, 21.0))
    hessians = {"tok_emb": rising, "blocks.0.mlp.fc": rising.flip(0, 1)}
    rows = report.list_columns(quantized, hessians, {"tok_emb.weight": "tok_emb", NAME: "blocks.0.mlp.fc"})
    assert [(row["tensor"], row["kind"], row["group"]) for row in rows] == [
        (name, kind, group) for name, kind in (("tok_emb.weight", "embed"), (NAME, "matrix")) for group in range(1, 17)
    ]
    assert rows[:16] == report.list_column_groups("tok_emb.weight", quantized["tok_emb.weight"], rising)
    assert rows[16:] == report.list_column_groups(NAME, quantized[NAME], rising.flip(0, 1))
    assert [row["bits_per_weight"] for row in rows[:16]] != [row["bits_per_weight"] for row in rows[16:]]


def test_a_tensors_row_has_its_entropy_and_its_mean_step():
    w = torch.tensor([[3.0, -3.0, 3.0, -3.0], [3.0, 3.0, -3.0, -3.0]])
    codes = torch.tensor([[6, -3, 6, -3], [3, 1, -3, -1]], dtype=torch.int16)
    quantized = QuantizedTensor(codes, torch.tensor([0.5, 1.0]).half(), torch.tensor([1.0, 2.0, 1.0, 4.0]).half())
    row = report.make_tensor_row(NAME, w, quantized, torch.eye(4), None)
    assert row["bits_per_weight"] == round(slow_entropy(codes.flatten().tolist()), 4)
    assert row["entropy_bytes"] == round(slow_entropy(codes.flatten().tolist()) * 8 / 8)
    steps = [r * c for r in (0.5, 1.0) for c in (1.0, 2.0, 1.0, 4.0)]
    assert row["mean_step_rms"] == round(math.prod(steps) ** (1 / 8) / 3, 4)


def test_a_tensor_of_zeros_has_no_step_relative_to_its_rms():
    zeros = QuantizedTensor(torch.zeros(3, 4, dtype=torch.int8), torch.ones(3).half(), torch.ones(4).half())
    row = report.make_tensor_row(NAME, torch.zeros(3, 4), zeros, torch.eye(4), None)
    assert (row["bits_per_weight"], row["entropy_bytes"], row["mean_step_rms"]) == (0.0, 0, None)
