import pytest

from golf.submission import budget_checks
from golf.submission.contents import load_submission
from tests.helpers import submission_folders


def size(folder):
    return budget_checks.check_size(load_submission(folder))


def test_a_valid_submission_passes_with_all_three_totals(tmp_path):
    result = size(submission_folders.write_valid_submission(tmp_path))
    assert result.status == "PASS"
    assert result.measured == "log 15,920,000, json 15,920,000, files 15,920,000"
    assert result.note == ""


@pytest.mark.parametrize(
    ("model_bytes", "note"), [(16_060_000, "decimal (#1698)"), (17_000_000, "1,020,000 bytes over")]
)
def test_a_total_over_the_decimal_cap_fails_and_the_note_explains_mebibytes(tmp_path, model_bytes, note):
    result = size(submission_folders.write_valid_submission(tmp_path, model_bytes=model_bytes))
    assert result.status == "FAIL"
    assert note in result.note


def test_a_json_over_the_cap_fails_though_the_logs_are_under(tmp_path):
    assert (
        size(submission_folders.write_valid_submission(tmp_path, claims={"bytes_total": 16_000_001})).status == "FAIL"
    )


def test_a_headroom_under_ten_thousand_bytes_is_noted(tmp_path):
    result = size(submission_folders.write_valid_submission(tmp_path, model_bytes=15_975_000))
    assert (result.status, "headroom 5,000 bytes" in result.note) == ("PASS", True)


def test_code_over_the_cap_only_by_its_size_in_the_folder_is_unruled(tmp_path):
    submission_folders.write_valid_submission(tmp_path, model_bytes=15_970_000)
    (tmp_path / "train_gpt.py").write_text("import helper\n".ljust(submission_folders.CODE_BYTES, "#"))
    assert size(tmp_path).status == "PASS"
    (tmp_path / "helper.py").write_text("import math\n".ljust(30_000, "#"))
    result = size(tmp_path)
    assert (result.status, "#1855" in result.note, "helper.py" in result.note) == ("UNRULED", True, True)


def test_a_python_file_that_the_script_does_not_import_is_not_counted(tmp_path):
    submission_folders.write_valid_submission(tmp_path, model_bytes=15_970_000)
    (tmp_path / "prepare_data.py").write_text("#" * 100_000)
    assert size(tmp_path).status == "PASS"


def test_a_tokenizer_that_alone_puts_it_over_is_unruled(tmp_path):
    submission_folders.write_valid_submission(tmp_path, model_bytes=15_900_000)
    (tmp_path / "pieces.model").write_bytes(bytes(100_000))
    assert "#847" in size(tmp_path).note


def test_the_model_file_in_the_folder_takes_precedence_over_the_log(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "final_model.int6.ptz").write_bytes(bytes(16_100_000))
    assert size(tmp_path).status == "UNRULED"


def test_files_without_a_log_or_json_are_not_run_and_too_large_ones_still_fail(tmp_path):
    (tmp_path / "train_gpt.py").write_text("import math")
    (tmp_path / "model.ptz").write_bytes(bytes(1000))
    result = size(tmp_path)
    assert (result.status, "no log and no submission.json" in result.note) == ("NOT-RUN", True)
    assert result.measured == "files 1,011"
    (tmp_path / "model.ptz").write_bytes(bytes(16_000_000))
    assert size(tmp_path).status == "FAIL"


def test_without_any_figure_the_size_is_not_run(tmp_path):
    (tmp_path / "README.md").write_text("hello")
    assert size(tmp_path).status == "NOT-RUN"


@pytest.mark.parametrize("script", ["print 'two'", "x = '\0'", "import helper\nf'{'", "-" * 200_000 + "1"])
def test_a_script_that_does_not_parse_here_is_read_as_any_other(tmp_path, script):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_gpt.py").write_text(script + "\nimport used")
    for name in ("other.py", "used.py"):
        (tmp_path / name).write_text("#" * 1000)
    assert budget_checks.find_executed_sources(load_submission(tmp_path).folder) == (["train_gpt.py", "used.py"], "")


