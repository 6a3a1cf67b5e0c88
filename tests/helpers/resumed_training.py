"""Training runs of the tiny model that die on the way and are resumed."""

import dataclasses

import numpy as np
import pytest
import torch

from golf.data.loader import TokenLoader
from golf.data.split_reader import TokenSplit
from golf.distributed import context
from golf.model import checkpoint
from golf.model.gpt import GPT
from golf.training import loop, resume, step
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.tiny_training import TINY_TRAIN_CONFIG, make_windows

STEPS = 6
CONFIG = dataclasses.replace(
    TINY_TRAIN_CONFIG, steps=STEPS, ema_snapshot_every=2, ema_snapshots=2, checkpoint_every=3, dev_every=3
)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may catch it."""


def train(cfg=CONFIG, *, kill_after=None, discard=False, model_cfg=TINY_MODEL_CONFIG, **settings):
    """Train with a TokenLoader; ``kill_after``: die after so many steps. Returns (model, result, checkpoints).

    settings: of the context.
    """
    tokens = make_windows(64).flatten().numpy().astype(np.uint16)
    fields = {field.name: None for field in dataclasses.fields(TokenSplit)} | {"name": "train", "shards": [tokens]}
    model = GPT(model_cfg).init_weights(torch.Generator().manual_seed(0))
    n_steps = 0

    def mortal_step(*arguments):
        nonlocal n_steps
        if n_steps == kill_after:
            raise Killed
        n_steps += 1
        return step.train_step(*arguments)

    ctx = dataclasses.replace(context.single_process(), **settings)
    with pytest.MonkeyPatch.context() as patch, resume.open_run("key", cfg, ctx) as run:
        patch.setattr(loop, "train_step", mortal_step)
        save_checkpoint = checkpoint.CheckpointWriter(run.checkpoint_dir, model, lineage={})
        with TokenLoader(TokenSplit(**fields), context_length=32, rows=8, seed=1, position=run.position) as batches:
            result = loop.train(
                model, batches, cfg, run.ctx, dev_windows=make_windows(8), save_checkpoint=save_checkpoint, run=run
            )
        checkpoints = {path.name: path.read_bytes() for path in run.checkpoint_dir.glob("*")}
        if discard:
            run.discard()
    return model, result, checkpoints


def kill(steps, cfg=CONFIG, **settings) -> None:
    """Start or resume the run, and die after so many steps."""
    with pytest.raises(Killed):
        train(cfg, kill_after=steps, **settings)


def logged(result) -> tuple:
    """Everything that a run logs except times."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in [*result.log, *result.dev_log]]
    return rows, result.steps, result.recurrent_from


def assert_same(first, second) -> None:
    """Two runs agree in every bit."""
    (model, result, checkpoints), (other_model, other_result, other_checkpoints) = first, second
    ema, other_ema = result.ema, other_result.ema
    assert logged(result) == logged(other_result)
    assert (ema.steps, ema.snapshots.keys()) == (other_ema.steps, other_ema.snapshots.keys())
    assert checkpoints == other_checkpoints
    pairs = [*zip(model.parameters(), other_model.parameters(), strict=True)]
    for decay in ema.averages:
        pairs += zip(ema.averages[decay], other_ema.averages[decay], strict=True)
    for snapshot_step, by_decay in ema.snapshots.items():
        for decay, weights in by_decay.items():
            pairs += [(w, other_ema.snapshots[snapshot_step][decay][name]) for name, w in weights.items()]
    assert all(torch.equal(a, b) for a, b in pairs)
