import copy
import dataclasses
import math
import re
import signal
from functools import partialmethod

import pytest
import torch

from golf.distributed import context
from golf.errors import DivergenceError
from golf.model.gpt import GPT
from golf.pipeline.progress import Progress
from golf.training import loop, step
from golf.training.optimizer import MuonAdamW
from tests.helpers.tiny_training import MODEL_OPTIONS, TRAINING_OPTIONS, train_tiny_model


def test_training_lowers_the_loss_and_activates_recurrence_at_its_share(tiny_model_config, tiny_train_config):
    model, result = train_tiny_model(dataclasses.replace(tiny_train_config, steps=40, recurrence_from=0.35))

    assert result.steps == 40
    assert result.log[-1]["loss"] < result.log[0]["loss"] - 1
    assert result.dev_log[-1]["dev_loss"] < math.log(tiny_model_config.vocab_size)
    assert result.recurrent_from == 15
    assert [row["recurrent"] for row in result.log] == [0] * 14 + [1] * 26
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_warm_up_leaves_no_trace_in_any_weight_buffer_or_optimizer(tiny_model_config, tiny_train_config):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))
    before = copy.deepcopy(dict(model.named_parameters()) | dict(model.named_buffers()))
    cfg, ctx = dataclasses.replace(tiny_train_config, compile_warmup_steps=3), context.single_process()
    rng_state = torch.get_rng_state()

    step.compile_warmup(model, step.make_loss_fn(model, ctx), cfg, ctx)

    after = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not MuonAdamW(model, cfg, ctx).state_dict()
    assert torch.equal(torch.get_rng_state(), rng_state)


def test_warm_up_makes_steps_of_every_context_length_that_can_come(tiny_model_config, tiny_train_config):
    model, ctx, came = GPT(tiny_model_config), context.single_process(), []
    schedule = {"context_schedule": ((16.0, 0.4), (32.0, 1.0)), "recurrence_from": 0.5}
    cfg = dataclasses.replace(tiny_train_config, compile_warmup_steps=1, micro_batch_tokens=64, **schedule)
    loss_fn = step.make_loss_fn(model.init_weights(torch.Generator().manual_seed(0)), ctx)

    step.compile_warmup(
        model, lambda x, y, recurrent: came.append((*x.shape, recurrent)) or loss_fn(x, y, recurrent), cfg, ctx
    )

    assert came == [(4, 16, False), (2, 32, False), (2, 32, True)]


def test_the_same_seed_trains_the_same_weights_bit_for_bit_with_warm_up_or_without(tiny_train_config):
    cold, _ = train_tiny_model(dataclasses.replace(tiny_train_config, compile_warmup_steps=0))
    warm, _ = train_tiny_model(dataclasses.replace(tiny_train_config, compile_warmup_steps=2))

    assert all(torch.equal(a, b) for a, b in zip(cold.parameters(), warm.parameters(), strict=True))


def test_micro_batches_add_up_to_the_batch(tiny_train_config):
    _, whole = train_tiny_model(dataclasses.replace(tiny_train_config, micro_batch_tokens=256, steps=4))
    _, split = train_tiny_model(dataclasses.replace(tiny_train_config, micro_batch_tokens=32, steps=4))

    for a, b in zip(whole.log, split.log, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=5e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=5e-3)


@pytest.mark.parametrize("changes", [*({key: value} for key, value in MODEL_OPTIONS.items()), MODEL_OPTIONS])
def test_a_model_with_an_option_learns_its_weights_and_keeps_its_soft_caps(
    tiny_model_config, tiny_train_config, changes
):
    model_cfg = dataclasses.replace(tiny_model_config, **changes)
    model, result = train_tiny_model(dataclasses.replace(tiny_train_config, steps=25), model_cfg=model_cfg)
    start = GPT(model_cfg).init_weights(torch.Generator().manual_seed(0)).state_dict()

    assert result.log[-1]["loss"] < result.log[0]["loss"] - 0.5
    moved = {name for name, weight in model.state_dict().items() if not torch.equal(weight, start[name])}
    assert {name for name in start if start[name].numel()} - moved == ({"softcaps"} & set(start))