def test_a_script_that_is_no_text_counts_every_python_file(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_gpt.py").write_bytes(b"\xff")
    (tmp_path / "other.py").write_text("#" * 1000)
    assert budget_checks.find_executed_sources(load_submission(tmp_path).folder) == (
        ["other.py", "train_gpt.py"],
        "every .py is counted: train_gpt.py is not UTF-8 text",
    )


def test_code_behind_a_link_is_not_followed(tmp_path):
    (tmp_path / "outside.py").write_text("import secret")
    submission_folders.write_valid_submission(tmp_path / "in")
    (tmp_path / "in" / "helper.py").symlink_to(tmp_path / "outside.py")
    (tmp_path / "in" / "train_gpt.py").write_text("import helper")
    assert budget_checks.find_executed_sources(load_submission(tmp_path / "in").folder) == (
        ["train_gpt.py"],
        "every .py is counted: some of them can't be read",
    )


def test_a_packed_script_is_noted_as_hiding_its_imports(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_gpt.py").write_text("import lzma,base64\nexec(lzma.decompress(base64.b85decode('')))")
    assert "exec" in size(tmp_path).note


def test_sizes_that_agree_pass(tmp_path):
    assert (
        budget_checks.check_sizes_agree(load_submission(submission_folders.write_valid_submission(tmp_path))).status
        == "PASS"
    )


@pytest.mark.parametrize(
    ("claims", "note"),
    [
        ({"bytes_total": 15_999_999}, "total: json 15,999,999"),
        ({"bytes_code": 777}, "code: json 777"),
        ({"seed_results": {"42": {"val_bpb": 1.08, "artifact_bytes": 15_111_111}}}, "seed 42: json 15,111,111"),
    ],
)
def test_a_size_in_the_json_that_no_log_and_no_file_has_fails(tmp_path, claims, note):
    result = budget_checks.check_sizes_agree(
        load_submission(submission_folders.write_valid_submission(tmp_path, claims=claims))
    )
    assert (result.status, note in result.note) == ("FAIL", True)


def test_a_log_that_counts_another_code_than_it_prints_is_unruled(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    log = tmp_path / "train_seed42.log"
    log.write_text(log.read_text().replace("Code size: 20000", "Code size: 19000"))
    result = budget_checks.check_sizes_agree(load_submission(tmp_path))
    assert (result.status, "is not the total of 15,920,000" in result.note) == ("UNRULED", True)


def test_code_in_the_folder_that_no_log_counted_is_unruled(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / "train_gpt.py").write_text("print(1)")
    result = budget_checks.check_sizes_agree(load_submission(tmp_path))
    assert (result.status, "code: logs 20,000, in the folder 8" in result.note) == ("UNRULED", True)


def test_without_two_sizes_to_compare_none_was_compared(tmp_path):
    (tmp_path / "README.md").write_text("hello")
    assert budget_checks.check_sizes_agree(load_submission(tmp_path)).status == "NOT-RUN"


def test_training_calibration_and_serializing_are_three_numbers(tmp_path):
    result = budget_checks.check_training_time(load_submission(submission_folders.write_valid_submission(tmp_path)))
    assert (result.status, result.measured) == ("PASS", "train 588.0 s + calibration 11.5 s; serialize NOT-RUN")


def test_calibration_after_the_full_time_fails_naming_the_slowest_log(tmp_path):
    submission_folders.write_valid_submission(tmp_path, train_ms=599_600, hessians="3.5")
    result = budget_checks.check_training_time(load_submission(tmp_path))
    assert (result.status, "3.1 s over" in result.note, "#1950" in result.note) == ("FAIL", True, True)


def test_less_than_one_step_over_is_unruled_as_in_the_baseline_and_more_fails(tmp_path):
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2))
    assert budget_checks.check_training_time(load_submission(tmp_path)).status == "UNRULED"
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2).replace("600038ms", "603198ms"))
    assert budget_checks.check_training_time(load_submission(tmp_path)).status == "FAIL"


@pytest.mark.parametrize(("milliseconds", "status"), [(366_500, "PASS"), (520_000, "UNRULED"), (617_000, "FAIL")])
def test_the_scored_pass_has_600_seconds_and_time_before_it_is_unruled(tmp_path, milliseconds, status):
    submission_folders.write_valid_submission(tmp_path, eval_ms=milliseconds)
    assert budget_checks.check_eval_time(load_submission(tmp_path)).status == status


def test_without_a_figure_the_time_limits_are_not_run(tmp_path):
    (tmp_path / "train.log").write_text("quantized val_loss:2.8 val_bpb:1.1\n")
    assert [
        check(load_submission(tmp_path)).status
        for check in (budget_checks.check_training_time, budget_checks.check_eval_time)
    ] == ["NOT-RUN"] * 2


@pytest.mark.parametrize(
    ("changed", "status"),
    [({}, "PASS"), ({"world": 2}, "FAIL"), ({"gpu": "A100-SXM4-80GB"}, "FAIL"), ({"gpu": "H100 PCIe"}, "FAIL")],
)
def test_a_record_needs_eight_h100_sxm_in_the_logs(tmp_path, changed, status):
    assert (
        budget_checks.check_hardware(
            load_submission(submission_folders.write_valid_submission(tmp_path, **changed))
        ).status
        == status
    )


def test_hardware_that_only_the_json_claims_is_not_run(tmp_path):
    submission_folders.write_valid_submission(tmp_path, {})
    (tmp_path / "train_seed1.log").write_text(submission_folders.early_log(1, 1.2))
    result = budget_checks.check_hardware(load_submission(tmp_path))
    assert (result.status, "8xH100 80GB SXM" in result.note) == ("NOT-RUN", True)


def test_a_non_record_submission_has_no_time_limit_and_any_hardware(tmp_path):
    slow = {"train_ms": 9_000_000, "eval_ms": 9_000_000, "gpu": "RTX 4090"}
    submission = load_submission(
        submission_folders.write_valid_submission(tmp_path, claims={"track": "non_record_16mb"}, **slow)
    )
    assert [
        check(submission).status
        for check in (budget_checks.check_training_time, budget_checks.check_eval_time, budget_checks.check_hardware)
    ] == ["PASS"] * 3
