import dataclasses
import errno
import json
import os
import shutil
import signal
import threading

import numpy as np
import pytest
import torch

from golf.artifacts import io
from golf.data.loader import TokenLoader
from golf.data.split_reader import TokenSplit
from golf.distributed import context
from golf.model import checkpoint
from golf.model.gpt import GPT
from golf.pipeline import lock, signals
from golf.training import loop, resume, step
from tests.helpers.stage_errors import restore_signal_handlers
from tests.unit.training.test_loop import corpus

STEPS = 12


@pytest.fixture
def train_config(tiny_train_config, tmp_path, monkeypatch):
    """A state after every step, in a folder of runs of its own."""
    monkeypatch.setenv(lock.RESUME_DIR_ENV, str(tmp_path / "runs"))
    monkeypatch.setattr(lock, "ACQUIRE_TIMEOUT_S", 0.0)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # guards against power cuts alone, and is slow
    return dataclasses.replace(
        tiny_train_config, steps=STEPS, ema_snapshot_every=2, ema_snapshots=3, resume_save_s=1e-9
    )


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


def go(shape, wanted, *, name="key", until=None, finish=False):
    """Train with a Loader; ``until``: die after so many steps. Returns (model, outcome, run, checkpoints)."""
    tokens = corpus(64).flatten().numpy().astype(np.uint16)
    model = GPT(shape).init_weights(torch.Generator().manual_seed(0))
    made = 0
    real = step.train_step

    def mortal(*arguments):
        nonlocal made
        if until is not None and made == until:
            raise Killed
        made += 1
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch, resume.open_run(name, wanted, context.single_process()) as run:
        patch.setattr(loop, "train_step", mortal)
        keep = checkpoint.CheckpointWriter(run.checkpoint_dir, model, lineage={})
        with TokenLoader(text(tokens), context_length=32, rows=8, seed=1, position=run.position) as batches:
            outcome = loop.train(
                model,
                batches,
                wanted,
                context.single_process(),
                dev_windows=corpus(8),
                save_checkpoint=keep,
                resumable_run=run,
            )
        kept = {path.name: path.read_bytes() for path in run.checkpoint_dir.glob("*")}
        if finish:
            run.discard()
    return model, outcome, run, kept


def text(tokens) -> TokenSplit:
    return TokenSplit(
        **{field.name: None for field in dataclasses.fields(TokenSplit)} | {"name": "train", "shards": [tokens]}
    )


def killed(shape, wanted, until, **more) -> None:
    with pytest.raises(Killed):
        go(shape, wanted, until=until, **more)


