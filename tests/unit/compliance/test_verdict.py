"""golf/compliance/verdict.py, report.py, and the catalog of checks"""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.artifacts import io
from golf.compliance import verdict
from golf.compliance.catalog import CHECKS
from golf.compliance.check_result import CheckResult
from golf.errors import ArtifactError
from tests.helpers.verdicts import CONTEST_LIMITS, HEADER, make_passing_verdict

# The field guide to the four conditions (issue #1017) as mechanical checks, and the two that nobody has ruled on.
CHECK_IDS = (
    [f"C1-{letter}" for letter in "acdefg"]
    + [f"C2-{letter}" for letter in "abce"]
    + [f"C3-{letter}" for letter in "acdef"]
    + [f"C4-{letter}" for letter in "abcd"]
    + [f"M-{letter}" for letter in "abcde"]
    + [f"B-{letter}" for letter in "abcde"]
    + ["U-a", "U-b"]
)
STATUSES = ("PASS", "FAIL", "UNRULED", "NOT-RUN")


def test_the_catalog_holds_the_checks_in_the_field_guides_order():
    assert list(CHECKS) == CHECK_IDS


def test_every_check_has_its_own_title_and_link():
    assert len({spec.title for spec in CHECKS.values()}) == len(CHECKS)
    assert len({spec.docs_link for name, spec in CHECKS.items()}) == len(CHECKS)
    assert all(
        re.fullmatch(r"docs/evaluation-rules\.md#[cmbu]\d?-[a-g]", spec.docs_link) for name, spec in CHECKS.items()
    )


def test_a_run_is_record_eligible_only_when_everything_holds():
    assert make_passing_verdict().summary == "record-eligible"


@pytest.mark.parametrize("name", [name for name, spec in CHECKS.items() if spec.required_for_record])
def test_without_a_check_that_a_record_needs_no_run_is_record_eligible(name):
    for status in ("FAIL", "NOT-RUN", "UNRULED"):
        assert make_passing_verdict(CheckResult(name, status, "x", "y", "why")).summary != "record-eligible"


@pytest.mark.parametrize("name", [name for name, spec in CHECKS.items() if not spec.required_for_record])
def test_a_check_that_a_record_does_not_need_may_be_not_run_but_its_failure_counts(name):
    assert make_passing_verdict(CheckResult(name, "NOT-RUN", note="read it")).summary == "record-eligible"
    assert make_passing_verdict(CheckResult(name, "FAIL", note="why")).summary.startswith("invalid: ")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"comparable": False}, "the corpus is not a FineWeb export with a known byte count"),
        ({"limit_bytes": 100_000}, "limit_bytes 100,000, not 16,000,000"),
        ({"limit_bytes": 16 << 20}, "limit_bytes 16,777,216, not 16,000,000"),
        ({"train_limit_seconds": None}, "train_limit_seconds none, not 600"),
        ({"eval_limit_seconds": 900.5}, "eval_limit_seconds 900.5, not 600"),
        ({"code_counted": "predictor"}, "compress.count predictor: a record counts the bundle, which also trains"),
    ],
)
def test_what_keeps_a_valid_run_from_being_a_record_is_named(limits, words):
    assert make_passing_verdict(**limits).summary == f"valid, not a record run: {words}"


def test_every_reason_and_the_machine_are_named():
    result = make_passing_verdict(
        CheckResult("B-e", "NOT-RUN", "1 × NVIDIA H200"),
        CheckResult("B-c", "NOT-RUN", "3.0 s"),
        CheckResult("B-d", "NOT-RUN", "4.0 s"),
        CheckResult("U-a", "UNRULED", "3 epochs", "", "asked in #1698"),
        comparable=False,
    )
    assert result.summary == (
        "valid, not a record run: the corpus is not a FineWeb export with a known byte count; B-e NOT-RUN: "
        "1 × NVIDIA H200; B-c, B-d NOT-RUN; disputed: several epochs on scored chunks, asked in #1698"
    )


def test_a_record_with_a_disputed_technique_names_it():
    result = make_passing_verdict(CheckResult("U-a", "UNRULED", "3 epochs", "", "asked in #1698"))
    assert result.summary == "record-eligible; disputed: several epochs on scored chunks, asked in #1698"


