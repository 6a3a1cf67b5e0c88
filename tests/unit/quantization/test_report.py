"""golf/quantization/report.py: what quantisation cost, against a slow count by hand"""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.compression.quantized_tensor import QuantizedTensor
from golf.quantization import report

NAME = "blocks.0.mlp.fc.weight"


def drawn(rows: int, columns: int, seed: int = 0) -> QuantizedTensor:
    """Codes that spread less where the column step is larger; the steps in no order, some of them equal."""
    dice = torch.Generator().manual_seed(seed)
    steps = 2.0 ** torch.randint(-3, 4, (columns,), generator=dice)
    codes = (3 * torch.randn(rows, columns, generator=dice) / steps).round()
    return QuantizedTensor(codes.to(torch.int16), torch.full((rows,), 0.1).half(), steps.half())


def slow_entropy(codes: list[int]) -> float:
    counts = Counter(codes)
    return -sum(n / len(codes) * math.log2(n / len(codes)) for n in counts.values())


def slow_rows(codes, by: list[float], groups: int) -> list[tuple[int, int, float]]:
    """(group, columns, bits): columns sorted by hand and dealt out, the first groups one longer where they must be."""
    order = sorted(range(len(by)), key=lambda i: -by[i])
    found, start = [], 0
    for place in range(groups):
        width = len(by) // groups + (place < len(by) % groups)
        part = order[start : start + width]
        start += width
        found.append((place + 1, width, round(slow_entropy([row[i] for row in codes.tolist() for i in part]), 4)))
    return found


def figures(rows: list[dict]) -> list[tuple[int, int, float]]:
    return [(row["group"], row["columns"], pytest.approx(row["bits"], abs=1e-4)) for row in rows]


@pytest.mark.parametrize(("rows", "columns"), [(30, 32), (30, 35), (30, 16), (30, 5), (30, 1), (1, 40), (1, 1)])
def test_bits_by_column_equal_a_slow_count_by_hand(rows, columns):
    quantized = drawn(rows, columns)
    found = report.column_rows(NAME, quantized, torch.eye(columns))
    assert slow_rows(quantized.codes, quantized.col_scales.tolist(), min(16, columns)) == figures(found)
    assert {(row["tensor"], row["class"]) for row in found} == {(NAME, "matrix")}


def test_without_column_steps_the_columns_go_by_falling_diagonal_of_the_hessian():
    quantized = drawn(20, 48)
    diagonal = torch.rand(48, generator=torch.Generator().manual_seed(1))
    found = report.column_rows(NAME, QuantizedTensor(quantized.codes, quantized.row_scales), torch.diag(diagonal))
    assert slow_rows(quantized.codes, diagonal.tolist(), 16) == figures(found)


def test_coarse_columns_come_first_and_hold_fewer_bits():
    bits = [row["bits"] for row in report.column_rows(NAME, drawn(400, 160), torch.eye(160))]
    assert bits[0] < bits[8] < bits[-1]


@given(rows=st.integers(1, 9), columns=st.integers(1, 40), seed=st.integers(0, 9))
def test_every_column_is_in_one_group_and_no_group_differs_from_another_by_more_than_one(rows, columns, seed):
    widths = [row["columns"] for row in report.column_rows(NAME, drawn(rows, columns, seed), torch.eye(columns))]
    assert sum(widths) == columns
    assert len(widths) == min(16, columns)
    assert max(widths) - min(widths) <= 1


def test_the_table_of_columns_holds_every_quantised_tensor_under_its_own_hessian():
    codes, steps = drawn(6, 20).codes, torch.ones(6).half()
    quantized = {"tok_emb.weight": QuantizedTensor(codes, steps), NAME: QuantizedTensor(codes, steps)}
    rising = torch.diag(torch.arange(1.0, 21.0))
    hessians = {"tok_emb": rising, "blocks.0.mlp.fc": rising.flip(0, 1)}
    rows = report.column_table(quantized, hessians, {"tok_emb.weight": "tok_emb", NAME: "blocks.0.mlp.fc"})
    assert [(row["tensor"], row["class"], row["group"]) for row in rows] == [
        (name, kind, group) for name, kind in (("tok_emb.weight", "embed"), (NAME, "matrix")) for group in range(1, 17)
    ]
    assert rows[:16] == report.column_rows("tok_emb.weight", quantized["tok_emb.weight"], rising)
    assert rows[16:] == report.column_rows(NAME, quantized[NAME], rising.flip(0, 1))
    assert [row["bits"] for row in rows[:16]] != [row["bits"] for row in rows[16:]]


def test_a_tensor_is_told_with_its_bits_its_bytes_and_its_step_in_standard_deviations():
    w = torch.tensor([[3.0, -3.0, 3.0, -3.0], [3.0, 3.0, -3.0, -3.0]])
    codes = torch.tensor([[6, -3, 6, -3], [3, 1, -3, -1]], dtype=torch.int16)
    quantized = QuantizedTensor(codes, torch.tensor([0.5, 1.0]).half(), torch.tensor([1.0, 2.0, 1.0, 4.0]).half())
    row = report.tensor_row(NAME, w, quantized, torch.eye(4), None)
    assert row["bits"] == round(slow_entropy(codes.flatten().tolist()), 4)
    assert row["bytes"] == round(slow_entropy(codes.flatten().tolist()) * 8 / 8)
    steps = [r * c for r in (0.5, 1.0) for c in (1.0, 2.0, 1.0, 4.0)]
    assert row["step"] == round(math.prod(steps) ** (1 / 8) / 3, 4)


def test_a_tensor_of_zeros_has_no_step_in_its_own_standard_deviations():
    zeros = QuantizedTensor(torch.zeros(3, 4, dtype=torch.int8), torch.ones(3).half(), torch.ones(4).half())
    row = report.tensor_row(NAME, torch.zeros(3, 4), zeros, torch.eye(4), None)
    assert (row["bits"], row["bytes"], row["step"]) == (0.0, 0, None)
