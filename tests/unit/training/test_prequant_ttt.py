"""golf/training/prequant_ttt.py on one rank"""

import dataclasses
import math
from itertools import count

import pytest
import torch

from golf.distributed import context
from golf.errors import DivergenceError
from golf.model.gpt import GPT
from golf.training import loop, prequant_ttt
from tests.helpers.prequant import BASE_CONFIG, CASES, ROWS, assert_near, finetune, make_model, slow_finetune
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.tiny_training import make_windows


@pytest.mark.parametrize("case", CASES)
def test_one_rank_makes_the_steps_of_adamw_written_out_by_hand(case):
    model, losses = finetune(CASES[case])
    expected, expected_losses = slow_finetune(CASES[case], 1)

    assert losses == pytest.approx(expected_losses, rel=1e-5)
    assert_near(dict(model.named_parameters()), expected, 1e-3)


def test_the_first_blocks_stay_as_they_were_and_everything_may_learn_again_afterwards():
    start, (model, _) = make_model(), finetune(dataclasses.replace(BASE_CONFIG, freeze_blocks=3))
    unchanged = {name for name, weight in model.named_parameters() if torch.equal(weight, start.get_parameter(name))}

    assert unchanged == {
        f"blocks.{layer}.{name}" for layer in range(3) for name, _ in model.blocks[layer].named_parameters()
    }
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_the_average_takes_in_the_weights_after_each_epoch_and_replaces_them_at_the_end():
    # One learning rate, so that a shorter run is the start of a longer one.
    steady = dataclasses.replace(BASE_CONFIG, min_lr_frac=1.0)
    model, _ = finetune(dataclasses.replace(steady, ema_decay=0.7))
    after = [dict(finetune(dataclasses.replace(steady, epochs=epochs))[0].named_parameters()) for epochs in range(4)]

    for name, weight in model.named_parameters():
        expected = after[0][name]
        for epoch in (1, 2, 3):
            expected = 0.7 * expected + 0.3 * after[epoch][name]
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"lr": 0.0}], ids=str)
@pytest.mark.parametrize("sync", ["sequential", "federated"])
def test_no_epochs_and_no_rate_leave_every_weight_as_it_was(sync, change):
    model, _ = finetune(dataclasses.replace(BASE_CONFIG, sync=sync, ema_decay=0.7, **change))
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), make_model().parameters(), strict=True))


def test_under_bf16_the_smallest_rate_still_moves_the_fp32_weights():
    """In a bf16 embedding the updates of the last epochs round away (docs/references.md#fp32-embedding)."""
    ctx = dataclasses.replace(context.single_process(), dtype=torch.bfloat16)
    model, _ = finetune(dataclasses.replace(BASE_CONFIG, lr=1e-6, epochs=1), ctx)
    before, after = make_model().tok_emb.weight, model.tok_emb.weight

    assert after.dtype == torch.float32
    assert (after != before).float().mean() > 0.5
    assert (after.bfloat16() != before.bfloat16()).float().mean() < 0.1


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # Dynamo does, as it traces
def test_compiled_it_learns_the_eager_weights_from_graphs_made_before_the_first_step(monkeypatch):
    """Traced as in a run, and the graphs run as they are: no compiler is needed. The short last batch has its own."""
    graphs, compile_ = [], torch.compile
    keep = lambda graph, _: graphs.append(graph) or graph.forward  # noqa: E731
    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_(function, backend=keep, **options))
    n_graphs, train_epoch = [], prequant_ttt.PrequantTrainer.train_epoch
    count_graphs = lambda *arguments: n_graphs.append(len(graphs)) or train_epoch(*arguments)  # noqa: E731
    monkeypatch.setattr(prequant_ttt.PrequantTrainer, "train_epoch", count_graphs)
    torch._dynamo.reset()
    model, _ = finetune(ctx=dataclasses.replace(context.single_process(), compile=True))
    torch._dynamo.reset()
    assert n_graphs == [2] * 3

    assert_near(dict(model.named_parameters()), finetune()[0], 1e-3)
    assert len(graphs) == 2