def test_more_than_a_hundredth_of_val_in_train_is_said_whatever_the_verdict():
    words = "; 1.3% of val's bytes occur word for word in train, val_bpb_clean is the score on the rest"
    assert make_passing_verdict(contamination=0.0131).summary == f"record-eligible{words}"
    assert make_passing_verdict(CheckResult("C2-a", "FAIL"), contamination=0.0131).summary.endswith(words)
    for share in (None, 0.0, 0.01):
        assert make_passing_verdict(contamination=share).summary == "record-eligible"


def test_invalid_names_every_check_that_failed_and_the_reason_of_one():
    result = make_passing_verdict(
        CheckResult("C2-a", "FAIL", note="they don't add up"), CheckResult("M-a", "FAIL", note="bytes")
    )
    assert result.summary == "invalid: C2-a, M-a (C2-a: they don't add up)"


def test_where_val_reached_the_artifact_its_path_is_the_reason_whatever_else_failed():
    result = make_passing_verdict(
        CheckResult("C1-a", "FAIL", note="later tokens"),
        CheckResult("C1-e", "FAIL", note="val"),
        CheckResult("C3-f", "FAIL", note="C1 and C3: artifacts/fetch/val -> model.golf"),
    )
    assert result.summary == "invalid: C1-a, C1-e, C3-f (C3-f: C1 and C3: artifacts/fetch/val -> model.golf)"


@pytest.mark.parametrize("name", ["C1-e", "C3-f", "C1-a", "C2-c", "C3-e"])
def test_a_proof_or_an_origin_that_could_not_run_leaves_the_verdict_incomplete(name):
    result = make_passing_verdict(CheckResult(name, "NOT-RUN", note="the proof is off"))
    assert result.summary == f"NOT-RUN: no check failed, but {name} could not run: the proof is off"
    assert make_passing_verdict(
        CheckResult(name, "NOT-RUN", note="off"), CheckResult("M-a", "FAIL")
    ).summary.startswith("invalid: M-a")


def test_a_check_without_a_result_is_not_run():
    result = verdict.make_verdict(
        [], adapts=False, limits=CONTEST_LIMITS, comparable=True, contamination=None, **HEADER
    )
    assert {row.status for row in result.check_results} == {"NOT-RUN"}
    assert result.summary.startswith("NOT-RUN: ")


def test_the_track_is_named():
    assert make_passing_verdict().track == "A: fixed predictor"
    assert make_passing_verdict(adapts=True).track == "B: score-first adaptation"


def test_no_summary_is_a_bare_legal():
    kinds = ("record-eligible", "valid, not a record run: ", "invalid: ", "NOT-RUN: ")
    for name, status in itertools.product(CHECKS, STATUSES):
        assert make_passing_verdict(CheckResult(name, status, note="why")).summary.startswith(kinds)


def test_a_verdict_json_has_a_link_and_a_title_for_each_check():
    record = make_passing_verdict().to_dict()
    assert [row["check"] for row in record["checks"]] == CHECK_IDS
    assert record["checks"][0] == {
        "check": "C1-a",
        "status": "PASS",
        "measured": "1 of 1",
        "limit": "1",
        "note": "",
        "title": "each score follows from the tokens before it",
        "docs": "docs/evaluation-rules.md#c1-a",
    }


TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=200)


@given(
    st.lists(
        st.builds(CheckResult, st.sampled_from(CHECK_IDS), st.sampled_from(STATUSES), TEXT, TEXT, TEXT), max_size=9
    )
)
def test_the_table_is_80_columns_wide_at_most(results):
    lines = verdict.render_verdict(make_passing_verdict(*results).to_dict()).splitlines()
    assert max(map(len, lines)) <= 80


def test_the_table_shows_every_figure_and_its_limit_in_full():
    measured, limit = (
        "12 evaluations on this val, " * 4 + "the end",
        "every evaluation is logged and none is left out of it",
    )
    text = verdict.render_verdict(make_passing_verdict(CheckResult("C4-c", "PASS", measured, limit)).to_dict())
    columns = [[line[a:b].strip() for line in text.splitlines()] for a, b in ((22, 58), (58, 80))]
    assert all(figure in " ".join(column) for figure, column in zip((measured, limit), columns, strict=True))
    assert "PASS    C1-a          1 of 1                              1\n" in text


def test_notes_are_below_their_rows_and_a_failed_checks_title_is_not_shown():
    failure = CheckResult("C2-a", "FAIL", "0.5", "0.1", "they don't add up")
    text = verdict.render_verdict(make_passing_verdict(failure, CheckResult("C1-d", "NOT-RUN", note="read")).to_dict())
    assert f"{'':<8}they don't add up\n" in text
    assert CHECKS["C2-a"].title not in text
    assert f"{'':<8}read\n" in text
    assert (
        "29 PASS, 1 FAIL, 0 UNRULED, 1 NOT-RUN\nown:Predictor on 0123456789ab, track A: fixed predictor\ninvalid: C2-a"
        in text
    )


