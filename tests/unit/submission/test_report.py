import json
import sys

import pytest

from golf.errors import InputError
from golf.submission import json_report, overview
from golf.submission.findings import CHECKS
from golf.submission.report import LINE_WIDTH, MAX_LINES, render_review, review_folder
from tests.helpers import submission_folders
from tests.helpers.submission_alarms import ALARMS
from tests.helpers.submission_folders import review, write_valid_submission
from tests.helpers.submission_misses import MISSES


def require_screen(text: str) -> None:
    assert len(text.splitlines()) <= MAX_LINES
    assert max(map(len, text.splitlines())) <= LINE_WIDTH


def test_a_valid_submission_passes_every_check_and_is_still_not_called_legal(tmp_path):
    before = write_valid_submission(tmp_path / "before", {42: 1.1001, 314: 1.1003, 999: 1.1005})
    reviewed = review(write_valid_submission(tmp_path / "now"), before)
    assert [one.check for one in reviewed.outcomes] == [*CHECKS]
    assert {one.status for one in reviewed.outcomes} == {"PASS", "NOT-RUN"}
    text = render_review(reviewed)
    assert not reviewed.has_failed
    assert text.splitlines()[-1] == "worst: nothing found (3 not checked)"
    assert "the proof of the scores (needs the artifact)" in text
    assert "legal" not in text


def test_findings_stand_by_severity_and_the_last_line_names_the_worst_with_counts(tmp_path):
    folder = write_valid_submission(tmp_path, claims={"val_bpb": 1.07}, model_bytes=16_500_000, eval_ms=550_000)
    (folder / "README.md").unlink()
    lines = render_review(review(folder)).splitlines()
    severities = ["breaks a rule", "contradicts itself", "clerical", "not ruled on"]
    assert [line for line in lines if line in severities] == severities
    assert lines[-1].startswith("worst: breaks a rule (1 breaks a rule, ")
    assert "1 clerical, 1 not ruled on" in lines[-1]


def test_each_finding_is_one_message_with_its_place_and_the_rule_and_a_remedy_follow_once(tmp_path):
    folder = write_valid_submission(tmp_path, train_ms=605_000)
    text = render_review(review(folder))
    assert "  training time: training takes 605.0 s, 5.0 s over the limit of 600 s (train_seed314.log:20)" in text
    assert text.count("training and calibration take at most 600 s; stop earlier") == 1


@pytest.mark.parametrize("case", [MISSES[0], MISSES[9], MISSES[20], ALARMS[0], ALARMS[14], ALARMS[-2]], ids=range(6))
def test_a_review_fits_a_screen(tmp_path, case):
    case.write(tmp_path / "folder")
    require_screen(render_review(review(tmp_path / "folder")))


def test_names_from_outside_hold_no_terminal_escapes_and_are_cut(tmp_path):
    write_valid_submission(tmp_path / "now")
    for number in range(50):
        (tmp_path / "now" / (f"a{number}\x1b[31m" + "long" * 40 + ".log")).write_text("hello")
    text = render_review(review(tmp_path / "now"))
    require_screen(text)
    assert "\x1b" not in text


def test_very_many_seeds_and_files_make_a_review_of_bounded_length(tmp_path):
    claims = {"seeds": [*range(60_000)], "per_seed": {str(seed): {"bytes_total": seed} for seed in range(20_000)}}
    folder = write_valid_submission(tmp_path / "many", claims=claims)
    for number in range(1_000):
        (folder / f"{number:0200}.log").write_bytes(b"\xff")
    reviewed = review(folder)
    require_screen(render_review(reviewed))
    assert len(render_review(reviewed, show_all=True)) < 20_000
    assert reviewed.worst == "clerical"


def test_a_folder_that_holds_nothing_of_a_submission_gets_its_findings(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "model.bin").write_bytes(bytes(1000))
    (tmp_path / "helper.py").write_text("import math")
    reviewed = review(tmp_path)
    assert reviewed.worst == "clerical"
    assert {one.status for one in reviewed.outcomes if not one.findings} <= {"NOT-RUN", "PASS"}


def test_an_empty_folder_is_one_message(tmp_path):
    with pytest.raises(InputError, match="empty"):
        review_folder(tmp_path)


def test_nothing_of_the_folder_is_run_or_imported(tmp_path):
    folder = write_valid_submission(tmp_path)
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n"
    for name in ("train_gpt.py", "helper.py", "__init__.py", "conftest.py", "sitecustomize.py"):
        (folder / name).write_text("import helper\n" * (name == "train_gpt.py") + trap)
    path = sys.path[:]
    review(folder)
    assert not (tmp_path / "sprung").exists()
    assert sys.path == path
    assert "helper" not in sys.modules


def test_the_naive_baseline_raises_open_questions_where_it_deviates_and_nothing_else(tmp_path):
    folder = write_valid_submission(tmp_path, {})
    (folder / "train.log").write_text(submission_folders.early_log(1337, 1.22436570, 63_779_840, 155_770_000))
    claims = {"val_bpb": 1.2243657, "bytes_total": 15_920_000, "bytes_code": 20_000}
    (folder / "submission.json").write_text(json.dumps(claims))
    found = [(check, one.severity) for check, one in review(folder).findings]
    assert found == [("M-a", "not ruled on"), ("B-c", "not ruled on")]


def test_many_submissions_get_a_line_each_and_a_total(tmp_path):
    track = tmp_path / "records" / "track_10min_16mb"
    write_valid_submission(track / "good")
    write_valid_submission(track / "over", model_bytes=17_000_000)
    (track / "notes").mkdir()
    missing = tmp_path / "missing"
    results = overview.review_folders([tmp_path / "records", missing])
    lines = overview.render_overview(results).splitlines()
    assert [line.split()[0] for line in lines] == ["good", "over", "missing", "3"]
    assert lines[1].endswith("breaks a rule: size limit")
    assert "can't be read: does not exist" in lines[2]
    assert lines[3] == "3 submissions: 1 breaks a rule, 1 nothing found, 1 can't be read"
    assert max(map(len, lines)) <= LINE_WIDTH


def test_the_json_holds_every_documented_key(tmp_path):
    folder = write_valid_submission(tmp_path / "now", model_bytes=17_000_000)
    results = overview.review_folders([folder, tmp_path / "missing"])
    document = json.loads(json_report.render_json(results))
    assert document["version"] == 1
    assert document["total"]["submissions"] == 2
    one, unreadable = document["submissions"]
    assert unreadable["worst"] == "unreadable"
    assert one["worst"] == "breaks a rule"
    assert one["headline"]["borne_by"] == "mean"
    assert one["headline"]["logs"][0]["line"] == 29
    finding = one["findings"][0]
    assert (finding["severity"], finding["check"], finding["where"]) == ("breaks a rule", "B-a", "train_seed314.log:26")
    page = (submission_folders.DOCS / "submission-review.md").read_text(encoding="utf-8")
    keys = {*document, *one, *unreadable, *finding, *one["headline"], *one["headline"]["logs"][0], *one["checks"][0]}
    assert [key for key in sorted(keys | {*one["statistics"]}) if f"`{key}`" not in page] == []
