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
from tests.unit.quantization.test_hessians import SHAPE, tiny

WINDOWS = torch.randint(0, SHAPE.vocab_size, (6, 17), generator=torch.Generator().manual_seed(1))
BODY = ("blocks.0.attn.c_q.weight", "blocks.1.mlp.fc.weight", "blocks.2.attn.proj.weight", "blocks.3.mlp.proj.weight")


def measured(model=None, windows=WINDOWS, micro_rows=6, seed=5, tensors=(*BODY, quantized_tensor.EMBEDDING_WEIGHT)):
    given = {"micro_rows": micro_rows, "seed": seed, "here": context.single_process()}
    return sensitivity.estimate_output_fisher(model or tiny(), tensors, windows, **given)[0]


def drawn_loss(model, seed=5):
    """The summed loss on targets drawn as measure() draws them, and the logits."""
    logits = model.logits(model(WINDOWS[:, :-1], recurrent=True)).flatten(0, 1)
    chances = logits.detach().softmax(-1)
    drawn = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(seed)).flatten()
    return F.cross_entropy(logits, drawn, reduction="sum"), logits


def offset_gradients(module: str) -> list[torch.Tensor]:
    """For each pass through a module, the gradient of zeros that are added to its output."""
    model, offsets = tiny(), []

    def shift(_, __, out):
        offsets.append(torch.zeros_like(out).requires_grad_())
        return out + offsets[-1]

    model.get_submodule(module).register_forward_hook(shift)
    loss, _ = drawn_loss(model)
    return list(torch.autograd.grad(loss, offsets))


@pytest.mark.parametrize("name", BODY)
def test_a_rows_sensitivity_is_the_mean_square_of_its_outputs_gradient_over_all_passes(name):
    gradients = offset_gradients(name.removesuffix(".weight"))
    assert len(gradients) == (3 if name.split(".")[1] in "12" else 1)
    expected = sum(g.double().flatten(0, 1).square().sum(0) for g in gradients) / (6 * 16)
    assert torch.allclose(measured()[name].double(), expected, rtol=1e-4)


def test_the_embedding_counts_as_output_by_every_target_and_as_input_by_its_own_tokens():
    model = tiny()
    _, logits = drawn_loss(model)
    z = (SHAPE.softcap * torch.atanh(logits.detach().double() / SHAPE.softcap))[:3].requires_grad_()
    logp = (SHAPE.softcap * torch.tanh(z / SHAPE.softcap)).log_softmax(-1)
    expected = torch.zeros(SHAPE.vocab_size, dtype=torch.float64)
    for word in range(SHAPE.vocab_size):
        gradient = torch.autograd.grad(-logp[:, word].sum(), z, retain_graph=True)[0]
        expected += (logp[:, word : word + 1].exp().detach() * gradient.square()).sum(0)
    first = measured(windows=WINDOWS[:1, :4], micro_rows=1)[quantized_tensor.EMBEDDING_WEIGHT].double() * 3
    unread = torch.ones(SHAPE.vocab_size, dtype=torch.bool)
    unread[WINDOWS[0, :3]] = False
    assert torch.allclose(first[unread], expected[unread], rtol=1e-3)
    assert (first[~unread] > expected[~unread] * 0.999).all()

    out = torch.zeros(SHAPE.vocab_size, dtype=torch.float64)
    chances, slope = logits.detach().double().softmax(-1), 1 - (logits.detach().double() / SHAPE.softcap) ** 2
    out += (chances * (1 - chances) * slope**2).sum(0)
    (gradient,) = offset_gradients("tok_emb")
    into = torch.zeros(SHAPE.vocab_size, dtype=torch.float64)
    into.index_add_(0, WINDOWS[:, :-1].flatten(), gradient.double().flatten(0, 1).square().mean(1))
    assert torch.allclose(measured()[quantized_tensor.EMBEDDING_WEIGHT].double(), (out + into) / (6 * 16), rtol=1e-4)


