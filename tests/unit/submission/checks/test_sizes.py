import pytest

from tests.helpers import submission_folders
from tests.helpers.submission_folders import outcome, texts, write_valid_submission


def test_a_valid_submission_passes_with_all_three_totals(tmp_path):
    result = outcome(write_valid_submission(tmp_path), "B-a")
    assert (result.status, texts(result)) == ("PASS", "")
    assert result.measured == "log 15,920,000, json 15,920,000, as shipped 15,920,000"
    assert outcome(tmp_path, "sizes agree").status == "PASS"


@pytest.mark.parametrize(("model_bytes", "words"), [(16_060_000, "not 16 MiB"), (17_000_000, "1,020,000 over")])
def test_a_total_over_the_decimal_limit_breaks_the_rule_at_its_line(tmp_path, model_bytes, words):
    result = outcome(write_valid_submission(tmp_path, model_bytes=model_bytes), "B-a")
    assert (result.status, words in texts(result), ".log:26" in texts(result)) == ("FAIL", True, True)


def test_a_json_over_the_limit_breaks_the_rule_though_the_logs_are_under(tmp_path):
    assert outcome(write_valid_submission(tmp_path, claims={"bytes_total": 16_000_001}), "B-a").status == "FAIL"


def test_a_headroom_under_ten_thousand_bytes_is_noted(tmp_path):
    result = outcome(write_valid_submission(tmp_path, model_bytes=15_975_000), "B-a")
    assert (result.status, "headroom 5,000 bytes" in texts(result)) == ("PASS", True)


def test_packed_code_over_the_limit_only_as_shipped_is_open(tmp_path):
    write_valid_submission(tmp_path, model_bytes=15_970_000)
    (tmp_path / "train_gpt.py").write_text("import math\n".ljust(40_000, "#"))
    result = outcome(tmp_path, "B-a")
    assert (result.status, "train_gpt.py 40,000" in texts(result)) == ("UNRULED", True)


def test_a_python_file_that_the_script_does_not_execute_is_not_counted(tmp_path):
    write_valid_submission(tmp_path, model_bytes=15_970_000)
    (tmp_path / "prepare_data.py").write_text("#" * 100_000)
    assert outcome(tmp_path, "B-a").status == "PASS"


def test_a_tokenizer_that_alone_puts_it_over_is_open(tmp_path):
    write_valid_submission(tmp_path, model_bytes=15_900_000)
    (tmp_path / "pieces.model").write_bytes(bytes(100_000))
    assert "100,000 bytes of tokenizer" in texts(outcome(tmp_path, "B-a"))


def test_files_without_a_log_or_json_are_not_run_and_too_large_ones_still_break_the_rule(tmp_path):
    (tmp_path / "train_gpt.py").write_text("import math")
    (tmp_path / "model.ptz").write_bytes(bytes(1000))
    result = outcome(tmp_path, "B-a")
    assert (result.status, result.measured) == ("NOT-RUN", "as shipped 1,011")
    (tmp_path / "model.ptz").write_bytes(bytes(16_000_000))
    assert outcome(tmp_path, "B-a").status == "FAIL"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"bytes_total": 15_999_999}, "bytes_total: json 15,999,999"),
        ({"bytes_code": 777}, "bytes_code: json 777"),
        ({"seed_results": {"42": {"val_bpb": 1.08, "artifact_bytes": 15_111_111}}}, "seed 42 json 15,111,111"),
    ],
)
def test_a_size_in_the_json_that_no_log_and_no_file_has_contradicts_them(tmp_path, claims, words):
    result = outcome(write_valid_submission(tmp_path, claims=claims), "sizes agree")
    assert (result.status, words in texts(result)) == ("FAIL", True)


def test_a_log_whose_parts_do_not_make_its_total_is_said_once(tmp_path):
    write_valid_submission(tmp_path)
    for log in tmp_path.glob("*.log"):
        log.write_text(log.read_text().replace("Code size: 20000", "Code size: 19000"))
    assert texts(outcome(tmp_path, "sizes agree")).count("is not the total of 15,920,000 (and so in 2 more logs)") == 1


def test_code_of_another_size_than_the_logs_count_is_an_edit_or_an_open_question(tmp_path):
    write_valid_submission(tmp_path)
    (tmp_path / "train_gpt.py").write_text("#" * 20_036)
    assert "contradicts itself: the logs count 20,000 bytes of code, train_gpt.py has 20,036" in texts(
        outcome(tmp_path, "sizes agree")
    )
    (tmp_path / "train_gpt.py").write_text("#" * 99_000)
    assert "not ruled on: the logs count 20,000 bytes of code, 99,000 as shipped" in texts(
        outcome(tmp_path, "sizes agree")
    )


def test_without_figures_no_size_was_compared(tmp_path):
    (tmp_path / "README.md").write_text("hello")
    assert (outcome(tmp_path, "B-a").status, outcome(tmp_path, "sizes agree").status) == ("NOT-RUN", "NOT-RUN")
    assert submission_folders.review(tmp_path).worst == "clerical"
