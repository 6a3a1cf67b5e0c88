import json
import math

import pytest
from scipy import stats

from golf.errors import InputError
from golf.submission import record_margin
from golf.submission.contents import load_submission
from tests.helpers import submission_folders


@pytest.fixture
def previous_record(tmp_path):
    return submission_folders.write_valid_submission(tmp_path / "before", {42: 1.0901, 314: 1.0903, 999: 1.0905})


def margin_of(folder, baseline=None):
    scores = record_margin.load_seed_scores(baseline) if baseline else ()
    return record_margin.compute_margin(load_submission(folder), scores)


def check_margin(folder, baseline):
    outcome = record_margin.check_margin(load_submission(folder), margin_of(folder, baseline))
    return submission_folders.to_result(outcome)


@pytest.mark.parametrize(
    ("lower", "status", "note"),
    [
        (0.0100, "PASS", ""),
        (0.0050, "UNRULED", "per token it is"),
        (0.0003, "UNRULED", "any gain is, at p = "),
        (-0.0010, "FAIL", "nor any gain"),
    ],
)
def test_the_margin_follows_the_written_rule_and_names_an_easier_one_that_it_meets(
    tmp_path, previous_record, lower, status, note
):
    scores = {seed: bpb - lower for seed, bpb in ((42, 1.0901), (314, 1.0903), (999, 1.0905))}
    check_result = check_margin(submission_folders.write_valid_submission(tmp_path / "now", scores), previous_record)
    assert check_result.status == status
    assert note in check_result.note


def test_nats_per_byte_and_per_token_have_the_ratio_of_bytes_to_tokens(tmp_path, previous_record):
    measured = margin_of(submission_folders.write_valid_submission(tmp_path / "now"), previous_record)
    assert measured.per_byte.gain == pytest.approx(0.01 * math.log(2))
    assert measured.per_token.gain / measured.per_byte.gain == pytest.approx(
        submission_folders.VAL_BYTES / submission_folders.VAL_TOKENS, rel=1e-4
    )


def test_nats_per_token_are_not_compared_across_tokenizers(tmp_path, previous_record):
    folder = submission_folders.write_valid_submission(tmp_path / "now", {})
    for seed in (1, 2, 3):
        (folder / f"train_seed{seed}.log").write_text(submission_folders.early_log(seed, 1.08 + seed / 1000))
    measured = margin_of(folder, previous_record)
    assert measured.per_token is None
    assert measured.per_byte is not None
    assert any(line.startswith("nats per token  NOT-RUN") for line in record_margin.format_margin(measured))


def test_without_a_baseline_a_second_seed_or_a_record_to_beat_it_was_not_run(tmp_path, previous_record):
    assert check_margin(submission_folders.write_valid_submission(tmp_path / "a"), None).status == "NOT-RUN"
    assert (
        "two different scores on each side"
        in check_margin(submission_folders.write_valid_submission(tmp_path / "b", {42: 1.08}), previous_record).note
    )
    assert (
        check_margin(
            submission_folders.write_valid_submission(tmp_path / "c", claims={"track": "non_record"}), previous_record
        ).status
        == "NOT-RUN"
    )
    for log in submission_folders.write_valid_submission(tmp_path / "e").glob("*.log"):
        log.unlink()
    assert "no log confirms" in check_margin(tmp_path / "e", previous_record).note
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "README.md").write_text("hello")
    assert check_margin(tmp_path / "d", previous_record).status == "NOT-RUN"


@pytest.mark.parametrize("claim", [{"val_bpb": 0}, {"val_bpb": 0, "val_loss": 0.0}, {"per_seed": {"1": 0, "2": 0.0}}])
def test_a_baseline_that_claims_a_score_of_zero_has_none(tmp_path, claim):
    now = submission_folders.write_valid_submission(tmp_path / "now")
    (tmp_path / "baseline.json").write_text(json.dumps(claim))
    with pytest.raises(InputError, match=r"baseline\.json: has no score to compare with"):
        margin_of(now, tmp_path / "baseline.json")


def test_both_p_values_are_welchs_and_that_of_the_minimum_is_the_larger(tmp_path, previous_record):
    folder = submission_folders.write_valid_submission(tmp_path / "now")
    test = margin_of(folder, previous_record).per_byte
    ours = [bpb * math.log(2) for bpb in (1.0801, 1.0803, 1.0805)]
    before = [bpb * math.log(2) for bpb in (1.0901, 1.0903, 1.0905)]
    for shift, p in ((0.0, test.p_above_zero), (0.005, test.p_above_minimum)):
        shifted = [score + shift for score in ours]
        assert p == pytest.approx(stats.ttest_ind(shifted, before, equal_var=False, alternative="less").pvalue)
    assert test.p_above_minimum > test.p_above_zero
    lines = record_margin.format_margin(margin_of(folder, previous_record))
    assert sum("above 0, p = " in line and "above 0.005" in line for line in lines) == 2, "per byte and per token"
