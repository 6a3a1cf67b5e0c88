import json

import pytest

from golf.submission import metric_checks, record_margin
from golf.submission.contents import load_submission
from tests.helpers import submission_folders


def write(folder, text: str, claims: dict | None = None):
    (folder / "train_seed1.log").write_text(text)
    if claims is not None:
        (folder / "submission.json").write_text(json.dumps(claims))
    return load_submission(folder)


def test_correct_byte_counts_are_recognized_with_every_tokenizer(tmp_path):
    for tokens in (62_021_632, 45_508_608, 40_540_160, 47_851_520, 12_345_678):
        submission = write(tmp_path, submission_folders.early_log(1, 1.2, tokens))
        assert metric_checks.check_implied_bytes(submission).status == "PASS"
        assert metric_checks.check_coverage(submission).status == "PASS"


@pytest.mark.parametrize("text", [157_300_000, 164_594_398, 177_000_000, 151_200_000])
def test_bytes_counted_wrongly_fail(tmp_path, text):
    result = metric_checks.check_implied_bytes(write(tmp_path, submission_folders.early_log(1, 1.2, n_bytes=text)))
    assert (result.status, f"{text:,}"[:7] in result.measured) == ("FAIL", True)


def test_coarse_scores_are_given_the_slack_of_their_rounding(tmp_path):
    coarse = "val_tokens: 40540160\nquantized val_loss:2.79 val_bpb:1.08\n"
    assert metric_checks.check_implied_bytes(write(tmp_path, coarse)).status == "PASS"
    fine = "val_tokens: 40540160\nquantized val_loss:2.79000000 val_bpb:1.08000000\n"
    assert metric_checks.check_implied_bytes(write(tmp_path, fine)).status == "FAIL"


def test_the_worst_log_decides(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    log = tmp_path / "train_seed314.log"
    log.write_text(submission_folders.modern_log(314, 1.0803, loss=3.1))
    result = metric_checks.check_implied_bytes(load_submission(tmp_path))
    assert (result.status, "train_seed314.log" in result.note) == ("FAIL", True)


def test_the_older_export_of_val_is_unruled(tmp_path):
    submission = write(tmp_path, submission_folders.early_log(1, 1.2243657, 63_779_840, 155_770_000))
    assert [metric_checks.check_implied_bytes(submission).status, metric_checks.check_coverage(submission).status] == [
        "UNRULED"
    ] * 2


def test_a_part_of_val_fails_the_coverage_check(tmp_path):
    result = metric_checks.check_coverage(write(tmp_path, submission_folders.modern_log(1, 1.08, tokens=9_660_000)))
    assert (result.status, "#1854" in result.note) == ("FAIL", True)


def test_without_val_tokens_neither_check_is_run(tmp_path):
    submission = write(tmp_path, "quantized val_loss:2.79 val_bpb:1.08\n")
    assert [metric_checks.check_implied_bytes(submission).status, metric_checks.check_coverage(submission).status] == [
        "NOT-RUN"
    ] * 2


def test_a_json_that_gives_each_log_and_their_mean_passes_even_rounded(tmp_path):
    assert (
        metric_checks.check_claimed_scores(load_submission(submission_folders.write_valid_submission(tmp_path))).status
        == "PASS"
    )
    rounded = {"seed_results": {"42": {"val_bpb": 1.080}, "314": {"val_bpb": 1.0803}, "999": {"val_bpb": 1.0805}}}
    spread = {"val_bpb": 1.0803, "val_bpb_std": 0.0002}
    assert (
        metric_checks.check_claimed_scores(
            load_submission(submission_folders.write_valid_submission(tmp_path, claims=rounded | spread))
        ).status
        == "PASS"
    )


@pytest.mark.parametrize(
    ("claims", "note"),
    [
        ({"val_bpb": 1.0703}, "val_bpb: json 1.0703, mean of 3 logs 1.0803"),
        ({"seed_results": {"42": {"val_bpb": 1.0701}}, "val_bpb": 1.0801}, "seed 42: json 1.0701"),
        ({"val_bpb_std": 0.0009}, "val_bpb_std: json 0.0009, logs 0.000200"),
        ({"val_loss": 2.5}, "val_loss: json 2.5"),
    ],
)
def test_a_json_that_no_log_confirms_fails(tmp_path, claims, note):
    result = metric_checks.check_claimed_scores(
        load_submission(submission_folders.write_valid_submission(tmp_path, claims=claims))
    )
    assert (result.status, note in result.note) == ("FAIL", True)


def test_a_claim_of_another_line_than_the_last_or_of_one_seed_alone_is_unruled(tmp_path):
    sliding = {"seed_results": {"42": {"val_bpb": 1.0821}}, "val_bpb": 1.0801}
    result = metric_checks.check_claimed_scores(
        load_submission(submission_folders.write_valid_submission(tmp_path / "a", claims=sliding))
    )
    assert (result.status, "quantized_sliding_window" in result.note) == ("UNRULED", True)
    every = {"seed_results": {}, "val_bpb": 1.0823}
    result = metric_checks.check_claimed_scores(
        load_submission(submission_folders.write_valid_submission(tmp_path / "c", claims=every))
    )
    assert (result.status, "quantized_sliding_window" in result.note) == ("UNRULED", True)
    alone = {"seed_results": {}, "val_bpb": 1.0801}
    result = metric_checks.check_claimed_scores(
        load_submission(submission_folders.write_valid_submission(tmp_path / "b", claims=alone))
    )
    assert (result.status, "only the score of train_seed42.log" in result.note) == ("UNRULED", True)


def test_the_json_and_the_statistics_are_held_against_the_same_line_of_each_log(tmp_path):
    sliding = {str(seed): {"val_bpb": bpb + 0.002} for seed, bpb in submission_folders.BPB_BY_SEED.items()}
    submission = load_submission(
        submission_folders.write_valid_submission(tmp_path, claims={"seed_results": sliding, "val_bpb": 1.0823})
    )
    result = metric_checks.check_claimed_scores(submission)
    assert (result.status, "json takes quantized_sliding_window" in result.note) == ("UNRULED", True)
    assert result.measured == "json 1.0823, logs 1.08030000 (mean of 3)"
    assert record_margin.compute_margin(submission).ours.mean == pytest.approx(1.0803)


def test_of_two_logs_of_a_seed_the_one_that_the_json_claims_counts_in_both(tmp_path):
    folder = submission_folders.write_valid_submission(tmp_path)
    for name in ("again.log", "z_again.log"):
        (folder / name).write_text(submission_folders.modern_log(42, 1.0799))
    submission = load_submission(folder)
    assert metric_checks.check_claimed_scores(submission).status == "PASS"
    assert (record_margin.compute_margin(submission).ours.n, record_margin.compute_margin(submission).ours.mean) == (
        3,
        pytest.approx(1.0803),
    )


def test_without_a_score_on_both_sides_the_claim_was_not_checked(tmp_path):
    assert metric_checks.check_claimed_scores(write(tmp_path, submission_folders.early_log(1, 1.2))).status == "NOT-RUN"
    assert (
        metric_checks.check_claimed_scores(
            write(tmp_path, "0/20000 val_loss: 9.0 val_bpb: 3.4\n", {"val_bpb": 1.2})
        ).status
        == "NOT-RUN"
    )