def test_the_time_of_compiling_stands_beside_the_clock_and_is_announced(monkeypatch, capsys):
    now = 0.0

    def work_for(seconds):
        nonlocal now
        now += seconds
        return 1.0

    monkeypatch.setattr(prequant_ttt.time, "perf_counter", lambda: now)
    monkeypatch.setattr(prequant_ttt.PrequantTrainer, "warm_up", lambda *_: work_for(100.0))
    monkeypatch.setattr(prequant_ttt.PrequantTrainer, "train_epoch", lambda *_: work_for(2.0))
    model, windows = make_model(), make_windows()[:ROWS]
    ctx = dataclasses.replace(context.single_process(), compile=True)
    result = prequant_ttt.finetune_on_stream(model, windows, BASE_CONFIG, ctx, progress_name="ttt")

    assert (result.seconds, result.warmup_s) == (6.0, 100.0)
    metrics = prequant_ttt.make_metrics("dev", BASE_CONFIG, result, 2.0, 1.9)
    assert (metrics["seconds"], metrics["warmup_seconds"]) == (6.0, 100.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ttt       compiling: about half a minute for each graph, not counted as training time"
    assert "3/3 epochs" in lines[-1]
    assert "  6 s" in lines[-1]


@pytest.mark.parametrize(("sync", "sums"), [("sequential", 4 + 1), ("federated", 2)])
def test_a_step_of_all_ranks_makes_one_reduction_and_ranks_alone_make_one_an_epoch(monkeypatch, sync, sums):
    """And one of the nats an epoch. The whole gradient, or the weights that learn, are one buffer."""
    reduced = []
    monkeypatch.setattr(context.DistContext, "all_reduce", lambda _, tensor: reduced.append(tensor.numel()) or tensor)
    model, _ = finetune(dataclasses.replace(BASE_CONFIG, sync=sync, epochs=1))
    learned = sum(
        weight.numel() for name, weight in model.named_parameters() if name[:9] not in ("blocks.0.", "blocks.1.")
    )

    assert reduced == [learned] * (sums - 1) + [1]
    assert all(weight.grad is None for weight in model.parameters())


def test_a_loss_that_is_not_finite_names_its_epoch_and_the_rate_and_leaves_nothing_frozen():
    model = make_model()
    with pytest.raises(DivergenceError, match=r"prequant: the loss is (nan|inf) in epoch \d; lower prequant\.lr"):
        prequant_ttt.finetune_on_stream(
            model,
            make_windows()[:ROWS],
            dataclasses.replace(BASE_CONFIG, lr=1e30),
            context.single_process(),
            progress_name="ttt",
        )
    assert all(weight.requires_grad for weight in model.parameters())


def test_every_epoch_has_its_line_with_the_rate_that_falls_to_the_floor_in_the_last(capsys):
    finetune()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("lr ")[1].split()[0] for line in lines] == ["0.002", "0.0011", "0.0002"]
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
    """No compliant predictor gets below one bit on fresh walks: what is below was read beforehand."""
    model = GPT(TINY_MODEL_CONFIG).init_weights(torch.Generator().manual_seed(0))
    cfg = dataclasses.replace(tiny_train_config, steps=100, micro_batch_tokens=256, checkpoint_every=None)
    batches = ((rows[:, :-1].contiguous(), rows[:, 1:].contiguous()) for rows in (walks(8, 100 + i) for i in count()))
    loop.train(
        model,
        batches,
        cfg,
        context.single_process(),
        dev_windows=walks(8, 1),
        save_checkpoint=lambda step, recurrent: None,
    )
    val, dev = walks(16, 2), walks(64, 3)
    before = plain_bpb(model, val), plain_bpb(model, dev)
    prequant_ttt.finetune_on_stream(
        model, val, dataclasses.replace(BASE_CONFIG, epochs=40, lr=5e-3), context.single_process(), progress_name="ttt"
    )
    after = plain_bpb(model, val), plain_bpb(model, dev)

    assert 1 < before[0] < 1.15
    assert 1 < before[1] < 1.15
    assert after[0] < 0.5
    assert after[1] > before[1]
