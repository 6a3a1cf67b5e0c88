import copy
import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch

from golf.artifacts import io
from golf.distributed import context
from golf.errors import DivergenceError
from golf.model.gpt import GPT
from golf.training import loop, step
from golf.training.optimizer import MuonAdamW
from tests.helpers.tiny_corpus import ROOT


def corpus(rows: int = 64) -> torch.Tensor:
    """Windows [rows, 33] of a stream in which each token depends on the one before."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randint(2, (rows, 33), generator=generator)
    return (torch.randint(40, (rows, 1), generator=generator) + 3 * noise.cumsum(1)) % 60


def batches(rank: int = 0, ranks: int = 1, rows: int = 8):
    windows = corpus()
    step = 0
    while True:
        part = windows[torch.arange(step * rows, step * rows + rows) % len(windows)][rank::ranks]
        yield part[:, :-1].contiguous(), part[:, 1:].contiguous()
        step += 1


def run(tiny_shape, wanted, here=None, seed: int = 0, save=lambda step, looped: None):
    model = GPT(tiny_shape).init_weights(torch.Generator().manual_seed(seed))
    here = here or context.single_process()
    outcome = loop.train(
        model, batches(here.rank, here.world_size), wanted, here, dev_windows=corpus(8), save_checkpoint=save
    )
    return model, outcome


def test_training_lowers_the_loss_and_switches_the_loop_on_at_its_share(tiny_model_config, tiny_train_config):
    model, outcome = run(tiny_model_config, dataclasses.replace(tiny_train_config, steps=40, recurrence_from=0.35))

    assert outcome.steps == 40
    assert outcome.log[-1]["loss"] < outcome.log[0]["loss"] - 1
    assert outcome.dev_log[-1]["dev_loss"] < math.log(tiny_model_config.vocab_size)
    assert outcome.recurrent_from == 15
    assert [row["looped"] for row in outcome.log] == [0] * 14 + [1] * 26
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_same_seed_trains_the_same_weights_bit_for_bit(tiny_model_config, tiny_train_config):
    first, second = run(tiny_model_config, tiny_train_config)[0], run(tiny_model_config, tiny_train_config)[0]

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_warm_up_leaves_no_trace_in_any_weight_buffer_or_optimiser(tiny_model_config, tiny_train_config):
    model = GPT(tiny_model_config).init_weights(torch.Generator().manual_seed(0))
    before = copy.deepcopy(dict(model.named_parameters()) | dict(model.named_buffers()))
    wanted, here = dataclasses.replace(tiny_train_config, warmup_steps=3), context.single_process()
    state = torch.get_rng_state()

    step.compile_warmup(model, step.make_loss_fn(model, here), wanted, here)

    after = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not MuonAdamW(model, wanted, here).state_tensors()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_with_warm_up_is_the_run_without_it(tiny_model_config, tiny_train_config):
    cold, _ = run(tiny_model_config, dataclasses.replace(tiny_train_config, warmup_steps=0))
    warm, _ = run(tiny_model_config, dataclasses.replace(tiny_train_config, warmup_steps=2))

    assert all(torch.equal(a, b) for a, b in zip(cold.parameters(), warm.parameters(), strict=True))


def test_micro_batches_add_up_to_the_batch(tiny_model_config, tiny_train_config):
    _, whole = run(tiny_model_config, dataclasses.replace(tiny_train_config, micro_batch_tokens=256, steps=4))
    _, parts = run(tiny_model_config, dataclasses.replace(tiny_train_config, micro_batch_tokens=32, steps=4))

    for a, b in zip(whole.log, parts.log, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=5e-4)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=5e-3)


def test_checkpoints_and_dev_losses_come_when_they_were_asked_for(tiny_model_config, tiny_train_config):
    saved = []
    _, outcome = run(tiny_model_config, tiny_train_config, save=lambda step, looped: saved.append((step, looped)))

    assert saved == [(5, False), (10, True)]
    assert [row["step"] for row in outcome.dev_log] == [5, 10, 12]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_rates(tiny_model_config, tiny_train_config):
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) at step \d+; lower train\.muon_lr"):
        run(tiny_model_config, dataclasses.replace(tiny_train_config, embed_lr=1e30, grad_clip=None, steps=30))


def test_a_run_whose_gradient_is_zero_is_stopped_at_its_first_step(tiny_model_config, tiny_train_config, monkeypatch):
    def flat(model, here):
        return lambda x, y, looped: 0 * model.summed_nll(x, y, recurrent=looped) + 5.0

    monkeypatch.setattr(loop, "make_loss_fn", flat)
    with pytest.raises(DivergenceError, match=r"the gradient of step 1 is zero, .* train\.compile: off"):
        run(tiny_model_config, tiny_train_config)


def test_seconds_end_a_run_whose_steps_are_not_limited(tiny_model_config, tiny_train_config):
    _, outcome = run(tiny_model_config, dataclasses.replace(tiny_train_config, steps=None, limit_s=1.0, reserve_s=0.5))

    assert outcome.steps > 1
    assert outcome.seconds >= 0.5


def test_a_run_that_ends_before_the_loop_is_activated_says_so_once_and_has_no_first_step_of_it(
    tiny_model_config, tiny_train_config, capfd
):
    _, never = run(tiny_model_config, dataclasses.replace(tiny_train_config, steps=2, recurrence_from=0.9))
    said = capfd.readouterr().err
    _, once = run(tiny_model_config, tiny_train_config)

    assert never.recurrent_from is None
    assert never.metrics(tiny_train_config)["looped_from_step"] is None
    assert said.count("no step ran with recurrence: none came after train.recurrence_from = 0.9 of the budget") == 1
    assert once.recurrent_from is not None
    assert "no step ran with recurrence" not in capfd.readouterr().err


TWO_RANKS = """
import sys
import torch
sys.path.insert(0, {tests!r})
from test_loop import run
from golf.ground import machine, params, store
from golf.ground.shape import Shape
import dataclasses
train = dataclasses.replace(params.read("train.yaml").train, ranks=2)
here = machine.setup(train, "train")
torch.set_num_threads(1)
model, outcome = run(params.read("train.yaml").model, train, here)
if here.first:
    store.write_json("losses.json", {{"loss": [row["loss"] for row in outcome.log]}})
