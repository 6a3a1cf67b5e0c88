import dataclasses
import errno
import os
import re
import shutil
import signal
import threading

import pytest
import torch

from golf.artifacts import io, json_records
from golf.distributed import context
from golf.errors import ArtifactError, UnavailableError
from golf.model import checkpoint
from golf.pipeline import lock, signals
from golf.training import loop, resume, state_writer
from golf.training.state_writer import StateWriter
from tests.helpers.resumed_training import CONFIG, assert_same, kill, logged, train
from tests.helpers.stage_errors import restore_signal_handlers
from tests.helpers.tiny_corpus import TINY_MODEL_CONFIG
from tests.helpers.tiny_training import MODEL_OPTIONS, TRAINING_OPTIONS

SHOULD_SAVE = StateWriter.should_save


@pytest.fixture(scope="module", autouse=True)
def _fast_saves():
    """A state after every second step; no waiting for locks or for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "ACQUIRE_TIMEOUT_S", 0.0)
        patch.setattr(os, "fsync", lambda handle: None)  # guards against power cuts alone, and is slow
        patch.setattr(StateWriter, "should_save", lambda writer, _: len(writer._result.log) % 2 == 0)
        yield


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """The folder of the run that ``train`` works on."""
    monkeypatch.setenv(lock.RESUME_DIR_ENV, str(tmp_path / "runs"))
    return tmp_path / "runs/train/key"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What ``train`` returns when nothing interrupts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(lock.RESUME_DIR_ENV, str(tmp_path_factory.mktemp("uninterrupted")))
        return train()


def test_a_run_killed_repeatedly_ends_in_the_same_bits_as_an_uninterrupted_one(uninterrupted, run_dir, capfd):
    kill(3)
    kill(3)
    resumed = train()
    stderr = capfd.readouterr().err
    assert f"resuming from step 2 of {run_dir}" in stderr
    assert f"resuming from step 4 of {run_dir}" in stderr
    assert_same(uninterrupted, resumed)


def test_a_run_with_every_option_continues_in_the_same_bits_before_and_after_the_context_grows(run_dir, monkeypatch):
    schedule = {"context_schedule": ((16.0, 0.4), (32.0, 1.0)), "context_warmup_steps": 2}
    cfg = dataclasses.replace(CONFIG, **TRAINING_OPTIONS | schedule)
    model_cfg = dataclasses.replace(TINY_MODEL_CONFIG, **MODEL_OPTIONS)
    kill(3, cfg, model_cfg=model_cfg)
    kill(3, cfg, model_cfg=model_cfg)
    resumed = train(cfg, model_cfg=model_cfg)
    monkeypatch.setenv(lock.RESUME_DIR_ENV, str(run_dir.parents[1] / "uninterrupted"))
    whole = train(cfg, model_cfg=model_cfg)

    assert_same(whole, resumed)
    assert [row["lr_multiplier"] for row in whole[1].log] == [
        1.0,
        1.0,
        pytest.approx(0.925926),
        0.347222,
        0.462963,
        0.231481,
    ]
    assert (whole[1].context_tokens, whole[1].context_switched_at) == (32, 3)


def test_a_run_that_died_while_its_outputs_were_written_has_nothing_left_to_train(uninterrupted, run_dir):
    train()
    assert_same(uninterrupted, train(kill_after=0))


def test_the_seconds_of_all_processes_count_even_those_after_the_last_state(run_dir):
    kill(3)
    json_records.write_sealed(run_dir / "seconds.json", {"seconds": 1000.0})
    assert train(dataclasses.replace(CONFIG, limit_s=900.0))[1].steps == 2, "the budget was used up before"
    _, result, _ = train()
    assert 1000.0 < result.seconds < 1060.0
    assert [row["seconds"] < 1000.0 for row in result.log] == [True] * 2 + [False] * 4


@pytest.mark.parametrize("data", [b"", b"{}", b'{"seconds": -9.0, "digest": "0"}', b'{"seconds": true}', b"[]", b"\0"])
def test_damaged_seconds_are_refused_with_a_cure_that_works(run_dir, data):
    kill(3)
    path = run_dir / "seconds.json"
    path.write_bytes(data)
    hint = rf"seconds\.json: .*; rm {path} to continue .*, or rm -r {run_dir} to start"
    with pytest.raises(ArtifactError, match=hint):
        train()
    path.unlink()
    train()


def test_seconds_are_written_while_a_step_lasts(run_dir, monkeypatch):
    monkeypatch.setattr(state_writer, "HEARTBEAT_INTERVAL_S", 0.01)
    monkeypatch.setattr(StateWriter, "should_save", lambda *_: False)
    kill(3)
    assert 0.0 < io.read_json(run_dir / "seconds.json")["seconds"] < 60.0


def test_a_state_is_due_when_its_seconds_have_passed_since_the_last_one(tmp_path):
    writer = StateWriter(tmp_path, context.single_process(), 10.0, 5.0, None, None, None, None)
    assert [SHOULD_SAVE(writer, seconds) for seconds in (6.0, 14.9, 15.0)] == [False, False, True]


def test_resume_false_discards_the_state(run_dir, capfd):
    kill(5)
    kill(3, dataclasses.replace(CONFIG, resume=False))
    assert "resuming" not in capfd.readouterr().err
    kill(1)
    assert "resuming from step 2 of " in capfd.readouterr().err


def test_only_a_run_with_the_same_parameters_and_dev_has_the_same_key():
    def key(cfg, dev_sha256="d"):
        digest = io.sha256_json(dataclasses.asdict(resume.strip_resume_settings(cfg)))
        return resume.make_run_key({"digest": digest}, dev_sha256)

    assert key(dataclasses.replace(CONFIG, resume=False, resume_save_s=7.0)) == key(CONFIG)
    changes = {"seed": 2, "steps": 13, "muon_lr": 0.5, "ranks": 2, "grad_clip": None}
    others = [dataclasses.replace(CONFIG, **{name: value}) for name, value in changes.items()]
    assert len({key(cfg) for cfg in [CONFIG, *others]} | {key(CONFIG, "another dev")}) == len(others) + 2


def test_a_run_continues_in_the_precision_in_which_it_started_and_says_so(uninterrupted, run_dir, capfd):
    kill(3)
    assert_same(uninterrupted, train(dtype=torch.bfloat16))
    text = "train     continuing in float32, in which this run started; train.dtype: auto chooses bfloat16 here\n"
    assert capfd.readouterr().err.count(text) == 1


def test_a_run_that_started_in_fp32_is_refused_where_its_attention_needs_bf16(run_dir):
    kill(3)
    with pytest.raises(UnavailableError, match=r"train\.attention: flash2 needs bfloat16, but .* started in float32"):
        train(dtype=torch.bfloat16, attention="flash2")


def test_a_finished_run_leaves_nothing_and_a_half_removed_one_is_not_resumed(uninterrupted, run_dir, capfd):
    kill(3)
    run_dir.rename(run_dir.with_suffix(".discarded"))
    assert_same(uninterrupted, train(discard=True))
    assert "resuming" not in capfd.readouterr().err
    assert list(run_dir.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [("common.safetensors", "bit flipped"), ("rank_0.safetensors", "cut short"), ("common.safetensors", "missing")],
)
def test_a_damaged_state_is_skipped_and_the_one_before_it_counts(uninterrupted, run_dir, tmp_path, capfd, name, damage):
    kill(3)
    shutil.copytree(run_dir / "step_00000002", tmp_path / "earlier")
    kill(2)
    shutil.copytree(tmp_path / "earlier", run_dir / "step_00000002")
    path = run_dir / "step_00000004" / name
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(data if damage == "bit flipped" else data[:-9])
    capfd.readouterr()
    resumed = train()
    stderr = capfd.readouterr().err
    assert f"skipping a saved state: {path}" in stderr
    assert "resuming from step 2 of " in stderr
    assert_same(uninterrupted, resumed)


def test_files_written_after_the_resumed_state_and_incomplete_states_are_removed_unread(uninterrupted, run_dir, capfd):
    """Snapshots and checkpoints of steps that are made again, or, with a time limit, never."""
    kill(3)
    snapshots = run_dir / "snapshots"
    shutil.copyfile(snapshots / "step_00000002.safetensors", snapshots / "step_00000004.safetensors")
    run_dir.joinpath("checkpoints/step_000007.safetensors").write_bytes(b"of a step that is not made")
    run_dir.joinpath("step_00000005").mkdir()
    run_dir.joinpath("step_00000005/rank_0.safetensors").write_bytes(b"half a state")
    run_dir.joinpath("step_00000005/.common.safetensors.x.partial").touch()
    resumed = train()
    stderr = capfd.readouterr().err
    assert "skipping" not in stderr
    assert "resuming from step 2 of " in stderr
    assert_same(uninterrupted, resumed)


def test_a_full_disk_costs_a_state_and_not_the_run(uninterrupted, run_dir, monkeypatch, capfd):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "rank_0.safetensors")

    monkeypatch.setattr(io, "save_tensors", full)
    monkeypatch.setattr(checkpoint.CheckpointWriter, "__call__", lambda *_: None)
    _, result, _ = train()
    stderr = capfd.readouterr().err
    assert "no state saved at step 6: rank_0.safetensors: No space left on device, while it ran " in stderr
    assert logged(result) == logged(uninterrupted[1])


def test_another_error_in_the_writer_ends_the_run(run_dir, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(io, "save_tensors", broken)
    monkeypatch.setattr(checkpoint.CheckpointWriter, "__call__", lambda *_: None)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train()


def test_no_state_is_started_while_one_is_being_written(run_dir, monkeypatch):
    started, gate, stop = [], threading.Event(), StateWriter.stop

    def copy_state(writer):
        started.append(writer._result.log[-1]["step"])
        return {}, {}, {}, None

    monkeypatch.setattr(StateWriter, "copy_state", copy_state)
    monkeypatch.setattr(StateWriter, "write_state", lambda *_: gate.wait(60))
    monkeypatch.setattr(StateWriter, "stop", lambda *arguments: gate.set() or stop(*arguments))
    train()
    assert started == [2, 6]


@pytest.mark.parametrize(("number", "exception"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_a_run_after_the_current_step_with_its_state_saved(
    uninterrupted, run_dir, monkeypatch, number, exception, capfd
):
    update = loop.EMATracker.update

    def update_and_signal(ema):
        update(ema)
        if ema.steps == 3:
            signal.raise_signal(number)

    with restore_signal_handlers(), pytest.MonkeyPatch.context() as patch:
        signals.install_handlers()
        patch.setattr(loop.EMATracker, "update", update_and_signal)
        patch.setattr(StateWriter, "should_save", lambda *_: False)
        with pytest.raises(exception):
            train()
    assert re.search("stopped after 3 steps and .*; run the same command again to continue", capfd.readouterr().err)
    assert_same(uninterrupted, train())
    assert "resuming from step 3 of " in capfd.readouterr().err


def test_a_second_process_on_the_same_run_is_refused_and_another_key_is_free(run_dir):
    ctx = context.single_process()
    with resume.open_run("key", CONFIG, ctx):
        with pytest.raises(lock.AlreadyRunningError, match=f"process {os.getpid()} is already running"):
            resume.open_run("key", CONFIG, ctx).__enter__()
        with resume.open_run("other", CONFIG, ctx):
            pass


def test_a_state_holds_no_code_and_says_what_it_is(run_dir):
    kill(3)
    assert {path.suffix for path in run_dir.rglob("*") if path.is_file()} == {".safetensors", ".json"}
    header = io.read_header(run_dir / "step_00000002/common.safetensors")
    assert header["kind"] == state_writer.FILE_KIND
    assert header["meta"]["position"] == [0, 2]
