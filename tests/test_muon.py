import pytest
import torch

from golf.train import muon
from golf.train.muon import Muon


def test_orthogonalising_brings_singular_values_near_one_and_keeps_the_directions():
    u = torch.randn(3, 24, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    made = muon.orthogonalise(u, 5)

    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(u, full_matrices=False)
    alignment = (left.mT @ made @ right.mT).diagonal(dim1=-2, dim2=-1)
    assert (alignment > 0.5).all()


@pytest.mark.parametrize("shape", [(10, 24), (24, 10)])
def test_matrices_together_move_as_each_alone(shape):
    bank = torch.randn(4, *shape, dtype=torch.float64)

    together = muon.orthogonalise(bank, 5)

    for each, alone in zip(bank, together, strict=True):
        torch.testing.assert_close(muon.orthogonalise(each[None], 5)[0], alone, rtol=1e-9, atol=1e-12)


def slow_step(weight, gradient, buffer, *, lr, decay, momentum, steps):
    """Record-stack 1.4, one matrix, float64 but for the bf16 of the iteration."""
    buffer = momentum * buffer + gradient
    u = gradient + momentum * buffer
    u = u / u.norm(dim=1, keepdim=True).clamp_min(1e-7)
    x = u.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    x = (x.T if tall else x).to(weight.dtype) * max(1, weight.shape[0] / weight.shape[1]) ** 0.5
    return weight * (1 - lr * decay) - lr * x, buffer


def test_two_steps_of_muon_are_the_records_formulas():
    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(s, generator=generator) for s in ((16, 8), (8, 16), (16, 8))]
    weights = [torch.nn.Parameter(w.clone()) for w in start]
    optimiser = Muon(weights, lr=0.02, weight_decay=0.1, momentum=0.9, newton_schulz=5, dtype=torch.bfloat16)
    slow, buffers = [w.clone() for w in start], [torch.zeros_like(w) for w in start]
    for _ in range(2):
        gradients = [torch.randn(w.shape, generator=generator) for w in start]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimiser.step()
        for i, gradient in enumerate(gradients):
            slow[i], buffers[i] = slow_step(slow[i], gradient, buffers[i], lr=0.02, decay=0.1, momentum=0.9, steps=5)

    for weight, expected in zip(weights, slow, strict=True):
        torch.testing.assert_close(weight.detach(), expected, atol=2e-3, rtol=0)


def test_a_gradients_scale_does_not_matter_to_muon():
    gradient = torch.randn(12, 20)

    small = muon.directions([gradient * 1e-3], [torch.zeros_like(gradient)], 0.9, 5, torch.bfloat16)
    large = muon.directions([gradient * 1e3], [torch.zeros_like(gradient)], 0.9, 5, torch.bfloat16)

    torch.testing.assert_close(small[0], large[0], atol=2e-2, rtol=0)