def test_training_with_every_option_lowers_the_loss(tiny_model_config, tiny_train_config):
    model_cfg = dataclasses.replace(tiny_model_config, **MODEL_OPTIONS)
    cfg = dataclasses.replace(tiny_train_config, **TRAINING_OPTIONS, steps=25)
    _, result = train_tiny_model(cfg, model_cfg=model_cfg)
    assert result.log[-1]["loss"] < result.log[0]["loss"] - 0.5


@pytest.mark.slow
def test_compiled_training_with_every_option_is_the_eager_one(tiny_model_config, tiny_train_config):
    model_cfg = dataclasses.replace(tiny_model_config, **MODEL_OPTIONS)
    cfg = dataclasses.replace(tiny_train_config, **TRAINING_OPTIONS, steps=5)
    eager, compiled = (
        train_tiny_model(cfg, dataclasses.replace(context.single_process(), compile=on), model_cfg=model_cfg)[1].log
        for on in (False, True)
    )
    assert [row["loss"] for row in compiled] == pytest.approx([row["loss"] for row in eager], abs=2e-3)
    assert [row["grad_norm"] for row in compiled] == pytest.approx([row["grad_norm"] for row in eager], rel=2e-2)


def test_checkpoints_and_dev_losses_come_at_their_steps(tiny_train_config):
    saved = []
    _, result = train_tiny_model(
        tiny_train_config, save_checkpoint=lambda step, recurrent: saved.append((step, recurrent))
    )

    assert saved == [(5, False), (10, True)]
    assert [row["step"] for row in result.dev_log] == [5, 10, 12]


def test_the_line_of_the_last_step_shows_no_time_left(tiny_train_config, capsys, monkeypatch):
    monkeypatch.setattr(Progress, "update", partialmethod(Progress.update, force=True))
    train_tiny_model(dataclasses.replace(tiny_train_config, steps=3))

    lines = [line for line in capsys.readouterr().err.splitlines() if "/3 steps" in line]
    assert [" left " in line for line in lines] == [True, True, False]
    assert lines[-1].startswith("train     3/3 steps  loss ")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_rates(tiny_train_config):
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) at step \d+; lower train\.muon_lr"):
        train_tiny_model(dataclasses.replace(tiny_train_config, embed_lr=1e30, grad_clip=None, steps=30))


def test_a_run_whose_gradient_is_zero_is_stopped_at_its_first_step(tiny_train_config, monkeypatch):
    def make_constant_loss(model, ctx):
        return lambda x, y, recurrent: 0 * model.nll_sum(x, y, recurrent=recurrent) + 5.0

    monkeypatch.setattr(loop, "make_loss_fn", make_constant_loss)
    with pytest.raises(DivergenceError, match=r"the gradient of step 1 is zero, .* train\.compile: off"):
        train_tiny_model(tiny_train_config)


def test_seconds_end_a_run_whose_steps_are_not_limited(tiny_train_config):
    _, result = train_tiny_model(dataclasses.replace(tiny_train_config, steps=None, limit_s=1.0, reserve_s=0.5))

    assert result.steps > 1
    assert result.seconds >= 0.5


def test_a_run_that_ends_before_recurrence_is_activated_says_so(tiny_train_config, capfd):
    warning = "no step ran with recurrence, because none came after train.recurrence_from = 0.9 of the budget"
    _, result = train_tiny_model(dataclasses.replace(tiny_train_config, steps=2, recurrence_from=0.9))
    stderr = capfd.readouterr().err
    _, recurrent_result = train_tiny_model(tiny_train_config)

    assert result.recurrent_from is None
    assert result.metrics(tiny_train_config)["recurrent_from_step"] is None
    assert stderr.count(warning) == 1
    assert recurrent_result.recurrent_from is not None
    assert "no step ran with recurrence" not in capfd.readouterr().err


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also in a test run that was started as a background job, which ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_ends_a_run_that_saves_no_state_and_the_line_says_so(tiny_train_config, monkeypatch, capfd):
    update = loop.EMATracker.update

    def update_and_signal(ema):
        update(ema)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.EMATracker, "update", update_and_signal)
    with pytest.raises(KeyboardInterrupt):
        train_tiny_model(dataclasses.replace(tiny_train_config, steps=40))
    assert re.search("stopped after 1 step and .*; nothing is saved\n", capfd.readouterr().err)
