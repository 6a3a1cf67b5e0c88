"""golf/model/fused_cross_entropy.py"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from golf.model import fused_cross_entropy
from golf.model.fused_cross_entropy import MAX_CHUNKS, FusedLinearCrossEntropy, chunk_rows, matmul_dtype
from golf.model.gpt import GPT

CAP = 30.0


def reference(hidden, weight, targets):
    """Softmax over c tanh(z / c) of all logits, in float64."""
    logits = CAP * torch.tanh(hidden.double() @ weight.double().T / CAP)
    return F.cross_entropy(logits, targets, reduction="sum")


def random_inputs(rows: int, vocab: int, size: float = 1.0):
    hidden = torch.randn(rows, 16, dtype=torch.float64, requires_grad=True)
    weight = (size * torch.randn(vocab, 16, dtype=torch.float64)).requires_grad_()
    return hidden, weight, torch.randint(vocab, (rows,))


@given(rows=st.integers(1, 40), vocab=st.integers(2, 50), size=st.sampled_from([0.01, 1.0, 10.0]))
def test_the_loss_and_both_gradients_are_those_of_softmax_over_all_capped_logits(rows, vocab, size):
    hidden, weight, targets = random_inputs(rows, vocab, size)
    expected = reference(hidden, weight, targets)
    gradients = torch.autograd.grad(expected, (hidden, weight))

    actual = FusedLinearCrossEntropy.apply(hidden, weight, targets, CAP, torch.float64)

    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-4)
    for gradient, exact in zip(torch.autograd.grad(actual, (hidden, weight)), gradients, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-5)


def test_how_the_rows_are_cut_changes_nothing(monkeypatch):
    hidden, weight, targets = random_inputs(33, 20)
    whole = FusedLinearCrossEntropy.apply(hidden, weight, targets, CAP, torch.float64)
    gradients = torch.autograd.grad(whole, (hidden, weight))

    monkeypatch.setitem(fused_cross_entropy.MAX_CHUNK_LOGITS, "cpu", 5 * 20)
    assert chunk_rows(33, 20, hidden.device) == 5
    cut = FusedLinearCrossEntropy.apply(hidden, weight, targets, CAP, torch.float64)

    torch.testing.assert_close(cut, whole)
    torch.testing.assert_close(torch.autograd.grad(cut, (hidden, weight)), gradients, rtol=1e-5, atol=1e-6)


@given(rows=st.integers(1, 200_000), vocab=st.integers(260, 65536), device=st.sampled_from(["cpu", "cuda"]))
def test_a_chunk_holds_few_logits_and_a_graph_few_chunks(rows, vocab, device):
    size = chunk_rows(rows, vocab, torch.device(device))

    assert -(-rows // size) <= MAX_CHUNKS
    assert size * vocab <= max(fused_cross_entropy.MAX_CHUNK_LOGITS[device], vocab, -(-rows // MAX_CHUNKS) * vocab)


def test_the_gradient_of_a_target_that_is_all_but_certain_is_not_rounded_away():
    """In bf16 a chance of 0.999 is 1; the target is taken off before the rounding."""
    hidden = torch.eye(4).requires_grad_()
    weight = 9 * torch.eye(4)
    targets = torch.arange(4)

    FusedLinearCrossEntropy.apply(hidden, weight, targets, CAP, torch.bfloat16).backward()

    exact = torch.eye(4, dtype=torch.float64).requires_grad_()
    reference(exact, weight, targets).backward()
    torch.testing.assert_close(hidden.grad.double(), exact.grad, rtol=1e-2, atol=1e-6)


def test_the_gradient_is_scaled_as_the_loss_is():
    hidden, weight, targets = random_inputs(7, 9)
    (once,) = torch.autograd.grad(FusedLinearCrossEntropy.apply(hidden, weight, targets, CAP, torch.float64), hidden)
    (third,) = torch.autograd.grad(
        FusedLinearCrossEntropy.apply(hidden, weight, targets, CAP, torch.float64) / 3, hidden
    )

    torch.testing.assert_close(third, once / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_model_learns_from_the_loss_that_it_scores_with(tiny_model_config, dtype):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))
    tokens = torch.randint(tiny_model_config.vocab_size, (3, tiny_model_config.context_length + 1))
    x, y = tokens[:, :-1], tokens[:, 1:]

    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        summed, scored = model.nll_sum(x, y, recurrent=True), model.nll(x, y, recurrent=True).sum()

    assert summed.dtype == torch.float32
    torch.testing.assert_close(summed, scored, rtol=1e-5 if dtype == torch.float32 else 1e-3, atol=0)
    expected = torch.autograd.grad(scored, list(model.parameters()), allow_unused=True)
    actual = torch.autograd.grad(summed, list(model.parameters()), allow_unused=True)
    for gradient, exact in zip(actual, expected, strict=True):
        assert (gradient is None) == (exact is None)
        if exact is not None:
            difference = (gradient - exact).norm() / exact.norm().clamp_min(1e-6)
            assert difference < (1e-4 if dtype == torch.float32 else 0.05)


def test_products_are_in_the_precision_of_autocast_where_it_is_on():
    assert matmul_dtype(torch.device("cpu"), torch.float32) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert matmul_dtype(torch.device("cpu"), torch.float32) == torch.bfloat16


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_traced_its_gradients_follow_the_slope_that_they_are_given(backend):
    # torch 2.11 traces a result that was made in place as if nothing led to it: gradients of zero, and no error.
    hidden, weight, targets = random_inputs(40, 50)
    torch._dynamo.reset()

    def thrice(h, w):
        return FusedLinearCrossEntropy.apply(h, w, targets, CAP, torch.float64) * 3

    traced = torch.compile(thrice, backend=backend, fullgraph=True, dynamic=False)
    expected = torch.autograd.grad(3 * reference(hidden, weight, targets), (hidden, weight))
    for gradient, exact in zip(torch.autograd.grad(traced(hidden, weight), (hidden, weight)), expected, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
