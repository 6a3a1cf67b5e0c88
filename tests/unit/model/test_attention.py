import itertools
import math

import pytest
import torch

from golf.model.attention import MIN_MEAN_DOCUMENT_TOKENS, compute_cu_seqlens, get_attention, make_attention_mask


@pytest.mark.parametrize("tail", [1, 3, 7])
def test_torch_attention_is_causal_softmax_attention_with_shared_keys(tail):
    q, k, v = torch.randn(2, tail, 4, 8).double(), torch.randn(2, 7, 2, 8).double(), torch.randn(2, 7, 2, 8).double()

    y = get_attention("sdpa")(q, k, v)

    for b in range(2):
        for i in range(tail):
            for h in range(4):
                last = 7 - tail + i + 1
                scores = k[b, :last, h // 2] @ q[b, i, h] / math.sqrt(8)
                torch.testing.assert_close(y[b, i, h], scores.softmax(0) @ v[b, :last, h // 2])


def test_the_mask_lets_the_last_query_see_every_key():
    assert make_attention_mask(2, 4, None, "cpu").tolist() == [[[True, True, True, False], [True, True, True, True]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tail", [2, 9])
def test_with_documents_each_is_attended_as_if_it_stood_alone(dtype, tail):
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 1, 1]])
    q, k, v = (torch.randn(2, 9, heads, 8, dtype=dtype) for heads in (4, 2, 2))

    y = get_attention("sdpa")(q[:, 9 - tail :], k, v, documents)

    for row, cuts in enumerate([(0, 3, 5, 9), (0, 7, 9)]):
        for start, stop in itertools.pairwise(cuts):
            own = slice(max(start, 9 - tail), stop)
            if own.start < own.stop:
                part = [x[None, row, start:stop] for x in (k, v)]
                alone = get_attention("sdpa")(q[None, row, own], *part)
                shifted = slice(own.start - (9 - tail), own.stop - (9 - tail))
                torch.testing.assert_close(
                    y[row, shifted], alone[0], atol=2e-2 if dtype == torch.bfloat16 else 1e-6, rtol=0
                )


def test_the_bounds_of_documents_run_over_rows_and_end_where_the_batch_ends():
    documents = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 2]]).repeat_interleave(MIN_MEAN_DOCUMENT_TOKENS, dim=1)

    bounds = compute_cu_seqlens(documents)

    assert bounds.dtype == torch.int32
    assert bounds.tolist() == [MIN_MEAN_DOCUMENT_TOKENS * start for start in (0, 2, 4, 7)] + [
        MIN_MEAN_DOCUMENT_TOKENS * 8
    ] * (len(bounds) - 4)
    assert bounds[-2] == MIN_MEAN_DOCUMENT_TOKENS * 8


def test_too_many_documents_for_a_compiled_graphs_table_show_in_its_last_entry_but_one():
    rows, length = 1, MIN_MEAN_DOCUMENT_TOKENS
    few, many = torch.zeros(rows, length, dtype=torch.int64), torch.arange(length)[None]

    assert compute_cu_seqlens(few)[-2] == length
    assert compute_cu_seqlens(many)[-2] != length