def told(outcome) -> tuple:
    """All that a run leaves, its times aside."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in [*outcome.log, *outcome.dev]]
    return rows, outcome.steps, outcome.recurrent_from


def same(first, second) -> bool:
    (model, outcome, _, kept), (other, found, _, again) = first, second
    averages, theirs = outcome.averages, found.averages
    pairs = [*zip(model.parameters(), other.parameters(), strict=True)]
    for decay in averages.averages:
        pairs += zip(averages.averages[decay], theirs.averages[decay], strict=True)
    for at, traces in averages.snapshots.items():
        for trace, held in traces.items():
            pairs += [(tensor, theirs.snapshots[at][trace][name]) for name, tensor in held.items()]
    return (
        told(outcome) == told(found)
        and averages.steps == theirs.steps
        and averages.snapshots.keys() == theirs.snapshots.keys()
        and kept == again
        and all(torch.equal(a, b) for a, b in pairs)
    )


@pytest.mark.parametrize("until", [1, 5, 11])
def test_a_run_that_was_killed_ends_in_the_same_bits_as_one_that_was_not(tiny_model_config, train_config, until, capfd):
    whole = go(tiny_model_config, train_config, name="whole")
    killed(tiny_model_config, train_config, until)
    resumed = go(tiny_model_config, train_config)
    assert f"resuming from step {until} of " in capfd.readouterr().err
    assert same(whole, resumed)


def test_a_run_may_be_killed_again_and_again(tiny_model_config, train_config):
    whole = go(tiny_model_config, train_config, name="whole")
    for _ in range(4):
        killed(tiny_model_config, train_config, 2)
    assert same(whole, go(tiny_model_config, train_config))


def test_a_run_that_died_while_its_outputs_were_written_has_nothing_left_to_train(tiny_model_config, train_config):
    whole = go(tiny_model_config, train_config)
    assert same(whole, go(tiny_model_config, train_config, until=0))


def test_the_seconds_of_all_its_processes_count_and_those_after_the_last_state_too(
    tiny_model_config, train_config, tmp_path
):
    killed(tiny_model_config, train_config, 5)
    told_at = tmp_path / "runs/train/key/seconds.json"
    io.write_json(told_at, {"seconds": 1000.0})
    _, outcome, _, _ = go(tiny_model_config, train_config)
    assert 1000.0 < outcome.seconds < 1060.0
    assert [row["seconds"] < 1000.0 for row in outcome.log] == [True] * 5 + [False] * 7


def test_a_budget_that_was_used_up_before_ends_the_run_at_once(tiny_model_config, train_config, tmp_path):
    train_config = dataclasses.replace(train_config, limit_s=900.0)
    killed(tiny_model_config, train_config, 5)
    io.write_json(tmp_path / "runs/train/key/seconds.json", {"seconds": 1000.0})
    assert go(tiny_model_config, train_config)[1].steps == 5


def test_seconds_are_written_down_while_a_step_lasts(tiny_model_config, train_config, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "HEARTBEAT_INTERVAL_S", 0.01)
    killed(tiny_model_config, dataclasses.replace(train_config, resume_save_s=1e9), 5)
    assert 0.0 < io.read_json(tmp_path / "runs/train/key/seconds.json")["seconds"] < 60.0


def test_resume_false_starts_fresh_and_forgets(tiny_model_config, train_config, capfd):
    killed(tiny_model_config, train_config, 5)
    killed(tiny_model_config, dataclasses.replace(train_config, resume=False), 3)
    go(tiny_model_config, train_config)
    assert "resuming from step 3 of " in capfd.readouterr().err


def test_nothing_of_a_run_warms_up_one_with_other_parameters(train_config):
    def key(train, dev="d"):
        return resume.make_run_key(
            {"digest": io.sha256_json(dataclasses.asdict(resume.strip_resume_settings(train)))}, dev
        )

    assert key(dataclasses.replace(train_config, resume=False, resume_save_s=7.0)) == key(train_config)
    others = [
        dataclasses.replace(train_config, **{name: value})
        for name, value in {"seed": 2, "steps": 13, "matrix_lr": 0.5, "ranks": 2, "clip": None}.items()
    ]
    assert len({key(each) for each in [train_config, *others]} | {key(train_config, "another dev")}) == len(others) + 2


def test_a_run_that_is_finished_leaves_nothing(tiny_model_config, train_config, tmp_path):
    go(tiny_model_config, train_config, finish=True)
    assert list((tmp_path / "runs/train").iterdir()) == []


def test_a_folder_that_was_being_removed_is_no_run(tiny_model_config, train_config, tmp_path, capfd):
    whole = go(tiny_model_config, train_config)
    (tmp_path / "runs/train/key").rename(tmp_path / "runs/train/key.done")
    assert same(whole, go(tiny_model_config, train_config, finish=True))
    assert "resuming" not in capfd.readouterr().err
    assert list((tmp_path / "runs/train").iterdir()) == []


@pytest.mark.parametrize("name", ["common.safetensors", "rank_0.safetensors"])
@pytest.mark.parametrize("harm", ["flipped", "short", "gone"])
def test_a_damaged_state_is_passed_over_and_the_one_before_it_counts(
    tiny_model_config, train_config, tmp_path, capfd, name, harm
):
    whole = go(tiny_model_config, train_config, name="whole")
    folder = tmp_path / "runs/train/key"
    killed(tiny_model_config, train_config, 5)
    shutil.copytree(folder / "step_00000005", tmp_path / "five")
    killed(tiny_model_config, train_config, 2)
    shutil.copytree(tmp_path / "five", folder / "step_00000005")
    path = folder / "step_00000007" / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.unlink()
    if harm != "gone":
        path.write_bytes(data if harm == "flipped" else data[:-9])
    capfd.readouterr()
    resumed = go(tiny_model_config, train_config)
    said = capfd.readouterr().err
    assert f"passing over a state: {path}" in said
    assert "resuming from step 5 of " in said
    assert same(whole, resumed)


def test_what_a_run_wrote_after_the_state_that_it_goes_on_from_never_was(tiny_model_config, train_config, tmp_path):
    """Snapshots and checkpoints of steps that are made again, or, by the clock, never."""
    whole = go(tiny_model_config, train_config, name="whole")
    folder = tmp_path / "runs/train/key"
    killed(tiny_model_config, train_config, 5)
    kept = folder / "snapshots"
    shutil.copyfile(kept / "step_00000004.safetensors", kept / "step_00000006.safetensors")  # of another timeline
    folder.joinpath("checkpoints").mkdir(exist_ok=True)
    folder.joinpath("checkpoints/step_000007.safetensors").write_bytes(b"of a step that was lost")
    folder.joinpath("step_00000009").mkdir()
    folder.joinpath("step_00000009/rank_0.safetensors").write_bytes(b"of a state that was lost")
    resumed = go(tiny_model_config, train_config)
    assert same(whole, resumed)
    assert "step_000007.safetensors" not in resumed[3]


def test_an_incomplete_state_is_removed_unread(tiny_model_config, train_config, tmp_path, capfd):
    whole = go(tiny_model_config, train_config, name="whole")
    killed(tiny_model_config, train_config, 5)
    folder = tmp_path / "runs/train/key"
    (folder / "step_00000006").mkdir()
    (folder / "step_00000006" / "rank_0.safetensors").write_bytes(b"half")
    (folder / "step_00000006" / ".common.safetensors.x.partial").touch()
    resumed = go(tiny_model_config, train_config)
    said = capfd.readouterr().err
    assert "passing over" not in said
    assert "resuming from step 5 of " in said
    assert same(whole, resumed)


def test_a_full_disk_costs_a_state_and_not_the_run(tiny_model_config, train_config, monkeypatch, capfd):
    whole = go(tiny_model_config, train_config, name="whole")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "rank_0.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(io, "save_tensors", full)
        patch.setattr(checkpoint.CheckpointWriter, "__call__", lambda *_: None)
        other = go(tiny_model_config, train_config)
    assert "no state kept at step 12: No space left on device (rank_0.safetensors)" in capfd.readouterr().err
    assert told(whole[1]) == told(other[1])


def test_a_bug_in_the_writer_is_not_swallowed(tiny_model_config, train_config, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(io, "save_tensors", broken)
    monkeypatch.setattr(checkpoint.CheckpointWriter, "__call__", lambda *_: None)
    with pytest.raises(ZeroDivisionError, match="ours"):
        go(tiny_model_config, train_config)


def test_no_state_is_begun_while_one_is_being_written(tiny_model_config, train_config, monkeypatch):
    begun, gate = [], threading.Event()

    def copies(run):
        begun.append(run.result.log[-1]["step"])
        return {}, {}, {}, None

    monkeypatch.setattr(resume.ResumableRun, "copy_state", copies)
    monkeypatch.setattr(resume.ResumableRun, "write_state", lambda *_: gate.wait(60))
    monkeypatch.setattr(resume.ResumableRun, "stop_heartbeat", lambda run: gate.set())  # the end of the loop
    go(tiny_model_config, train_config)
    assert begun == [1, 12]


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_a_run_after_its_step_with_its_state_kept(tiny_model_config, train_config, number, ends, capfd):
    whole = go(tiny_model_config, train_config, name="whole")
    real = loop.EMATracker.update

    def update(averages):
        real(averages)
        if averages.steps == 4:
            signal.raise_signal(number)

    with restore_signal_handlers(), pytest.MonkeyPatch.context() as patch:
        signals.install_handlers()
        patch.setattr(loop.EMATracker, "update", update)
        with pytest.raises(ends):
            go(tiny_model_config, dataclasses.replace(train_config, resume_save_s=1e9))
    assert "stopped after 4 steps and " in capfd.readouterr().err
    assert same(whole, go(tiny_model_config, train_config))
    assert "resuming from step 4 of " in capfd.readouterr().err


def test_a_second_run_on_the_same_state_is_refused_and_another_key_is_free(train_config):
    here = context.single_process()
    with resume.open_run("key", train_config, here):
        with pytest.raises(lock.AlreadyRunningError, match=f"process {os.getpid()} is at work on this here"):
            resume.open_run("key", train_config, here).__enter__()
        with resume.open_run("other", train_config, here):
            pass


def test_a_state_holds_no_code_and_says_what_it_is(tiny_model_config, train_config, tmp_path):
    killed(tiny_model_config, train_config, 5)
    kinds = {path.suffix for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}
    about = io.read_header(tmp_path / "runs/train/key/step_00000005/common.safetensors")
    assert about["kind"] == resume.FILE_KIND
    assert json.dumps(about["meta"]["position"]) == json.dumps([0, 5])
