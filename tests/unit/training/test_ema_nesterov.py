import dataclasses

import pytest
import torch

from golf.distributed import context
from golf.model.gpt import GPT
from golf.training.ema_nesterov import EMANesterov
from golf.training.optimizer import MuonAdamW


def test_it_is_algorithm_1_of_the_paper_in_float64():
    x = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights, target = {"x": x.clone()}, torch.arange(5.0, dtype=torch.float64)
    nesterov, drift = EMANesterov(weights, 0.5, 0.9), torch.zeros(5, dtype=torch.float64)
    for step in range(6):
        multiplier = 1 - step / 10
        ahead = x + 0.5 * multiplier * drift
        after = ahead - 0.1 * (ahead - target)
        drift, x = 0.9 * drift + 0.1 * (after - x), after

        nesterov.look_ahead(multiplier)
        weights["x"].sub_(0.1 * (weights["x"] - target))
        nesterov.finish_step()
        torch.testing.assert_close(weights["x"], x, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(nesterov.drift["x"], drift, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("taken", [0, 2])
def test_its_average_is_part_of_the_optimizers_state(tiny_model_config, tiny_train_config, taken):
    cfg = dataclasses.replace(tiny_train_config, ema_nesterov_beta=0.3, ema_nesterov_gamma=0.9)
    models = [GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0)) for _ in range(2)]

    def step(model, optimizer, number):
        optimizer.look_ahead(1.0)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        optimizer.step(number, 1.0, torch.zeros(()))

    whole, first = (MuonAdamW(model, cfg, context.single_process()) for model in models)
    for number in range(4):
        step(models[0], whole, number)
    for number in range(taken):
        step(models[1], first, number)
    resumed = MuonAdamW(models[1], cfg, context.single_process())
    resumed.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    for number in range(taken, 4):
        step(models[1], resumed, number)

    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert any(name.startswith("nesterov/") for name in resumed.state_dict())
    plain = MuonAdamW(models[0], tiny_train_config, context.single_process())
    with pytest.raises(ValueError, match=r"nesterov/.*: expected nothing"):
        plain.load_state_dict({n: t for n, t in resumed.state_dict().items() if n.startswith("nesterov/")})
