import pytest

from tests.helpers import submission_folders
from tests.helpers.submission_folders import outcome, texts, write_valid_submission


def test_a_valid_folder_is_complete_and_a_single_run(tmp_path):
    write_valid_submission(tmp_path)
    outcomes = {one.check: one.status for one in submission_folders.review(tmp_path).outcomes}
    assert {outcomes[check] for check in ("files", "logs", "one run", "C4-c", "C4-d")} == {"PASS"}


@pytest.mark.parametrize("name", ["README.md", "submission.json", "train_gpt.py"])
def test_a_required_file_that_is_missing_or_empty_is_clerical(tmp_path, name):
    write_valid_submission(tmp_path)
    (tmp_path / name).write_text("")
    assert f"clerical: {name} is empty" in texts(outcome(tmp_path, "files"))
    (tmp_path / name).unlink()
    assert f"clerical: no {name}" in texts(outcome(tmp_path, "files"))


def test_a_link_out_of_the_folder_a_folder_that_can_not_be_listed_and_damaged_json_are_named(tmp_path):
    (tmp_path / "real.log").write_text(submission_folders.modern_log(7, 1.08))
    folder = write_valid_submission(tmp_path / "in")
    (folder / "train_seed7.log").symlink_to(tmp_path / "real.log")
    (folder / "submission.json").write_bytes(b'{"a": "\xff"}')
    text = texts(outcome(folder, "files"))
    assert "train_seed7.log is a link out of the folder; replace it" in text
    assert "submission.json: not UTF-8 at byte 7" in text


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-inf", "Infinity"])
def test_a_final_score_that_is_not_a_number_is_named_and_no_earlier_pass_replaces_it(tmp_path, word):
    folder = write_valid_submission(tmp_path)
    log = folder / "train_seed42.log"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:-1], f"quantized_ttt val_loss:{word} val_bpb:{word} eval_time:366500ms"]))
    text = texts(outcome(folder, "logs"))
    assert "contradicts itself: train_seed42.log: its final score, quantized_ttt, is not a number" in text
    assert f"train_seed42.log: val_loss:{word} is not a number" in text


def test_a_log_that_crashed_or_was_cut_short_weighs_if_the_json_claims_its_seed(tmp_path):
    folder = write_valid_submission(tmp_path)
    whole = submission_folders.modern_log(42, 1.0801)
    cut = whole[: whole.index("GPTQ:")]
    (folder / "train_seed42.log").write_text(cut)
    assert "contradicts itself: train_seed42.log: cut short at step 4,550" in texts(outcome(folder, "logs"))
    (folder / "train_seed42.log").write_text(cut + "Traceback (most recent call last):\n")
    assert "ends in a traceback after step 4,550 (train_seed42.log:24)" in texts(outcome(folder, "logs"))
    (folder / "train_seed42.log").write_text(whole + "Traceback (most recent call last):\n")
    assert texts(outcome(folder, "logs")).startswith("clerical: train_seed42.log: ends in a traceback after the last")
    (folder / "train_seed42.log").write_text(whole)
    (folder / "other_seed5.log").write_text(cut.replace("seed: 42", "seed: 5"))
    assert texts(outcome(folder, "logs")).startswith("clerical: other_seed5.log: cut short")


def test_training_and_evaluation_in_two_logs_of_a_seed_are_one_run(tmp_path):
    folder = write_valid_submission(tmp_path)
    whole = submission_folders.modern_log(42, 1.0801, train_ms=605_000)
    at = whole.index("quantized val_loss")
    (folder / "train_seed42.log").write_text(whole[:at])
    (folder / "eval_seed42.log").write_text(whole[at:])
    assert (outcome(folder, "logs").status, outcome(folder, "one run").status) == ("PASS", "PASS")
    assert outcome(folder, "B-c").status == "FAIL", "the training log's clock counts"
