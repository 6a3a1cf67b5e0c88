"""Compiled by Inductor for this CPU, the model with all its options gives the eager loss and gradient"""

import dataclasses

import pytest
import torch

from golf.distributed import context, device
from golf.model.gpt import GPT
from golf.training import schedule, step
from tests.helpers.slow_gpt import make_random_model
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG

ALL_OPTIONS = {"smear_gate_bos_id": 5, "conv_kernel": 4, "two_lane_from": 3, "asym_softcap": True, "softcap": 3.0}
CONTEXT_SCHEDULE = ((16, 0.3), (32, 1.0))
GRAPHS = schedule.list_training_graphs(CONTEXT_SCHEDULE, 32, 0.5, TINY_MODEL_CONFIG.recur_passes)
CASES = list(zip(("sparse", "output", "dense"), GRAPHS, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Inductor itself
@pytest.mark.parametrize(("attn_gate", "graph"), CASES, ids=str)
def test_loss_and_gradient_of_a_step_are_the_eager_ones(attn_gate, graph):
    if missing := device.find_missing_compiler(torch.device("cpu")):
        pytest.skip(f"needs {missing}")
    model = make_random_model(dataclasses.replace(TINY_MODEL_CONFIG, attn_gate=attn_gate, **ALL_OPTIONS)).float()
    eager = context.single_process()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = measure(model, graph, dataclasses.replace(eager, compile=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    expected = measure(model, graph, eager)
    assert compiled.keys() == expected.keys() > {"training loss", "adaptation loss", "softcaps of adaptation"}
    for name, value in expected.items():
        scale = float(value.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(
            compiled[name], value, rtol=1e-4, atol=1e-5 * scale, msg=lambda text, n=name: n + text
        )


def measure(model: GPT, graph: tuple[int, bool], ctx: context.DistContext) -> dict[str, torch.Tensor]:
    """The loss of training and its gradient, and those of adaptation, in which the soft caps learn too."""
    context_length, recurrent = graph
    tokens = torch.randint(60, (4, context_length + 1), generator=torch.Generator().manual_seed(1))
    tokens[:, 7] = 5  # a document starts
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    losses = {
        "training": ctx.maybe_compile(step.make_loss_fn(model, ctx)),
        "adaptation": ctx.maybe_compile(lambda x, y, recurrent: model.nll_sum(x, y, recurrent=recurrent)),
    }
    measured = {}
    for name, loss_fn in losses.items():
        loss = loss_fn(x, y, recurrent)
        measured[f"{name} loss"] = loss.detach()
        used = {key: weight for key, weight in model.named_parameters() if name == "adaptation" or key != "softcaps"}
        gradients = torch.autograd.grad(loss, list(used.values()), allow_unused=True)
        pairs = zip(used, gradients, strict=True)
        measured |= {f"{key} of {name}": gradient for key, gradient in pairs if gradient is not None}
    return measured
