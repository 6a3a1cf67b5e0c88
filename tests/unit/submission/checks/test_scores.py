import json

import pytest

from golf.submission import record_margin
from golf.submission.contents import load_submission
from tests.helpers import submission_folders
from tests.helpers.submission_folders import outcome, texts, write_valid_submission


def test_a_json_that_gives_each_log_and_their_mean_passes_even_rounded(tmp_path):
    assert outcome(write_valid_submission(tmp_path), "M-e").status == "PASS"
    rounded = {"seed_results": {"42": {"val_bpb": 1.080}, "314": {"val_bpb": 1.0803}, "999": {"val_bpb": 1.0805}}}
    spread = {"val_bpb": 1.0803, "val_bpb_std": 0.0002}
    assert outcome(write_valid_submission(tmp_path, claims=rounded | spread), "M-e").status == "PASS"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"val_bpb": 1.0703}, "val_bpb 1.0703 is in no log; the logs give quantized_ttt 1.08030000 (mean of 3)"),
        ({"seed_results": {"42": {"val_bpb": 1.0701}}, "val_bpb": 1.0803}, "seed 42: json 1.0701, log 1.08010000"),
        ({"val_bpb_std": 0.0009}, "val_bpb_std: json 0.0009, logs 0.000200"),
        ({"val_loss": 2.5}, "val_loss: json 2.5"),
    ],
)
def test_a_json_that_no_log_confirms_contradicts_them(tmp_path, claims, words):
    result = outcome(write_valid_submission(tmp_path, claims=claims), "M-e")
    assert (result.status, words in texts(result)) == ("FAIL", True), texts(result)


@pytest.mark.parametrize(("std", "severity"), [(0.00023, "clerical: "), (0.0004, "contradicts itself: ")])
def test_a_spread_whose_last_digit_differs_is_clerical_and_another_spread_is_not(tmp_path, std, severity):
    text = texts(outcome(write_valid_submission(tmp_path, claims={"val_bpb_std": std}), "M-e"))
    assert text.startswith(f"{severity}val_bpb_std")


def test_the_better_of_two_passes_or_a_single_seed_is_an_open_question_if_it_helps(tmp_path):
    better = "\n".join(
        ["world_size:8", "seed:{seed}", "sliding val_loss:2.7 val_bpb:1.08{n}", "ttt val_loss:2.8 val_bpb:1.09{n}"]
    )
    folder = write_valid_submission(tmp_path / "a", {}, {"val_bpb": 1.082, "seeds": [1, 3]})
    for seed in (1, 3):
        (folder / f"train_seed{seed}.log").write_text(better.format(seed=seed, n=seed))
    assert "json takes sliding; ttt, which follows it, is worse: 1.092" in texts(outcome(folder, "M-e"))
    alone = {"seed_results": {}, "seeds": None, "val_bpb": 1.0801}
    result = outcome(write_valid_submission(tmp_path / "b", claims=alone), "M-e")
    assert (result.status, "train_seed42.log alone; the mean of 3 seeds" in texts(result)) == ("UNRULED", True)


def test_the_json_and_the_statistics_rest_on_the_same_line_of_each_log(tmp_path):
    sliding = {str(seed): {"val_bpb": bpb + 0.002} for seed, bpb in submission_folders.BPB_BY_SEED.items()}
    folder = write_valid_submission(tmp_path, claims={"seed_results": sliding, "val_bpb": 1.0823})
    result = outcome(folder, "M-e")
    assert result.measured == "json 1.0823, logs quantized_sliding_window 1.08230000 (mean of 3)"
    assert (result.status, texts(result)) == ("PASS", ""), "the pass that follows is better, so nothing was gained"
    assert record_margin.compute_margin(load_submission(folder)).ours.mean == pytest.approx(1.0823)


def test_of_two_logs_of_a_seed_the_one_that_the_json_claims_counts_in_both(tmp_path):
    folder = write_valid_submission(tmp_path)
    for name in ("again.log", "z_again.log"):
        (folder / name).write_text(submission_folders.modern_log(42, 1.0799))
    assert outcome(folder, "M-e").status == "PASS"
    ours = record_margin.compute_margin(load_submission(folder)).ours
    assert (ours.n, ours.mean) == (3, pytest.approx(1.0803))


def test_a_mean_over_unlike_passes_is_named_and_gives_no_statistics(tmp_path):
    folder = write_valid_submission(tmp_path, {}, {"val_bpb": 1.085, "seeds": None, "seed_results": None})
    for name, seed, bpb in (("sliding", 1, "1.0900"), ("ttt", 2, "1.0800")):
        (folder / f"train_seed{seed}.log").write_text(f"seed:{seed}\n{name} val_loss:2.8000 val_bpb:{bpb}\n")
    assert "mean over different passes: sliding in train_seed1.log and ttt in" in texts(outcome(folder, "M-e"))
    margin = record_margin.compute_margin(load_submission(folder))
    assert any("NOT-RUN" in line for line in record_margin.format_margin(margin))


def test_without_a_score_on_both_sides_the_claim_was_not_checked(tmp_path):
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2))
    assert outcome(tmp_path, "M-e").not_checked == "no submission.json"
    (tmp_path / "train_seed1.log").unlink()
    (tmp_path / "submission.json").write_text(json.dumps({"val_bpb": 1.2}))
    assert outcome(tmp_path, "M-e").status == "NOT-RUN"
    claims = {"val_bpb": 1.2, "seed_results": {"1": 1.3, "2": 1.5}}
    (tmp_path / "submission.json").write_text(json.dumps(claims))
    assert "val_bpb 1.2 is not the mean of its seeds 1, 2: 1.4" in texts(outcome(tmp_path, "M-e"))


def test_a_mean_of_seeds_of_which_not_all_have_a_log_is_clerical(tmp_path):
    seeds = {"seed_results": {"42": {"val_bpb": 1.08}, "7": {"val_bpb": 1.09}, "5": {"val_bpb": 1.15}}}
    folder = write_valid_submission(tmp_path, {42: 1.08, 7: 1.09}, {**seeds, "val_bpb": 1.10666667, "seeds": None})
    assert texts(outcome(folder, "M-e")).startswith(
        "clerical: submission.json's val_bpb 1.10666667 is the mean of json"
    )
