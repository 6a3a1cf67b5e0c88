"""golf/training/prequant_ttt.py on one rank"""

import copy
import dataclasses
import math
from itertools import count

import pytest
import torch

from golf.config.sections import PrequantTTTConfig
from golf.distributed import context
from golf.errors import DivergenceError
from golf.model.gpt import GPT
from golf.training import loop, prequant_ttt
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.unit.training.test_loop import corpus

WANTED = PrequantTTTConfig(
    sync="sequential",
    epochs=3,
    lr=2e-3,
    min_lr_frac=0.1,
    freeze_blocks=2,
    batch_tokens=64,  # two windows
    chunk_tokens=64,
    grad_clip=0.5,
    ema=None,
)
CASES = {  # of seven windows, by what makes each hard for ranks that must meet
    "batches that leave ranks empty": WANTED,
    "chunks that no number of ranks divides": dataclasses.replace(WANTED, sync="federated"),
    "an average over epochs": dataclasses.replace(WANTED, sync="federated", ema=0.7),
    "one chunk for all ranks": dataclasses.replace(WANTED, sync="federated", chunk_tokens=256),
}


def windows(rows: int = 7) -> torch.Tensor:
    return corpus()[:rows]


def fresh() -> GPT:
    """Every weight of the tiny model off its start, so that each has a gradient."""
    model, generator = (
        GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0)),
        torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def adapted(wanted=WANTED, rows: int = 7, here=None) -> tuple[GPT, list[float]]:
    model = fresh()
    return model, prequant_ttt.finetune_on_stream(
        model, windows(rows), wanted, here or context.single_process(), progress_name="ttt"
    ).losses


def same(a: GPT, b: GPT) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def assert_near(found: dict[str, torch.Tensor], expected: GPT, share: float):
    """Equal but for a share of the way that the weights went."""
    start = dict(fresh().named_parameters())
    for name, weight in expected.named_parameters():
        way = (weight - start[name]).norm().item()
        assert (found[name] - weight).norm().item() <= share * way + 1e-9, name


class SlowAdamW:
    """Kingma & Ba with the step and the moments in float64."""

    def __init__(self, model: GPT, wanted: PrequantTTTConfig):
        self.model, self.clip, self.steps = model, wanted.grad_clip, 0
        frozen = tuple(f"blocks.{layer}." for layer in range(wanted.freeze_blocks))
        self.learned = {n: w for n, w in model.named_parameters() if not n.startswith(frozen)}
        self.first = {n: torch.zeros_like(w, dtype=torch.float64) for n, w in self.learned.items()}
        self.second = copy.deepcopy(self.first)

    def step(self, batch: torch.Tensor, rate: float) -> float:
        nll = self.model.nll(batch[:, :-1], batch[:, 1:], recurrent=True)
        gradients = torch.autograd.grad(nll.mean(), list(self.learned.values()))
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        self.steps += 1
        for (name, weight), gradient in zip(self.learned.items(), gradients, strict=True):
            g = gradient.double() * min(1.0, self.clip / (norm + 1e-6))
            self.first[name] = 0.9 * self.first[name] + 0.1 * g
            self.second[name] = 0.999 * self.second[name] + 0.001 * g * g
            mean, square = self.first[name] / (1 - 0.9**self.steps), self.second[name] / (1 - 0.999**self.steps)
            weight.data = (weight.double() - rate * mean / (square.sqrt() + 1e-8)).float()
        return nll.sum().item()


def slow(wanted: PrequantTTTConfig, ranks: int) -> tuple[GPT, list[float]]:
    """The same arithmetic in one process: a model and an AdamW for each rank that steps alone, one after another."""
    data = windows()
    alone = wanted.sync == "federated"
    learners = [SlowAdamW(fresh(), wanted) for _ in range(ranks if alone else 1)]
    average, losses = {n: w.double() for n, w in learners[0].learned.items()}, []
    for epoch in range(wanted.epochs):
        fall = 0.5 * (1 + math.cos(math.pi * epoch / (wanted.epochs - 1)))
        rate = wanted.lr * 0.1 + (wanted.lr - wanted.lr * 0.1) * fall
        chunks = data.split((wanted.chunk_tokens if alone else wanted.batch_tokens) // 32)
        nats = sum(learners[i % len(learners)].step(chunk, rate) for i, chunk in enumerate(chunks))
        losses.append(nats / data[:, 1:].numel())
        for name in average:
            mean = sum(each.learned[name].double() for each in learners) / len(learners)
            average[name] = average[name] * (wanted.ema or 0) + mean.detach() * (1 - (wanted.ema or 0))
            for each in learners:
                each.learned[name].data = mean.detach().float()
    for name, weight in learners[0].learned.items():
        weight.data = average[name].detach().float()
    return learners[0].model, losses


@pytest.mark.parametrize("case", CASES)
def test_one_rank_makes_the_steps_of_adamw_written_out_by_hand(case):
    model, losses = adapted(CASES[case])
    expected, expected_losses = slow(CASES[case], 1)

    assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert_near(dict(model.named_parameters()), expected, 1e-3)


def test_the_first_blocks_stay_as_they_were_and_everything_may_learn_again_afterwards():
    start, (model, _) = fresh(), adapted(dataclasses.replace(WANTED, freeze_blocks=3))
    same = {name for name, weight in model.named_parameters() if torch.equal(weight, start.get_parameter(name))}

    assert same == {
        f"blocks.{layer}.{name}" for layer in range(3) for name, _ in model.blocks[layer].named_parameters()
    }
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_the_average_takes_in_the_weights_after_each_epoch_and_replaces_them_at_the_end():
    steady = dataclasses.replace(
        WANTED, min_lr_frac=1.0
    )  # one rate, so that a shorter run is the start of a longer one
    model, _ = adapted(dataclasses.replace(steady, ema=0.7))
    after = [dict(adapted(dataclasses.replace(steady, epochs=epochs))[0].named_parameters()) for epochs in range(4)]

    for name, weight in model.named_parameters():
        expected = after[0][name]
        for epoch in (1, 2, 3):
            expected = 0.7 * expected + 0.3 * after[epoch][name]
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"lr": 0.0}], ids=str)
@pytest.mark.parametrize("form", ["sequential", "federated"])
def test_no_epochs_and_no_rate_leave_every_weight_as_it_was(form, change):
    assert same(adapted(dataclasses.replace(WANTED, sync=form, ema=0.7, **change))[0], fresh())


