"""golf/compliance/evaluation_log.py: the log of evaluations (C4-c)"""

import hashlib
import json

import pytest

from golf.compliance import evaluation_log
from golf.errors import ArtifactError
from tests.helpers.tiny_corpus import ROOT

ENTRY = {
    "kind": "evaluation",
    "artifact": "a" * 64,
    "predictor": "golf.inference.predictor:GolfPredictor",
    "plan": "b" * 64,
    "val": "c" * 64,
    "headline": "ttt",
    "val_bpb": 1.25,
    "verdict": "valid, not a record run",
    "commit": None,
    "verdict_sha256": "d" * 64,
}
STARTED = {"val_bpb": None, "verdict": None, "verdict_sha256": None}


def log_evaluation(path, **changes) -> None:
    """Log both entries of an evaluation."""
    for line in (STARTED, {}):
        evaluation_log.append_entry(path, ENTRY | changes | line)


@pytest.fixture
def log(tmp_path):
    """Four lines."""
    path = tmp_path / "evaluate" / "evaluation_log.jsonl"
    for number in range(4):
        evaluation_log.append_entry(path, ENTRY | {"val_bpb": 1.25 + number / 8})
    return path


def test_every_evaluation_comes_back_in_order_with_its_time(log):
    entries = evaluation_log.read_entries(log)
    assert [entry["val_bpb"] for entry in entries] == [1.25, 1.375, 1.5, 1.625]
    assert all(entry["time"].endswith("+00:00") for entry in entries)
    assert {key: entries[0][key] for key in ENTRY} == ENTRY
    assert entries[0]["previous"] is None
    assert list(log.parent.iterdir()) == [log], "written whole, nothing left beside it"


def test_no_file_is_no_evaluation(tmp_path):
    assert evaluation_log.read_entries(tmp_path / "none.jsonl") == []


def test_lines_of_an_earlier_version_are_read_with_the_present_keys(tmp_path):
    path, previous = tmp_path / "a.jsonl", None
    old_keys = {"predictor": "method"}
    old_entry = {key: value for key, value in ENTRY.items() if key not in ("kind", "verdict_sha256")}
    for number in range(2):
        entry = {"time": f"2026-11-20T20:55:3{number}+00:00", **old_entry, "previous": previous}
        line = json.dumps({old_keys.get(key, key): value for key, value in entry.items()})
        previous = hashlib.sha256(line.encode()).hexdigest()
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    old_lines = path.read_bytes().splitlines()
    evaluation_log.append_entry(path, ENTRY | STARTED)
    entries = evaluation_log.read_entries(path)
    assert [entry["verdict_sha256"] for entry in entries] == [None] * 3
    assert [entry["predictor"] for entry in entries] == [ENTRY["predictor"]] * 3
    assert evaluation_log.describe_log(path, ENTRY).status == "PASS"
    path.write_bytes(b"\n".join([*path.read_bytes().splitlines(), *old_lines]))
    with pytest.raises(ArtifactError, match=r"line 4: must hold kind, artifact, .* verdict_sha256, .* hash"):
        evaluation_log.read_entries(path)


def test_the_committed_log_of_an_earlier_version_holds():
    entries = evaluation_log.read_entries(ROOT / "artifacts/evaluate/evaluation_log.jsonl")
    assert evaluation_log.count_started(entries) > 1


def both_keys(lines):
    return [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"method": "other:Predictor"}).encode()]


def edited(lines):
    return [lines[0], lines[1].replace(b"1.375", b"1.175"), *lines[2:]]


def last_edited(lines):
    return [*lines[:-1], lines[-1].replace(b"1.625", b"1.025")]


def verdict_edited(lines):
    return [*lines[:-1], lines[-1].replace(b"dddd", b"dddc")]


def removed(lines):
    return [lines[0], *lines[2:]]


def first_removed(lines):
    return lines[1:]


def reordered(lines):
    return [lines[0], lines[2], lines[1], lines[3]]


def doubled(lines):
    return [lines[0], lines[0], *lines[1:]]


def no_json(lines):
    return [*lines[:2], b"{cut", *lines[3:]]


def no_key(lines):
    entry = json.loads(lines[-1])
    del entry["verdict"]
    return [*lines[:-1], json.dumps(entry).encode()]


