import pytest
import submissions

from golf.submission import clocks
from golf.submission.evidence import gather


def test_training_calibration_and_serialising_are_three_numbers(tmp_path):
    found = clocks.training(gather(submissions.sound(tmp_path)))
    assert (found.status, found.measured) == ("PASS", "train 588.0 s + calibration 11.5 s; serialise NOT-RUN")


def test_calibration_after_the_full_time_fails_naming_the_slowest_log(tmp_path):
    submissions.sound(tmp_path, train_ms=599_600, hessians="3.5")
    found = clocks.training(gather(tmp_path))
    assert (found.status, "3.1 s over" in found.note, "#1950" in found.note) == ("FAIL", True, True)


def test_less_than_one_step_over_is_unruled_as_in_the_baseline_and_more_fails(tmp_path):
    (tmp_path / "train_seed1.log").write_text(submissions.early(1, 1.2))
    assert clocks.training(gather(tmp_path)).status == "UNRULED"
    (tmp_path / "train_seed1.log").write_text(submissions.early(1, 1.2).replace("600038ms", "603198ms"))
    assert clocks.training(gather(tmp_path)).status == "FAIL"


@pytest.mark.parametrize(("milliseconds", "status"), [(366_500, "PASS"), (520_000, "UNRULED"), (617_000, "FAIL")])
def test_the_pass_that_scores_has_six_hundred_seconds_and_the_passes_before_it_are_disputed(
    tmp_path, milliseconds, status
):
    submissions.sound(tmp_path, eval_ms=milliseconds)
    assert clocks.evaluation(gather(tmp_path)).status == status


def test_without_a_figure_the_clocks_were_not_run(tmp_path):
    (tmp_path / "train.log").write_text("quantized val_loss:2.8 val_bpb:1.1\n")
    assert [check(gather(tmp_path)).status for check in (clocks.training, clocks.evaluation)] == ["NOT-RUN"] * 2


@pytest.mark.parametrize(
    ("changed", "status"),
    [({}, "PASS"), ({"world": 2}, "FAIL"), ({"gpu": "A100-SXM4-80GB"}, "FAIL"), ({"gpu": "H100 PCIe"}, "FAIL")],
)
def test_a_record_needs_eight_h100_sxm_in_the_logs(tmp_path, changed, status):
    assert clocks.hardware(gather(submissions.sound(tmp_path, **changed))).status == status


def test_hardware_that_only_the_json_claims_was_not_run(tmp_path):
    submissions.sound(tmp_path, {})
    (tmp_path / "train_seed1.log").write_text(submissions.early(1, 1.2))
    found = clocks.hardware(gather(tmp_path))
    assert (found.status, "8xH100 80GB SXM" in found.note) == ("NOT-RUN", True)


def test_a_non_record_submission_has_no_clock_and_any_hardware(tmp_path):
    slow = {"train_ms": 9_000_000, "eval_ms": 9_000_000, "gpu": "RTX 4090"}
    found = gather(submissions.sound(tmp_path, claims={"track": "non_record_16mb"}, **slow))
    assert [check(found).status for check in (clocks.training, clocks.evaluation, clocks.hardware)] == ["PASS"] * 3
