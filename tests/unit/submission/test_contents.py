import json

import pytest

from golf.errors import InputError
from golf.submission import contents, record_margin, safe_reader
from tests.helpers import submission_folders


def test_logs_in_another_format_or_that_are_no_text_are_named_and_the_others_are_read(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_seed42.log").write_text("epoch 1: loss 3.1\nepoch 2: loss 2.9\n")
    (tmp_path / "train_seed314.log").write_bytes(bytes(range(256)) * 40)
    submission = contents.load_submission(tmp_path)
    assert submission.unread_logs == (
        "train_seed314.log: is binary, not text",
        "train_seed42.log: unknown log format",
    )
    assert [log.name for log in submission.logs] == ["train_seed999.log"]


def test_a_log_with_some_bytes_that_are_not_utf8_is_read_and_said(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    log = tmp_path / "train_seed42.log"
    log.write_bytes(log.read_bytes().replace(b"Hyperparameters", b"\xe9\xe8 Hyperparameters"))
    submission = contents.load_submission(tmp_path)
    assert len(submission.logs) == 3
    assert submission.notes == ("train_seed42.log: 2 bytes that are not UTF-8 were replaced",)


def test_only_the_head_and_tail_of_a_huge_log_are_read_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_reader, "MAX_LOG_BYTES", 8000)
    submission_folders.write_valid_submission(tmp_path, {42: 1.0801})
    head, tail = submission_folders.modern_log(42, 1.0801).split("4550/20000 train_loss", 1)
    middle = "".join(f"{step}/20000 train_loss: 2.7\n" for step in range(2000))
    (tmp_path / "train_seed42.log").write_text(f"{head}{middle}4550/20000 train_loss{tail}")
    submission = contents.load_submission(tmp_path)
    assert submission.logs[0].final_score.bpb.value == 1.0801
    assert "only the first and last 4,000 were read" in submission.notes[0]


def test_logs_beyond_the_bytes_that_are_read_of_all_are_named(tmp_path, monkeypatch):
    submission_folders.write_valid_submission(tmp_path)
    monkeypatch.setattr(contents, "MAX_TOTAL_LOG_BYTES", 4000)
    assert (
        "train_seed999.log: not read, the logs before it hold 4,000 bytes"
        in contents.load_submission(tmp_path).unread_logs
    )


def test_text_files_that_are_not_logs_are_ignored(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "LICENSE.txt").write_text("MIT\n")
    assert contents.load_submission(tmp_path).unread_logs == ()


def test_a_folder_or_a_json_marked_non_record_is_not_for_a_record(tmp_path):
    assert contents.load_submission(submission_folders.write_valid_submission(tmp_path / "a")).is_record
    assert not contents.load_submission(
        submission_folders.write_valid_submission(tmp_path / "b", claims={"track": "non_record_16mb"})
    ).is_record
    assert not contents.load_submission(
        submission_folders.write_valid_submission(tmp_path / "track_non_record_16mb" / "c")
    ).is_record


def test_a_baseline_may_be_a_folder_or_a_json_and_must_hold_a_score(tmp_path):
    submission_folders.write_valid_submission(tmp_path / "a")
    for baseline in (tmp_path / "a", tmp_path / "a" / "submission.json"):
        assert sorted(bpb.value for bpb, _ in record_margin.load_seed_scores(baseline)) == list(
            submission_folders.BPB_BY_SEED.values()
        )
    (tmp_path / "none.json").write_text(json.dumps({"author": "someone"}))
    with pytest.raises(InputError, match="has no score to compare with"):
        record_margin.load_seed_scores(tmp_path / "none.json")