def test_it_predicts_the_rise_of_the_loss_from_noise_in_a_layer():
    name, model = "blocks.3.mlp.fc.weight", tiny()
    tokens = WINDOWS[:, :-1]
    a = sum(measured(seed=seed, tensors=(name,))[name].double() for seed in range(12)) / 12
    batches = [(tokens, WINDOWS[:, 1:])]
    h = (
        hessians.collect_hessians(model, {name: "x"}, batches, micro_rows=6, ctx=context.single_process())[0][
            "x"
        ].double()
        / tokens.numel()
    )
    with torch.no_grad():
        before = model.logits(model(tokens, recurrent=True)).double().log_softmax(-1)
        kept, risen, noise = model.get_parameter(name).clone(), 0.0, torch.Generator().manual_seed(2)
        for _ in range(8):
            model.get_parameter(name).copy_(kept + 0.02 * torch.randn(kept.shape, generator=noise))
            after = model.logits(model(tokens, recurrent=True)).double().log_softmax(-1)
            risen += float((before.exp() * (before - after)).sum(-1).mean()) / 8
    assert risen == pytest.approx(0.5 * 0.02**2 * float(a.sum() * h.trace()), rel=0.25)


@pytest.mark.parametrize("micro_rows", [1, 4])
def test_windows_may_come_in_any_number_at_a_time(micro_rows):
    one, many = measured(micro_rows=micro_rows), measured()
    for name in many:
        assert torch.allclose(one[name], many[name], rtol=1e-4, atol=1e-9), name
    again = measured(micro_rows=micro_rows)
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_two_ranks_measure_the_mean_of_what_each_would_alone_on_its_windows_and_seed(monkeypatch):
    parts = []
    for rank in range(2):
        here = dataclasses.replace(context.single_process(), rank=rank, ranks=2)
        monkeypatch.setattr(type(here), "sum", lambda _, tensor: tensor)
        monkeypatch.setattr(type(here), "all_reduce_max", lambda _, seconds: seconds)
        parts.append(sensitivity.estimate_output_fisher(tiny(), BODY, WINDOWS, micro_rows=6, seed=5, ctx=here)[0])
        alone = measured(windows=WINDOWS[rank::2], seed=5 + rank, tensors=BODY)
        assert all(torch.allclose(parts[rank][name], alone[name] / 2, rtol=1e-5) for name in BODY)


def test_the_model_is_left_as_it_was():
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_no_windows_give_zeros():
    assert all(rows.eq(0).all() for rows in measured(windows=WINDOWS[:0]).values())


def test_predictions_that_are_not_finite_are_refused():
    model = tiny()
    with torch.no_grad():
        model.get_parameter("blocks.3.mlp.proj.weight")[0, 0] = math.nan
    with pytest.raises(DivergenceError, match="predictions are not finite"):
        measured(model)


def saved(folder, state):
    io.save_tensors(folder / "model.safetensors", state, kind="weights", meta={})
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    "damage", [lambda m: m.pop(BODY[0]), lambda m: m[BODY[0]].neg_(), lambda m: m[BODY[0]].mul_(math.nan)]
)
def test_a_file_without_a_good_number_for_each_row_is_refused_by_name(tmp_path, damage):
    found = measured()
    path, state = tmp_path / "s.safetensors", tiny().state_dict()
    weights = saved(tmp_path, state)
    origin = lineage.make_lineage("calibrate", {"weights": weights})
    sensitivity.save(path, found, lineage=origin)
    back = sensitivity.load(path, state, BODY, weights)
    assert all(torch.equal(back[name], found[name]) for name in found)
    damage(found)
    sensitivity.save(path, found, lineage=origin)
    with pytest.raises(ArtifactError, match=r"no sensitivity for the rows of blocks\.0\.attn\.c_q"):
        sensitivity.load(path, state, BODY, weights)


def test_sensitivities_of_other_weights_are_refused(tmp_path):
    path, state = tmp_path / "s.safetensors", tiny().state_dict()
    weights = saved(tmp_path, state)
    sensitivity.save(path, measured(), lineage=lineage.make_lineage("calibrate", {"weights": weights}))
    saved(tmp_path, {"a": torch.ones(1)})
    with pytest.raises(ArtifactError, match="other weights"):
        sensitivity.load(path, state, BODY, weights)
