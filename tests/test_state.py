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
from refusals import handlers_kept
from test_loop import corpus

from golf.data.loader import Loader
from golf.data.shards import Split
from golf.ground import lock, runtime, signals, store
from golf.model import checkpoint
from golf.model.gpt import GPT
from golf.train import loop, state, step

STEPS = 12


@pytest.fixture
def wanted(tiny_train, tmp_path, monkeypatch):
    """A state after every step, in a folder of runs of its own."""
    monkeypatch.setenv(lock.RUNS, str(tmp_path / "runs"))
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # guards against power cuts alone, and is slow
    return dataclasses.replace(tiny_train, steps=STEPS, ema_snapshot_every=2, ema_snapshots=3, state_every_s=1e-9)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


def go(shape, wanted, *, name="key", until=None, finish=False):
    """Train with a Loader; ``until``: die after so many steps. Returns (model, outcome, run, checkpoints)."""
    tokens = corpus(64).flatten().numpy().astype(np.uint16)
    model = GPT(shape).initialise(torch.Generator().manual_seed(0))
    made = 0
    real = step.one_step

    def mortal(*arguments):
        nonlocal made
        if until is not None and made == until:
            raise Killed
        made += 1
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch, state.opened(name, wanted, runtime.alone()) as run:
        patch.setattr(loop, "one_step", mortal)
        keep = checkpoint.Keeper(run.checkpoints, model, lineage={})
        with Loader(text(tokens), context=32, rows=8, seed=1, position=run.position) as batches:
            outcome = loop.train(model, batches, wanted, runtime.alone(), dev=corpus(8), save=keep, state=run)
        kept = {path.name: path.read_bytes() for path in run.checkpoints.glob("*")}
        if finish:
            run.finish()
    return model, outcome, run, kept


def text(tokens) -> Split:
    return Split(**{field.name: None for field in dataclasses.fields(Split)} | {"name": "train", "shards": [tokens]})


def killed(shape, wanted, until, **more) -> None:
    with pytest.raises(Killed):
        go(shape, wanted, until=until, **more)