def other_type(lines):
    return [*lines[:-1], json.dumps(json.loads(lines[-1]) | {"val_bpb": "low"}).encode()]


CHANGES = {
    edited: "line 2 does not match its own hash",
    last_edited: "line 4 does not match its own hash",
    verdict_edited: "line 4 does not match its own hash",
    removed: "line 2 does not follow the one before",
    first_removed: "line 1 does not follow the one before",
    reordered: "line 2 does not follow the one before",
    doubled: "line 2 does not follow the one before",
    no_json: "line 3 is not JSON",
    both_keys: "line 4: must hold kind, artifact",
    no_key: "line 4: must hold kind, artifact",
    other_type: "line 4: val_bpb: must be a number or null, got 'low'",
}


@pytest.mark.parametrize(("change", "words"), CHANGES.items(), ids=[change.__name__ for change in CHANGES])
def test_a_log_that_was_changed_is_refused_by_the_line_and_fails_the_check(log, change, words):
    log.write_bytes(b"\n".join(change(log.read_bytes().splitlines())) + b"\n")
    with pytest.raises(ArtifactError, match=rf"evaluation_log\.jsonl: {words}"):
        evaluation_log.read_entries(log)
    result = evaluation_log.describe_log(log, ENTRY)
    assert result.status == "FAIL"
    assert words in result.note


def test_a_broken_log_is_continued_and_stays_broken(log):
    log.write_bytes(b"\n".join(removed(log.read_bytes().splitlines())))
    evaluation_log.append_entry(log, ENTRY)
    assert len(log.read_bytes().splitlines()) == 4
    with pytest.raises(ArtifactError, match="line 2 does not follow"):
        evaluation_log.read_entries(log)


def test_an_edited_last_line_still_shows_after_the_next_evaluation(log):
    log.write_bytes(b"\n".join(last_edited(log.read_bytes().splitlines())))
    log_evaluation(log)
    with pytest.raises(ArtifactError, match="line 4 does not match its own hash"):
        evaluation_log.read_entries(log)


@pytest.mark.parametrize("wrong", [{"val_bpb": True}, {"plan": 3}, {"more": "x"}])
def test_an_entry_of_another_form_is_not_written(tmp_path, wrong):
    with pytest.raises(ValueError, match="evaluation log entry:"):
        evaluation_log.append_entry(tmp_path / "a.jsonl", ENTRY | wrong)
    assert not (tmp_path / "a.jsonl").exists()


def test_the_first_evaluation_is_counted_as_the_first(tmp_path):
    evaluation_log.append_entry(tmp_path / "a.jsonl", ENTRY | STARTED)
    result = evaluation_log.describe_log(tmp_path / "a.jsonl", ENTRY)
    assert result.status == "PASS"
    assert result.measured == "1 evaluation on this val, 1 of this artifact, predictor and plan"


def test_evaluations_on_this_val_and_of_this_artifact_are_counted_apart(tmp_path):
    path = tmp_path / "a.jsonl"
    for change in ({}, {"artifact": "d" * 64}, {"val": "e" * 64}, {"plan": "f" * 64}, {"headline": "plain"}):
        log_evaluation(path, **change)
    evaluation_log.append_entry(path, ENTRY | STARTED)
    result = evaluation_log.describe_log(path, ENTRY)
    assert result.measured == "5 evaluations on this val, 2 of this artifact, predictor and plan, their val_bpb equal"


def test_an_interrupted_evaluation_is_counted_and_reported_as_such(tmp_path):
    path = tmp_path / "a.jsonl"
    for _ in range(2):
        evaluation_log.append_entry(path, ENTRY | STARTED)
    result = evaluation_log.describe_log(path, ENTRY)
    assert result.measured == "2 evaluations on this val, 2 of this artifact, predictor and plan; 1 interrupted"


def test_scores_of_one_artifact_that_do_not_agree_are_shown_with_their_range(tmp_path):
    path = tmp_path / "a.jsonl"
    for val_bpb in (1.25, 1.625):
        log_evaluation(path, val_bpb=val_bpb)
    evaluation_log.append_entry(path, ENTRY | STARTED)
    result = evaluation_log.describe_log(path, ENTRY | {"val_bpb": 1.2})
    assert result.status == "PASS"
    assert result.measured.endswith("3 of this artifact, predictor and plan, their val_bpb from 1.200000 to 1.625000")
