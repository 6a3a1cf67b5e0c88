"""golf.quantization.sensitivity: against gradients by hand, over micro-batches and ranks; the file."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from golf.artifacts import io, lineage
from golf.compression import quantized_tensor
from golf.distributed import context
from golf.errors import ArtifactError, DivergenceError
from golf.quantization import hessians, sensitivity
from tests.helpers.quantization_inputs import MODEL_CONFIG, make_model

WINDOWS = torch.randint(0, MODEL_CONFIG.vocab_size, (6, 17), generator=torch.Generator().manual_seed(1))
BODY = ("blocks.0.attn.c_q.weight", "blocks.1.mlp.fc.weight", "blocks.2.attn.proj.weight", "blocks.3.mlp.proj.weight")


def estimate(
    model=None, windows=WINDOWS, micro_rows=6, seed=5, tensor_names=(*BODY, quantized_tensor.EMBEDDING_WEIGHT)
):
    options = {"micro_rows": micro_rows, "seed": seed, "ctx": context.single_process()}
    return sensitivity.estimate_output_fisher(model or make_model(), tensor_names, windows, **options)[0]


def sampled_loss(model, seed=5):
    """The summed loss on targets sampled as estimate_output_fisher samples them, and the logits."""
    logits = model.logits(model(WINDOWS[:, :-1], recurrent=True)).flatten(0, 1)
    probs = logits.detach().softmax(-1)
    targets = torch.multinomial(probs, 1, generator=torch.Generator().manual_seed(seed)).flatten()
    return F.cross_entropy(logits, targets, reduction="sum"), logits


def offset_gradients(module: str) -> list[torch.Tensor]:
    """For each pass through a module, the gradient of zeros that are added to its output."""
    model, offsets = make_model(), []

    def shift(_, __, out):
        offsets.append(torch.zeros_like(out).requires_grad_())
        return out + offsets[-1]

    model.get_submodule(module).register_forward_hook(shift)
    loss, _ = sampled_loss(model)
    return list(torch.autograd.grad(loss, offsets))


@pytest.mark.parametrize("name", BODY)
def test_a_rows_sensitivity_is_the_mean_square_of_its_outputs_gradient_over_all_passes(name):
    gradients = offset_gradients(name.removesuffix(".weight"))
    assert len(gradients) == (3 if name.split(".")[1] in "12" else 1)
    expected = sum(g.double().flatten(0, 1).square().sum(0) for g in gradients) / (6 * 16)
    assert torch.allclose(estimate()[name].double(), expected, rtol=1e-4)


def test_the_embedding_counts_as_output_by_every_target_and_as_input_by_its_own_tokens():
    model = make_model()
    _, logits = sampled_loss(model)
    z = (MODEL_CONFIG.softcap * torch.atanh(logits.detach().double() / MODEL_CONFIG.softcap))[:3].requires_grad_()
    logp = (MODEL_CONFIG.softcap * torch.tanh(z / MODEL_CONFIG.softcap)).log_softmax(-1)
    expected = torch.zeros(MODEL_CONFIG.vocab_size, dtype=torch.float64)
    for word in range(MODEL_CONFIG.vocab_size):
        gradient = torch.autograd.grad(-logp[:, word].sum(), z, retain_graph=True)[0]
        expected += (logp[:, word : word + 1].exp().detach() * gradient.square()).sum(0)
    first = estimate(windows=WINDOWS[:1, :4], micro_rows=1)[quantized_tensor.EMBEDDING_WEIGHT].double() * 3
    unread = torch.ones(MODEL_CONFIG.vocab_size, dtype=torch.bool)
    unread[WINDOWS[0, :3]] = False
    assert torch.allclose(first[unread], expected[unread], rtol=1e-3)
    assert (first[~unread] > expected[~unread] * 0.999).all()

    out = torch.zeros(MODEL_CONFIG.vocab_size, dtype=torch.float64)
    probs, slope = (
        logits.detach().double().softmax(-1),
        1 - (logits.detach().double() / MODEL_CONFIG.softcap) ** 2,
    )
    out += (probs * (1 - probs) * slope**2).sum(0)
    (gradient,) = offset_gradients("tok_emb")
    into = torch.zeros(MODEL_CONFIG.vocab_size, dtype=torch.float64)
    into.index_add_(0, WINDOWS[:, :-1].flatten(), gradient.double().flatten(0, 1).square().mean(1))
    assert torch.allclose(estimate()[quantized_tensor.EMBEDDING_WEIGHT].double(), (out + into) / (6 * 16), rtol=1e-4)


def test_the_sensitivity_predicts_the_rise_of_the_loss_from_noise_in_a_layer():
    name, model = "blocks.3.mlp.fc.weight", make_model()
    tokens = WINDOWS[:, :-1]
    a = sum(estimate(seed=seed, tensor_names=(name,))[name].double() for seed in range(12)) / 12
    batches = [(tokens, WINDOWS[:, 1:])]
    h = (
        hessians.collect_hessians(model, {name: "x"}, batches, micro_rows=6, ctx=context.single_process())[0][
            "x"
        ].double()
        / tokens.numel()
    )
    with torch.no_grad():
        before = model.logits(model(tokens, recurrent=True)).double().log_softmax(-1)
        weight, rise, noise = model.get_parameter(name).clone(), 0.0, torch.Generator().manual_seed(2)
        for _ in range(8):
            model.get_parameter(name).copy_(weight + 0.02 * torch.randn(weight.shape, generator=noise))
            after = model.logits(model(tokens, recurrent=True)).double().log_softmax(-1)
            rise += float((before.exp() * (before - after)).sum(-1).mean()) / 8
    assert rise == pytest.approx(0.5 * 0.02**2 * float(a.sum() * h.trace()), rel=0.25)


@pytest.mark.parametrize("micro_rows", [1, 4])
def test_micro_batches_may_have_any_size(micro_rows):
    one, many = estimate(micro_rows=micro_rows), estimate()
    for name in many:
        assert torch.allclose(one[name], many[name], rtol=1e-4, atol=1e-9), name
    again = estimate(micro_rows=micro_rows)
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_two_ranks_average_what_each_estimates_alone_on_its_windows_and_seed(monkeypatch):
    parts = []
    for rank in range(2):
        ctx = dataclasses.replace(context.single_process(), rank=rank, world_size=2)
        monkeypatch.setattr(type(ctx), "all_reduce", lambda _, tensor: tensor)
        monkeypatch.setattr(type(ctx), "all_reduce_max", lambda _, seconds: seconds)
        parts.append(sensitivity.estimate_output_fisher(make_model(), BODY, WINDOWS, micro_rows=6, seed=5, ctx=ctx)[0])
        alone = estimate(windows=WINDOWS[rank::2], seed=5 + rank, tensor_names=BODY)
        assert all(torch.allclose(parts[rank][name], alone[name] / 2, rtol=1e-5) for name in BODY)


def test_the_model_is_left_as_it_was():
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    estimate(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_no_windows_give_zeros():
    assert all(rows.eq(0).all() for rows in estimate(windows=WINDOWS[:0]).values())


def test_predictions_that_are_not_finite_are_refused():
    model = make_model()
    with torch.no_grad():
        model.get_parameter("blocks.3.mlp.proj.weight")[0, 0] = math.nan
    with pytest.raises(DivergenceError, match="predictions are not finite"):
        estimate(model)


def save_weights(folder, state_dict):
    io.save_tensors(folder / "model.safetensors", state_dict, kind="weights", meta={})
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    "damage", [lambda m: m.pop(BODY[0]), lambda m: m[BODY[0]].neg_(), lambda m: m[BODY[0]].mul_(math.nan)]
)
def test_a_file_without_a_good_number_for_each_row_is_refused_by_name(tmp_path, damage):
    sensitivities = estimate()
    path, state_dict = tmp_path / "s.safetensors", make_model().state_dict()
    weights = save_weights(tmp_path, state_dict)
    lineage_record = lineage.make_lineage("calibrate", {"weights": weights})
    sensitivity.save(path, sensitivities, lineage=lineage_record)
    back = sensitivity.load(path, state_dict, BODY, weights)
    assert all(torch.equal(back[name], sensitivities[name]) for name in sensitivities)
    damage(sensitivities)
    sensitivity.save(path, sensitivities, lineage=lineage_record)
    with pytest.raises(ArtifactError, match=r"no sensitivity for the rows of blocks\.0\.attn\.c_q"):
        sensitivity.load(path, state_dict, BODY, weights)


def test_sensitivities_of_other_weights_are_refused(tmp_path):
    path, state_dict = tmp_path / "s.safetensors", make_model().state_dict()
    weights = save_weights(tmp_path, state_dict)
    sensitivity.save(path, estimate(), lineage=lineage.make_lineage("calibrate", {"weights": weights}))
    save_weights(tmp_path, {"a": torch.ones(1)})
    with pytest.raises(ArtifactError, match="other weights"):
        sensitivity.load(path, state_dict, BODY, weights)