def test_a_screen_summarizes_what_passes_and_shows_the_rest_in_full():
    others = [
        CheckResult("C2-a", "FAIL", "0.5", "0.1", "they don't add up"),
        CheckResult("U-a", "UNRULED", "3 epochs", "", "asked in #1698"),
        CheckResult("B-e", "NOT-RUN", "2 CPU cores", "8", "a proxy"),
    ]
    record = make_passing_verdict(*others).to_dict()
    text = verdict.render_verdict(record, show_all=False)
    lines = text.splitlines()
    assert lines[:2] == [
        "own:Predictor on 0123456789ab, track A: fixed predictor",
        "invalid: C2-a (C2-a: they don't add up)",
    ]
    flat_text = " ".join(" ".join(lines).split())
    assert "PASS C1-a c d e f g, C2-b c e, C3-a c d e f, C4-a b c d, M-a b c d e, B-a b c d, U-b " in flat_text
    for result in others:
        assert f"{result.status:<8}{result.check:<14}{result.measured}" in text
        assert result.note in text
    assert len(lines) <= 16
    assert "golf verdict --all" in lines[-1]
    assert len(verdict.render_verdict(record).splitlines()) > 31


def test_a_run_on_a_small_machine_fits_a_screen_of_forty_lines():
    note = "some reason that takes more than one line of the terminal, as reasons of this kind often do (#1, #2)"
    skipped = [CheckResult(name, "NOT-RUN", "x", "y", note) for name in ("C1-c", "C1-d", "C2-e", "B-c", "B-d", "B-e")]
    text = verdict.render_verdict(
        make_passing_verdict(*skipped, CheckResult("U-a", "UNRULED", "3 epochs", "", note)).to_dict(), show_all=False
    )
    assert len(text.splitlines()) <= 40


def test_a_saved_verdict_is_rendered_and_anything_but_valid_is_reported(tmp_path):
    cases = ((CheckResult("B-e", "NOT-RUN"), False), (CheckResult("M-a", "FAIL"), True), (None, False))
    for changed, is_not_valid in cases:
        result = make_passing_verdict(*[changed] * (changed is not None))
        io.write_json(tmp_path / "verdict.json", result.to_dict())
        assert verdict.load_report(tmp_path / "verdict.json", show_all=True) == (
            verdict.render_verdict(result.to_dict()),
            is_not_valid,
        )
        assert verdict.load_report(tmp_path / "verdict.json") == (
            verdict.render_verdict(result.to_dict(), show_all=False),
            is_not_valid,
        )
    overstated = make_passing_verdict(CheckResult("M-a", "FAIL")).to_dict() | {"verdict": "record-eligible"}
    io.write_json(tmp_path / "verdict.json", overstated)
    assert verdict.load_report(tmp_path / "verdict.json")[1] is True, "its rows say otherwise"
    incomplete = make_passing_verdict(CheckResult("C1-a", "NOT-RUN", note="the proof is off"))
    io.write_json(tmp_path / "verdict.json", incomplete.to_dict())
    assert verdict.load_report(tmp_path / "verdict.json")[1] is True


@pytest.mark.parametrize(
    "change",
    [
        {"checks": None},
        {"checks": {}},
        {"checks": [3]},
        {"checks": [{"check": "C1-a"}]},
        {"track": 3},
        {"predictor": None},
        {"artifact_sha256": None},
        {"verdict": []},
    ],
)
def test_a_malformed_verdict_json_is_refused(tmp_path, change):
    io.write_json(tmp_path / "verdict.json", make_passing_verdict().to_dict() | change)
    with pytest.raises(ArtifactError, match=r"verdict\.json: is not a verdict\.json of this version"):
        verdict.load_report(tmp_path / "verdict.json")


def test_documents_need_not_be_declared_independent():
    assert make_passing_verdict(CheckResult("C1-c", "NOT-RUN", note="not said")).summary.startswith("record-eligible")


def test_a_verdict_json_names_the_predictor_the_artifact_and_the_probe_seed():
    record = make_passing_verdict().to_dict()
    assert (record["probe_seed"], record["predictor"], record["artifact_sha256"]) == (
        "ab",
        "own:Predictor",
        "0123456789abcdef",
    )