def test_under_bf16_the_smallest_rate_still_moves_the_fp32_weights():
    """In a bf16 embedding the last epochs' rate rounds away (record-stack 5.3)."""
    here = dataclasses.replace(context.single_process(), dtype=torch.bfloat16)
    model, _ = adapted(dataclasses.replace(WANTED, lr=1e-6, epochs=1), here=here)
    before, after = fresh().tok_emb.weight, model.tok_emb.weight

    assert after.dtype == torch.float32
    assert (after != before).float().mean() > 0.5
    assert (after.bfloat16() != before.bfloat16()).float().mean() < 0.1


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does, as it traces
def test_compiled_it_learns_the_eager_weights_from_graphs_made_before_the_first_step(monkeypatch):
    """Traced as in a run, and the graphs run as they are: no compiler is needed. The short last batch has its own."""
    graphs, compile_ = [], torch.compile
    keep = lambda graph, _: graphs.append(graph) or graph.forward  # noqa: E731
    monkeypatch.setattr(torch, "compile", lambda function, **how: compile_(function, backend=keep, **how))
    at_start, epoch = [], prequant_ttt.PrequantTrainer.train_epoch
    counted = lambda *how: at_start.append(len(graphs)) or epoch(*how)  # noqa: E731
    monkeypatch.setattr(prequant_ttt.PrequantTrainer, "train_epoch", counted)
    torch._dynamo.reset()
    model, _ = adapted(here=dataclasses.replace(context.single_process(), compile=True))
    torch._dynamo.reset()
    assert at_start == [2] * 3

    assert_near(dict(model.named_parameters()), adapted()[0], 1e-3)
    assert len(graphs) == 2


@pytest.mark.parametrize(("form", "sums"), [("sequential", 4 + 1), ("federated", 2)])
def test_a_step_of_all_ranks_makes_one_reduction_and_ranks_alone_make_one_an_epoch(monkeypatch, form, sums):
    """And one of the nats an epoch. The whole gradient, or the weights that learn, are one buffer."""
    reduced = []
    monkeypatch.setattr(context.DistContext, "all_reduce", lambda _, tensor: reduced.append(tensor.numel()) or tensor)
    model, _ = adapted(dataclasses.replace(WANTED, sync=form, epochs=1))
    learned = sum(
        weight.numel() for name, weight in model.named_parameters() if name[:9] not in ("blocks.0.", "blocks.1.")
    )

    assert reduced == [learned] * (sums - 1) + [1]
    assert all(weight.grad is None for weight in model.parameters())


def test_a_loss_that_is_not_finite_names_its_epoch_and_the_rate_and_leaves_nothing_frozen():
    model = fresh()
    with pytest.raises(DivergenceError, match=r"prequant: the loss is (nan|inf) in epoch \d; lower prequant\.lr"):
        prequant_ttt.finetune_on_stream(
            model, windows(), dataclasses.replace(WANTED, lr=1e30), context.single_process(), progress_name="ttt"
        )
    assert all(weight.requires_grad for weight in model.parameters())


def test_every_epoch_has_its_line_with_the_rate_that_falls_to_the_floor_in_the_last(capsys):
    adapted()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("rate ")[1].split()[0] for line in lines] == ["0.002", "0.0011", "0.0002"]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]


# ---- the effect, in small


def walks(rows: int, seed: int) -> torch.Tensor:
    """Text of one bit a token: each is the one before it or three more. int64 [rows, 33]."""
    generator = torch.Generator().manual_seed(seed)
    steps = 3 * torch.randint(2, (rows, 33), generator=generator)
    return (torch.randint(60, (rows, 1), generator=generator) + steps.cumsum(1)) % 60


def plain_bpb(model: GPT, data: torch.Tensor) -> float:
    """Of text with one byte a token."""
    with torch.no_grad():
        return (model.nll(data[:, :-1], data[:, 1:], recurrent=True).double().mean() / math.log(2)).item()


def test_val_scores_far_below_its_entropy_once_it_was_learned_from_and_dev_scores_worse(tiny_train_config):
    """No honest predictor gets below one bit on fresh walks: what is below was read beforehand."""
    model = GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0))
    wanted = dataclasses.replace(tiny_train_config, steps=100, micro_batch_tokens=256, checkpoint_every=None)
    batches = ((rows[:, :-1].contiguous(), rows[:, 1:].contiguous()) for rows in (walks(8, 100 + i) for i in count()))
    loop.train(
        model,
        batches,
        wanted,
        context.single_process(),
        dev_windows=walks(8, 1),
        save_checkpoint=lambda step, looped: None,
    )
    val, dev = walks(16, 2), walks(64, 3)
    before = plain_bpb(model, val), plain_bpb(model, dev)
    prequant_ttt.finetune_on_stream(
        model, val, dataclasses.replace(WANTED, epochs=40, lr=5e-3), context.single_process(), progress_name="ttt"
    )
    after = plain_bpb(model, val), plain_bpb(model, dev)

    assert 1 < before[0] < 1.15
    assert 1 < before[1] < 1.15
    assert after[0] < 0.5
    assert after[1] > before[1]
