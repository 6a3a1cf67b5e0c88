import pytest

from tests.helpers import submission_folders
from tests.helpers.submission_folders import outcome, texts


def status(folder, text: str, check: str) -> str:
    (folder / "train_seed1.log").write_text(text)
    return outcome(folder, check).status


def test_correct_byte_counts_are_recognized_with_every_tokenizer(tmp_path):
    for tokens in (62_021_632, 45_508_608, 40_540_160, 47_851_520, 12_345_678):
        assert status(tmp_path, submission_folders.early_log(1, 1.2, tokens), "M-a") == "PASS"
        assert outcome(tmp_path, "M-d").status == "PASS"


@pytest.mark.parametrize("n_bytes", [150_900_000, 157_300_000, 164_594_398, 177_000_000, 151_200_000])
def test_bytes_counted_wrongly_break_the_rule(tmp_path, n_bytes):
    assert status(tmp_path, submission_folders.early_log(1, 1.2, n_bytes=n_bytes), "M-a") == "FAIL"
    assert f"imply {n_bytes / 1e6:.2f} M bytes" in texts(outcome(tmp_path, "M-a"))


def test_coarse_scores_are_given_the_slack_of_their_rounding(tmp_path):
    assert status(tmp_path, "val_tokens: 40540160\nquantized val_loss:2.79 val_bpb:1.08\n", "M-a") == "PASS"
    fine = "val_tokens: 40540160\nquantized val_loss:2.79000000 val_bpb:1.08000000\n"
    assert status(tmp_path, fine, "M-a") == "FAIL"


def test_the_worst_log_decides(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_seed314.log").write_text(submission_folders.modern_log(314, 1.0803, loss=3.1))
    assert "train_seed314.log:29" in texts(outcome(tmp_path, "M-a"))


def test_the_older_export_of_val_is_an_open_question(tmp_path):
    assert status(tmp_path, submission_folders.early_log(1, 1.2243657, 63_779_840, 155_770_000), "M-a") == "UNRULED"
    assert "the earlier export" in texts(outcome(tmp_path, "M-d"))


def test_a_part_of_val_breaks_the_rule_of_coverage(tmp_path):
    assert status(tmp_path, submission_folders.modern_log(1, 1.08, tokens=9_660_000), "M-d") == "FAIL"


def test_a_training_loader_on_vals_shards_breaks_the_rule_at_its_line(tmp_path):
    log = submission_folders.modern_log(1, 1.08)
    assert status(tmp_path, log, "C1-e") == "PASS"
    assert status(tmp_path, log.replace("  seed", "  train_files: data/fineweb_val_*.bin\n  seed"), "C1-e") == "FAIL"
    assert "train_seed1.log:5" in texts(outcome(tmp_path, "C1-e"))


def test_more_than_one_window_less_is_no_dropped_tail(tmp_path):
    n_tokens = 32_768 * 1236
    loss = submission_folders.nats_per_token(1.08, n_tokens, 150_900_000)
    assert status(tmp_path, submission_folders.modern_log(1, 1.08, tokens=n_tokens, loss=loss), "M-a") == "FAIL"


def test_without_val_tokens_neither_check_is_run(tmp_path):
    assert status(tmp_path, "quantized val_loss:2.79 val_bpb:1.08\n", "M-a") == "NOT-RUN"
    assert outcome(tmp_path, "M-d").status == "NOT-RUN"
