import pytest

from golf.submission import completeness
from golf.submission.contents import load_submission
from tests.helpers import submission_folders


def test_a_valid_folder_is_complete_and_a_single_run(tmp_path):
    submission = load_submission(submission_folders.write_valid_submission(tmp_path))
    checks = (completeness.check_files, completeness.check_logs, completeness.check_same_run, completeness.check_seeds)
    assert [check(submission).status for check in checks] == ["PASS"] * 4


@pytest.mark.parametrize("name", completeness.REQUIRED_FILES)
def test_a_required_file_that_is_missing_or_empty_fails(tmp_path, name):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / name).write_text("")
    assert f"{name} is empty" in completeness.check_files(load_submission(tmp_path)).note
    (tmp_path / name).unlink()
    assert f"no {name}" in completeness.check_files(load_submission(tmp_path)).note


def test_a_link_out_of_the_folder_fails(tmp_path):
    (tmp_path / "real.log").write_text(submission_folders.modern_log(7, 1.08))
    submission_folders.write_valid_submission(tmp_path / "in")
    (tmp_path / "in" / "train_seed7.log").symlink_to(tmp_path / "real.log")
    result = completeness.check_files(load_submission(tmp_path / "in"))
    assert (result.status, "train_seed7.log is a link out of the folder" in result.note) == ("FAIL", True)


def test_a_json_that_is_damaged_fails(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "submission.json").write_bytes(b'{"a": "\xff"}')
    assert completeness.check_files(load_submission(tmp_path)).note == "submission.json: not UTF-8 at byte 7"


def test_an_unknown_log_format_is_not_run(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_seed42.log").write_text("hello")
    result = completeness.check_logs(load_submission(tmp_path))
    assert (result.status, result.note) == ("NOT-RUN", "train_seed42.log: unknown log format")


def test_logs_on_other_data_of_another_configuration_or_of_another_model_fail(tmp_path):
    for changed, note in (
        ({"shards": 39}, "train_shards: 80 in train_seed314.log, 39 in train_seed42.log, 80 in train_seed999.log"),
        ({"layers": 9}, "num_layers: 11 in train_seed314.log, 9 in train_seed42.log"),
        ({"tokens": 9_660_000}, "val_tokens: 40540160 in train_seed314.log, 9660000 in train_seed42.log"),
    ):
        submission_folders.write_valid_submission(tmp_path)
        (tmp_path / "train_seed42.log").write_text(submission_folders.modern_log(42, 1.0801, **changed))
        result = completeness.check_same_run(load_submission(tmp_path))
        assert (result.status, note in result.note) == ("FAIL", True)


def test_logs_without_settings_are_not_shown_to_be_a_single_run(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    for log in tmp_path.glob("*.log"):
        lines = log.read_text().splitlines()
        log.write_text("\n".join(line for line in lines if "/20000" in line or line.startswith("quantized")))
    result = completeness.check_same_run(load_submission(tmp_path))
    assert (result.status, result.note) == ("NOT-RUN", "no complete log prints its settings")


def test_a_log_that_crashed_or_was_cut_short_fails(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    whole = submission_folders.modern_log(42, 1.0801)
    (tmp_path / "train_seed42.log").write_text(whole[: whole.index("GPTQ:")])
    assert (
        "train_seed42.log: cut short, has no final score (#2071)"
        in completeness.check_same_run(load_submission(tmp_path)).note
    )
    (tmp_path / "train_seed42.log").write_text(whole[: whole.index("GPTQ:")] + "Traceback (most recent call last):\n")
    assert (
        "train_seed42.log: ends in a traceback (#1133)" in completeness.check_same_run(load_submission(tmp_path)).note
    )


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-inf", "Infinity"])
def test_a_final_score_that_is_not_a_number_fails_and_no_earlier_pass_replaces_it(tmp_path, word):
    folder = submission_folders.write_valid_submission(tmp_path)
    log = folder / "train_seed42.log"
    lines = log.read_text().splitlines()
    lines[-1] = f"quantized_ttt val_loss:{word} val_bpb:{word} eval_time:366500ms"
    log.write_text("\n".join(lines))
    submission = load_submission(folder)
    assert f"train_seed42.log: val_loss:{word} is not a number" in completeness.check_logs(submission).note
    assert [one.name for one, _ in submission.scored_logs()] == ["train_seed314.log", "train_seed999.log"]
    check_result = completeness.check_same_run(submission)
    assert check_result.status == "FAIL"
    assert "train_seed42.log: its final score, quantized_ttt, is not a number" in check_result.note


def test_a_loss_that_is_not_a_number_is_noted_and_an_infinite_setting_is_not(tmp_path):
    folder = submission_folders.write_valid_submission(tmp_path)
    log = folder / "train_seed42.log"
    text = log.read_text().replace("train_loss: 2.7000", "train_loss: nan")
    log.write_text(text.replace("  num_layers: 11", "  num_layers: 11\n  grad_clip: inf"))
    submission = load_submission(folder)
    assert "train_seed42.log: train_loss: nan is not a number" in completeness.check_logs(submission).note
    log.write_text(log.read_text().replace("train_loss: nan", "train_loss: 2.7"))
    assert completeness.check_logs(load_submission(folder)).note == ""


def test_training_and_evaluation_in_two_logs_of_a_seed_are_one_run(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    whole = submission_folders.modern_log(42, 1.0801)
    (tmp_path / "train_seed42.log").write_text(whole[: whole.index("quantized val_loss")])
    (tmp_path / "eval_seed42.log").write_text(whole[whole.index("quantized val_loss") :])
    assert completeness.check_same_run(load_submission(tmp_path)).status == "PASS"


def test_seeds_that_only_json_or_only_logs_have_fail_and_a_seed_twice_is_unruled(tmp_path):
    result = completeness.check_seeds(
        load_submission(submission_folders.write_valid_submission(tmp_path, claims={"seeds": [42, 314, 2024]}))
    )
    assert (result.status, "2024" in result.note) == ("FAIL", True)
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "again.log").write_text(submission_folders.modern_log(42, 1.0799))
    assert completeness.check_seeds(load_submission(tmp_path)).status == "UNRULED"


def test_without_logs_the_log_checks_are_not_run(tmp_path):
    submission_folders.write_valid_submission(tmp_path, {42: 1.08})
    (tmp_path / "train_seed42.log").unlink()
    submission = load_submission(tmp_path)
    assert [
        check(submission).status
        for check in (completeness.check_logs, completeness.check_same_run, completeness.check_seeds)
    ] == ["NOT-RUN"] * 3
    assert completeness.check_files(submission).status == "FAIL"
