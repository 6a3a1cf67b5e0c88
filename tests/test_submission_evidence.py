import json

import pytest
import submissions

from golf.ground.errors import BadInput
from golf.submission import evidence, folder


def test_logs_in_another_format_or_not_in_utf8_are_named_and_the_others_are_read(tmp_path):
    submissions.sound(tmp_path)
    (tmp_path / "train_seed42.log").write_text("epoch 1: loss 3.1\nepoch 2: loss 2.9\n")
    (tmp_path / "train_seed314.log").write_bytes("seed: 314\n".encode("utf-16"))
    found = evidence.gather(tmp_path)
    assert found.unread == ("train_seed314.log: not UTF-8 at byte 0", "train_seed42.log: unknown log format")
    assert [log.name for log in found.logs] == ["train_seed999.log"]


def test_of_a_huge_log_head_and_tail_are_read_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LOG_BYTES", 8000)
    submissions.sound(tmp_path, {42: 1.0801})
    head, tail = submissions.modern(42, 1.0801).split("4550/20000 train_loss", 1)
    middle = "".join(f"{step}/20000 train_loss: 2.7\n" for step in range(2000))
    (tmp_path / "train_seed42.log").write_text(f"{head}{middle}4550/20000 train_loss{tail}")
    found = evidence.gather(tmp_path)
    assert found.logs[0].result.bpb.value == 1.0801
    assert "the first and last 4,000 were read" in found.notes[0]


def test_logs_beyond_the_bytes_that_are_read_of_all_are_named(tmp_path, monkeypatch):
    submissions.sound(tmp_path)
    monkeypatch.setattr(evidence, "ALL_LOGS", 4000)
    assert "train_seed999.log: not read, the logs before it hold 4,000 bytes" in evidence.gather(tmp_path).unread


def test_text_files_that_are_no_logs_are_left_alone(tmp_path):
    submissions.sound(tmp_path)
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "LICENSE.txt").write_text("MIT\n")
    assert evidence.gather(tmp_path).unread == ()


def test_a_folder_or_a_json_that_says_so_is_not_for_a_record(tmp_path):
    assert evidence.gather(submissions.sound(tmp_path / "a")).record
    assert not evidence.gather(submissions.sound(tmp_path / "b", claims={"track": "non_record_16mb"})).record
    assert not evidence.gather(submissions.sound(tmp_path / "track_non_record_16mb" / "c")).record


def test_a_baseline_may_be_a_folder_or_a_json_and_must_hold_a_score(tmp_path):
    submissions.sound(tmp_path / "a")
    for place in (tmp_path / "a", tmp_path / "a" / "submission.json"):
        assert sorted(bpb.value for bpb, _ in evidence.seed_scores(place)) == list(submissions.SCORES.values())
    (tmp_path / "none.json").write_text(json.dumps({"author": "somebody"}))
    with pytest.raises(BadInput, match="no score to compare with"):
        evidence.seed_scores(tmp_path / "none.json")
