import pytest

from tests.helpers import submission_folders
from tests.helpers.submission_folders import outcome, texts, write_valid_submission


def test_training_calibration_and_serializing_are_three_numbers(tmp_path):
    result = outcome(write_valid_submission(tmp_path), "B-c")
    assert (result.status, result.measured) == ("PASS", "train 588.0 s + calibration 11.5 s; serialize NOT-RUN")


@pytest.mark.parametrize(
    ("milliseconds", "status", "words"),
    [(600_038, "UNRULED", "38 ms after 600 s"), (600_350, "FAIL", "350 ms over"), (603_198, "FAIL", "3.2 s over")],
)
def test_less_than_a_step_or_queued_steps_over_is_open_and_more_breaks_the_rule(tmp_path, milliseconds, status, words):
    log = submission_folders.early_log(1, 1.2).replace("600038ms", f"{milliseconds}ms")
    (tmp_path / "train_seed1.log").write_text(log)
    result = outcome(tmp_path, "B-c")
    assert (result.status, words in texts(result)) == (status, True), texts(result)


@pytest.mark.parametrize(("milliseconds", "status"), [(366_500, "PASS"), (520_000, "UNRULED"), (617_000, "FAIL")])
def test_the_scored_pass_has_600_seconds_and_time_before_it_is_open(tmp_path, milliseconds, status):
    assert outcome(write_valid_submission(tmp_path, eval_ms=milliseconds), "B-d").status == status


def test_without_a_figure_the_time_limits_are_not_run(tmp_path):
    (tmp_path / "train.log").write_text("quantized val_loss:2.8 val_bpb:1.1\n")
    assert [outcome(tmp_path, check).status for check in ("B-c", "B-d")] == ["NOT-RUN"] * 2


@pytest.mark.parametrize(
    ("changed", "status"),
    [({}, "PASS"), ({"world": 2}, "FAIL"), ({"gpu": "A100-SXM4-80GB"}, "FAIL"), ({"gpu": "H100 PCIe"}, "FAIL")],
)
def test_a_record_needs_eight_h100_sxm_in_the_logs(tmp_path, changed, status):
    assert outcome(write_valid_submission(tmp_path, **changed), "B-e").status == status


def test_hardware_that_only_the_json_claims_is_not_run(tmp_path):
    write_valid_submission(tmp_path, {})
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2))
    assert "8xH100 80GB SXM" in outcome(tmp_path, "B-e").not_checked


def test_a_non_record_submission_has_no_time_limit_and_any_hardware(tmp_path):
    slow = {"train_ms": 9_000_000, "eval_ms": 9_000_000, "gpu": "RTX 4090"}
    write_valid_submission(tmp_path, claims={"track": "non_record_16mb"}, **slow)
    assert [outcome(tmp_path, check).status for check in ("B-c", "B-d", "B-e")] == ["PASS"] * 3


@pytest.mark.parametrize("claims", [{"steps": 4551}, {"train_seconds": 300}, {"eval_time_s": 100}, {"num_params": 1}])
def test_a_figure_of_the_run_that_no_log_has_contradicts_them(tmp_path, claims):
    assert outcome(write_valid_submission(tmp_path, claims=claims), "run figures").status == "FAIL"
