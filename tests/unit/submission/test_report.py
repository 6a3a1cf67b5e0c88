import json
import sys

import pytest

from golf.errors import InputError
from golf.submission.report import render_report
from tests.helpers import submission_folders

NAMES = ["files", "logs", "one run", "C4-d", "M-a", "M-d", "M-e", "B-a", "sizes agree", "B-c", "B-d", "B-e"]


def test_a_valid_submission_passes_every_check_and_is_still_not_called_legal(tmp_path):
    before = submission_folders.write_valid_submission(tmp_path / "before", {42: 1.1001, 314: 1.1003, 999: 1.1005})
    folder = submission_folders.write_valid_submission(tmp_path / "now")
    result = submission_folders.run_checks(folder, before)
    assert [one.check for one in result] == [*NAMES, "record margin"]
    assert {one.status for one in result} == {"PASS"}
    text, failed = render_report(folder, before)
    assert not failed
    assert text.endswith("no check failed; the proof, which needs the artifact, is NOT-RUN")
    assert "legal" not in text


def test_what_is_unruled_or_was_not_run_is_named_beside_what_does_not_fail(tmp_path):
    folder = submission_folders.write_valid_submission(tmp_path, claims={"seed_results": {"42": {"val_bpb": 1.0821}}})
    summary = " ".join(render_report(folder)[0].split("\n\n")[-1].split())
    assert "no check failed; UNRULED: M-e; NOT-RUN: record margin; the proof, which needs" in summary


def test_checks_that_pass_share_one_line_unless_all_are_shown(tmp_path):
    folder = submission_folders.write_valid_submission(tmp_path, gpu="A100-SXM4-80GB")
    short, long = render_report(folder)[0], render_report(folder, show_all=True)[0]
    assert short.splitlines()[0] == "PASS    files, logs, one run, C4-d, M-a d e, B-a, sizes agree, B-c d"
    assert "FAIL    B-e " in short
    assert "PASS    M-a  " in long
    assert len(short.splitlines()) <= 40


def test_what_fails_makes_the_submission_invalid_by_name(tmp_path):
    text, failed = render_report(submission_folders.write_valid_submission(tmp_path, model_bytes=16_100_000, loss=3.0))
    assert failed
    assert text.splitlines()[-1].startswith("invalid: M-a, ")
    assert "B-a" in text.splitlines()[-1]


def test_other_hardware_makes_it_no_record_and_not_invalid(tmp_path):
    text, failed = render_report(submission_folders.write_valid_submission(tmp_path, gpu="A100-SXM4-80GB"))
    assert failed
    assert text.split("\n\n")[-1].splitlines()[1].startswith("not a record run: B-e; NOT-RUN: record margin; ")


def test_the_report_fits_eighty_columns_and_holds_no_terminal_escapes(tmp_path):
    submission_folders.write_valid_submission(tmp_path)
    (tmp_path / ("a\x1b[31m" + "long" * 40 + ".log")).write_text("hello")
    text, _ = render_report(tmp_path, submission_folders.write_valid_submission(tmp_path.parent / "before"))
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_a_folder_that_holds_nothing_of_a_submission_gets_its_findings(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "model.bin").write_bytes(bytes(1000))
    (tmp_path / "helper.py").write_text("import math")
    statuses = {one.check: one.status for one in submission_folders.run_checks(tmp_path)}
    assert statuses.pop("files") == "FAIL"
    assert set(statuses.values()) == {"NOT-RUN"}, "B-a too, though the files are small"


def test_an_empty_folder_is_one_message(tmp_path):
    with pytest.raises(InputError, match="empty"):
        render_report(tmp_path)


def test_nothing_of_the_folder_is_run_or_imported(tmp_path):
    folder = submission_folders.write_valid_submission(tmp_path)
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    for name in ("train_gpt.py", "helper.py", "__init__.py", "conftest.py", "sitecustomize.py"):
        (folder / name).write_text("import helper\n" * (name == "train_gpt.py") + trap)
    path = sys.path[:]
    submission_folders.run_checks(folder)
    assert not (tmp_path / "sprung").exists()
    assert sys.path == path
    assert "helper" not in sys.modules


def test_the_naive_baseline_is_unruled_where_it_deviates_and_nothing_else(tmp_path):
    folder = submission_folders.write_valid_submission(tmp_path, {})
    (folder / "train.log").write_text(submission_folders.early_log(1337, 1.22436570, 63_779_840, 155_770_000))
    claims = {"val_bpb": 1.2243657, "bytes_total": 15_920_000, "bytes_code": 20_000}
    (folder / "submission.json").write_text(json.dumps(claims))
    statuses = {one.check: one.status for one in submission_folders.run_checks(folder)}
    assert [name for name, status in statuses.items() if status == "UNRULED"] == ["M-a", "M-d", "B-c"]
    assert "FAIL" not in statuses.values()


def test_very_many_seeds_and_files_make_a_report_of_bounded_length(tmp_path):
    claims = {"seeds": [*range(60_000)], "per_seed": {str(seed): {"bytes_total": seed} for seed in range(20_000)}}
    folder = submission_folders.write_valid_submission(tmp_path / "many", claims=claims)
    for number in range(1_000):
        (folder / f"{number:0200}.log").write_bytes(b"\xff")
    text, has_failed = render_report(folder, show_all=True)
    assert has_failed
    assert len(text) < 20_000
    assert "59,98" in text, "and so many more"
    assert "more characters" in text
