import torch

from golf.model.gpt import GPT
from golf.training.norm_dropout import drop_largest_rows, norm_dropout


def test_the_rows_with_the_largest_norms_are_zero_and_the_others_unchanged():
    rows = torch.randn(4, 25, 6, generator=torch.Generator().manual_seed(0))
    dropped = drop_largest_rows(rows, 0.1)
    by_norm = rows.flatten(0, 1).norm(dim=1).argsort().tolist()
    kept = [i for i in range(100) if dropped.flatten(0, 1)[i].any()]
    assert sorted(by_norm[:90]) == kept
    assert torch.equal(dropped.flatten(0, 1)[kept], rows.flatten(0, 1)[kept])


def test_it_acts_where_gradients_are_on_and_leaves_no_trace(tiny_model_config):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))
    for block in model.blocks:
        torch.nn.init.normal_(block.mlp.proj.weight, 0, 0.2)
    tokens = torch.arange(48).view(2, 24) % 97
    plain = model(tokens, recurrent=True)
    with norm_dropout(model, 0.2):
        assert not torch.equal(model(tokens, recurrent=True), plain)
        with torch.no_grad():
            assert torch.equal(model(tokens, recurrent=True), plain)
    with norm_dropout(model, 0.0):
        assert torch.equal(model(tokens, recurrent=True), plain)
    assert torch.equal(model(tokens, recurrent=True), plain)


def test_dropped_rows_get_no_gradient():
    rows = torch.randn(20, 6, dtype=torch.float64, requires_grad=True)
    drop_largest_rows(rows, 0.25).sum().backward()
    assert (rows.grad.sum(1) == 0).sum() == 5
    assert torch.autograd.gradcheck(lambda x: drop_largest_rows(x, 0.25), torch.randn_like(rows).requires_grad_())