def told(outcome) -> tuple:
    """All that a run leaves, its times aside."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in [*outcome.log, *outcome.dev]]
    return rows, outcome.steps, outcome.looped_from


def same(first, second) -> bool:
    (model, outcome, _, kept), (other, found, _, again) = first, second
    averages, theirs = outcome.averages, found.averages
    pairs = [*zip(model.parameters(), other.parameters(), strict=True)]
    for decay in averages.running:
        pairs += zip(averages.running[decay], theirs.running[decay], strict=True)
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
def test_a_run_that_was_killed_ends_in_the_same_bits_as_one_that_was_not(tiny_shape, wanted, until, capfd):
    whole = go(tiny_shape, wanted, name="whole")
    killed(tiny_shape, wanted, until)
    resumed = go(tiny_shape, wanted)
    assert f"resuming from step {until} of " in capfd.readouterr().err
    assert same(whole, resumed)


def test_a_run_may_be_killed_again_and_again(tiny_shape, wanted):
    whole = go(tiny_shape, wanted, name="whole")
    for _ in range(4):
        killed(tiny_shape, wanted, 2)
    assert same(whole, go(tiny_shape, wanted))


def test_a_run_that_died_while_its_outputs_were_written_has_nothing_left_to_train(tiny_shape, wanted):
    whole = go(tiny_shape, wanted)
    assert same(whole, go(tiny_shape, wanted, until=0))


def test_the_seconds_of_all_its_processes_count_and_those_after_the_last_state_too(tiny_shape, wanted, tmp_path):
    killed(tiny_shape, wanted, 5)
    told_at = tmp_path / "runs/train/key/seconds.json"
    store.write_json(told_at, {"seconds": 1000.0})
    _, outcome, _, _ = go(tiny_shape, wanted)
    assert 1000.0 < outcome.seconds < 1060.0
    assert [row["seconds"] < 1000.0 for row in outcome.log] == [True] * 5 + [False] * 7


def test_a_budget_that_was_used_up_before_ends_the_run_at_once(tiny_shape, wanted, tmp_path):
    wanted = dataclasses.replace(wanted, limit_s=900.0)
    killed(tiny_shape, wanted, 5)
    store.write_json(tmp_path / "runs/train/key/seconds.json", {"seconds": 1000.0})
    assert go(tiny_shape, wanted)[1].steps == 5


def test_seconds_are_written_down_while_a_step_lasts(tiny_shape, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "BEAT_S", 0.01)
    killed(tiny_shape, dataclasses.replace(wanted, state_every_s=1e9), 5)
    assert 0.0 < store.read_json(tmp_path / "runs/train/key/seconds.json")["seconds"] < 60.0


def test_resume_false_starts_fresh_and_forgets(tiny_shape, wanted, capfd):
    killed(tiny_shape, wanted, 5)
    killed(tiny_shape, dataclasses.replace(wanted, resume=False), 3)
    go(tiny_shape, wanted)
    assert "resuming from step 3 of " in capfd.readouterr().err


def test_nothing_of_a_run_warms_up_one_with_other_parameters(wanted):
    def key(train, dev="d"):
        return state.key({"digest": store.json_digest(dataclasses.asdict(state.neutral(train)))}, dev)

    assert key(dataclasses.replace(wanted, resume=False, state_every_s=7.0)) == key(wanted)
    others = [
        dataclasses.replace(wanted, **{name: value})
        for name, value in {"seed": 2, "steps": 13, "matrix_lr": 0.5, "ranks": 2, "clip": None}.items()
    ]
    assert len({key(each) for each in [wanted, *others]} | {key(wanted, "another dev")}) == len(others) + 2


def test_a_run_that_is_finished_leaves_nothing(tiny_shape, wanted, tmp_path):
    go(tiny_shape, wanted, finish=True)
    assert list((tmp_path / "runs/train").iterdir()) == []


def test_a_folder_that_was_being_removed_is_no_run(tiny_shape, wanted, tmp_path, capfd):
    whole = go(tiny_shape, wanted)
    (tmp_path / "runs/train/key").rename(tmp_path / "runs/train/key.done")
    assert same(whole, go(tiny_shape, wanted, finish=True))
    assert "resuming" not in capfd.readouterr().err
    assert list((tmp_path / "runs/train").iterdir()) == []


@pytest.mark.parametrize("name", ["common.safetensors", "rank_0.safetensors"])
@pytest.mark.parametrize("harm", ["flipped", "short", "gone"])
def test_a_damaged_state_is_passed_over_and_the_one_before_it_counts(tiny_shape, wanted, tmp_path, capfd, name, harm):
    whole = go(tiny_shape, wanted, name="whole")
    folder = tmp_path / "runs/train/key"
    killed(tiny_shape, wanted, 5)
    shutil.copytree(folder / "step_00000005", tmp_path / "five")
    killed(tiny_shape, wanted, 2)
    shutil.copytree(tmp_path / "five", folder / "step_00000005")
    path = folder / "step_00000007" / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.unlink()
    if harm != "gone":
        path.write_bytes(data if harm == "flipped" else data[:-9])
    capfd.readouterr()
    resumed = go(tiny_shape, wanted)
    said = capfd.readouterr().err
    assert f"passing over a state: {path}" in said
    assert "resuming from step 5 of " in said
    assert same(whole, resumed)


def test_what_a_run_wrote_after_the_state_that_it_goes_on_from_never_was(tiny_shape, wanted, tmp_path):
    """Snapshots and checkpoints of steps that are made again, or, by the clock, never."""
    whole = go(tiny_shape, wanted, name="whole")
    folder = tmp_path / "runs/train/key"
    killed(tiny_shape, wanted, 5)
    kept = folder / "snapshots"
    shutil.copyfile(kept / "step_00000004.safetensors", kept / "step_00000006.safetensors")  # of another timeline
    folder.joinpath("checkpoints").mkdir(exist_ok=True)
    folder.joinpath("checkpoints/step_000007.safetensors").write_bytes(b"of a step that was lost")
    folder.joinpath("step_00000009").mkdir()
    folder.joinpath("step_00000009/rank_0.safetensors").write_bytes(b"of a state that was lost")
    resumed = go(tiny_shape, wanted)
    assert same(whole, resumed)
    assert "step_000007.safetensors" not in resumed[3]


def test_an_incomplete_state_is_removed_unread(tiny_shape, wanted, tmp_path, capfd):
    whole = go(tiny_shape, wanted, name="whole")
    killed(tiny_shape, wanted, 5)
    folder = tmp_path / "runs/train/key"
    (folder / "step_00000006").mkdir()
    (folder / "step_00000006" / "rank_0.safetensors").write_bytes(b"half")
    (folder / "step_00000006" / ".common.safetensors.x.partial").touch()
    resumed = go(tiny_shape, wanted)
    said = capfd.readouterr().err
    assert "passing over" not in said
    assert "resuming from step 5 of " in said
    assert same(whole, resumed)


def test_a_full_disk_costs_a_state_and_not_the_run(tiny_shape, wanted, monkeypatch, capfd):
    whole = go(tiny_shape, wanted, name="whole")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "rank_0.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(store, "save_tensors", full)
        patch.setattr(checkpoint.Keeper, "__call__", lambda *_: None)
        other = go(tiny_shape, wanted)
    assert "no state kept at step 12: No space left on device (rank_0.safetensors)" in capfd.readouterr().err
    assert told(whole[1]) == told(other[1])


def test_a_bug_in_the_writer_is_not_swallowed(tiny_shape, wanted, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(store, "save_tensors", broken)
    monkeypatch.setattr(checkpoint.Keeper, "__call__", lambda *_: None)
    with pytest.raises(ZeroDivisionError, match="ours"):
        go(tiny_shape, wanted)


def test_no_state_is_begun_while_one_is_being_written(tiny_shape, wanted, monkeypatch):
    begun, gate = [], threading.Event()

    def copies(run):
        begun.append(run.outcome.log[-1]["step"])
        return {}, {}, {}, None

    monkeypatch.setattr(state.Run, "copies", copies)
    monkeypatch.setattr(state.Run, "write", lambda *_: gate.wait(60))
    monkeypatch.setattr(state.Run, "rest", lambda run: gate.set())  # the end of the loop
    go(tiny_shape, wanted)
    assert begun == [1, 12]


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_a_run_after_its_step_with_its_state_kept(tiny_shape, wanted, number, ends, capfd):
    whole = go(tiny_shape, wanted, name="whole")
    real = loop.Averages.update

    def update(averages):
        real(averages)
        if averages.steps == 4:
            signal.raise_signal(number)

    with handlers_kept(), pytest.MonkeyPatch.context() as patch:
        signals.answer()
        patch.setattr(loop.Averages, "update", update)
        with pytest.raises(ends):
            go(tiny_shape, dataclasses.replace(wanted, state_every_s=1e9))
    assert "stopped after 4 steps and " in capfd.readouterr().err
    assert same(whole, go(tiny_shape, wanted))
    assert "resuming from step 4 of " in capfd.readouterr().err


def test_a_second_run_on_the_same_state_is_refused_and_another_key_is_free(wanted):
    here = runtime.alone()
    with state.opened("key", wanted, here):
        with pytest.raises(lock.Busy, match=f"process {os.getpid()} is at work on this here"):
            state.opened("key", wanted, here).__enter__()
        with state.opened("other", wanted, here):
            pass


def test_a_state_holds_no_code_and_says_what_it_is(tiny_shape, wanted, tmp_path):
    killed(tiny_shape, wanted, 5)
    kinds = {path.suffix for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}
    about = store.read_label(tmp_path / "runs/train/key/step_00000005/common.safetensors")
    assert about["kind"] == state.KIND
    assert json.dumps(about["meta"]["position"]) == json.dumps([0, 5])