torch.distributed.destroy_process_group()
"""


def test_two_ranks_give_the_losses_of_one_for_the_same_global_batch(tmp_path, tiny_model_config, tiny_train_config):
    from ruamel.yaml import YAML

    root = ROOT
    tree = YAML(typ="safe").load((root / "profiles" / "laptop.yaml").read_text())
    tree["model"], tree["train"] = dataclasses.asdict(tiny_model_config), dataclasses.asdict(tiny_train_config)
    for key in ("micro_tokens", "batch_tokens", "sensitivity_tokens"):
        tree["calibrate"][key] = 320
    for section, key in (("ema", "score_tokens"), ("ttt", "score_tokens"), ("evaluate", "score_tokens")):
        tree[section][key] = 320
    tree["ttt"] |= {"batch_tokens": 32, "chunk_tokens": 320, "stride": 16}
    tree["evaluate"]["stride"] = 16
    tree["train"]["ema_decays"], tree["train"]["ema_traces"] = [0.9], [0.9, 0.98]
    YAML(typ="safe").dump(tree, tmp_path / "train.yaml")
    (tmp_path / "ranks.py").write_text(TWO_RANKS.format(tests=str(root / "tests")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "ranks.py"]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)

    together = io.read_json(tmp_path / "losses.json")["loss"]
    _, alone = run(tiny_model_config, tiny_train_config)
    assert together == pytest.approx([row["loss"] for row in alone.log], abs=2e-3)
    assert together[0] == pytest.approx(alone.log[0]["loss"], abs=1e-6)
