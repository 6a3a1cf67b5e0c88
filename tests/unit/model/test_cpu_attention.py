"""golf/model/cpu_attention.py"""

import pytest
import torch

from golf.model.attention import make_attention_mask, sdpa
from golf.model.cpu_attention import MAX_CONTEXT_TOKENS, DenseAttention


def random_qkv(s: int, t: int, heads: int, groups: int, dtype=torch.float64):
    sizes = (2, s, heads, 4), (2, t, groups, 4), (2, t, groups, 4)
    return [torch.randn(size).to(dtype).requires_grad_() for size in sizes]


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (6, 2), (3, 1)])
@pytest.mark.parametrize("tail", [1, 5, 9])
def test_whole_matrices_are_the_attention_of_torch_and_so_are_their_gradients(heads, groups, tail):
    q, k, v = random_qkv(tail, 9, heads, groups)
    mask = make_attention_mask(tail, 9, None, q.device)
    weights = torch.randn(2, tail, heads, 4, dtype=torch.float64)
    expected = sdpa(q, k, v)
    gradients = torch.autograd.grad((expected * weights).sum(), (q, k, v))

    actual = DenseAttention.apply(q, k, v, mask)

    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)  # the softmax is fp32
    actual_gradients = torch.autograd.grad((actual * weights).sum(), (q, k, v))
    torch.testing.assert_close(actual_gradients, gradients, rtol=1e-5, atol=1e-6)


@pytest.fixture
def is_compiling(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


def test_on_a_cpu_in_bf16_short_contexts_go_this_way_in_a_graph_and_no_others_do(monkeypatch, is_compiling):
    taken = []
    monkeypatch.setattr(DenseAttention, "apply", lambda *inputs: taken.append(inputs[1].shape[1]) or inputs[0])

    for length, dtype in ((8, torch.bfloat16), (8, torch.float32), (MAX_CONTEXT_TOKENS + 1, torch.bfloat16)):
        q = torch.zeros(1, length, 1, 4, dtype=dtype)
        assert sdpa(q, q, q).dtype == dtype

    assert taken == [8]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: False)
    q = torch.zeros(1, 8, 1, 4, dtype=torch.bfloat16)
    assert sdpa(q, q, q).dtype == torch.bfloat16
    assert taken == [8]


def test_in_bf16_the_output_and_the_gradients_are_within_its_rounding(is_compiling):
    q, k, v = random_qkv(64, 64, 4, 2, torch.bfloat16)
    actual = sdpa(q, k, v)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    expected = sdpa(*exact)

    assert actual.dtype == torch.bfloat16
    pairs = [(actual, expected)]
    pairs += zip(torch.autograd.grad(actual.sum(), (q, k, v)), torch.autograd.grad(expected.sum(), exact), strict=True)
    for gradient, exact_gradient in pairs:
        assert (gradient.double() - exact_gradient).norm() < 0.01 * exact_gradient.norm().clamp_min(1)
