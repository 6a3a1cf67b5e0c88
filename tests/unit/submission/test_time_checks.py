import pytest

from golf.submission import time_checks
from golf.submission.contents import load_submission
from tests.helpers import submission_folders


def test_training_calibration_and_serialising_are_three_numbers(tmp_path):
    found = time_checks.check_training_time(load_submission(submission_folders.write_valid_submission(tmp_path)))
    assert (found.status, found.measured) == ("PASS", "train 588.0 s + calibration 11.5 s; serialise NOT-RUN")


def test_calibration_after_the_full_time_fails_naming_the_slowest_log(tmp_path):
    submission_folders.write_valid_submission(tmp_path, train_ms=599_600, hessians="3.5")
    found = time_checks.check_training_time(load_submission(tmp_path))
    assert (found.status, "3.1 s over" in found.note, "#1950" in found.note) == ("FAIL", True, True)


def test_less_than_one_step_over_is_unruled_as_in_the_baseline_and_more_fails(tmp_path):
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2))
    assert time_checks.check_training_time(load_submission(tmp_path)).status == "UNRULED"
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2).replace("600038ms", "603198ms"))
    assert time_checks.check_training_time(load_submission(tmp_path)).status == "FAIL"


@pytest.mark.parametrize(("milliseconds", "status"), [(366_500, "PASS"), (520_000, "UNRULED"), (617_000, "FAIL")])
def test_the_pass_that_scores_has_six_hundred_seconds_and_the_passes_before_it_are_disputed(
    tmp_path, milliseconds, status
):
    submission_folders.write_valid_submission(tmp_path, eval_ms=milliseconds)
    assert time_checks.check_eval_time(load_submission(tmp_path)).status == status


def test_without_a_figure_the_clocks_were_not_run(tmp_path):
    (tmp_path / "train.log").write_text("quantized val_loss:2.8 val_bpb:1.1\n")
    assert [
        check(load_submission(tmp_path)).status
        for check in (time_checks.check_training_time, time_checks.check_eval_time)
    ] == ["NOT-RUN"] * 2


@pytest.mark.parametrize(
    ("changed", "status"),
    [({}, "PASS"), ({"world": 2}, "FAIL"), ({"gpu": "A100-SXM4-80GB"}, "FAIL"), ({"gpu": "H100 PCIe"}, "FAIL")],
)
def test_a_record_needs_eight_h100_sxm_in_the_logs(tmp_path, changed, status):
    assert (
        time_checks.check_hardware(
            load_submission(submission_folders.write_valid_submission(tmp_path, **changed))
        ).status
        == status
    )


def test_hardware_that_only_the_json_claims_was_not_run(tmp_path):
    submission_folders.write_valid_submission(tmp_path, {})
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2))
    found = time_checks.check_hardware(load_submission(tmp_path))
    assert (found.status, "8xH100 80GB SXM" in found.note) == ("NOT-RUN", True)


def test_a_non_record_submission_has_no_clock_and_any_hardware(tmp_path):
    slow = {"train_ms": 9_000_000, "eval_ms": 9_000_000, "gpu": "RTX 4090"}
    found = load_submission(
        submission_folders.write_valid_submission(tmp_path, claims={"track": "non_record_16mb"}, **slow)
    )
    assert [
        check(found).status
        for check in (time_checks.check_training_time, time_checks.check_eval_time, time_checks.check_hardware)
    ] == ["PASS"] * 3
