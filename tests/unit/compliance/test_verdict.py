"""golf/compliance/verdict.py, catalogue.py and disputed.py's place in it"""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.artifacts import io
from golf.compliance import verdict
from golf.compliance.check_result import CheckResult
from golf.compliance.registry import CHECKS
from golf.errors import ArtifactError

# The field guide to the four conditions (issue #1017) as mechanical checks, and the two that nobody has ruled on.
NAMES = (
    [f"C1-{letter}" for letter in "abcdefg"]
    + [f"C2-{letter}" for letter in "abcde"]
    + [f"C3-{letter}" for letter in "abcdef"]
    + [f"C4-{letter}" for letter in "abcd"]
    + [f"M-{letter}" for letter in "abcde"]
    + [f"B-{letter}" for letter in "abcde"]
    + ["U-a", "U-b"]
)
CONTEST = {"limit_bytes": 16_000_000, "train_limit_seconds": 600.0, "eval_limit_seconds": 600.0}
WHOLE = {name: CheckResult(name, "PASS", "1 of 1", "1") for name in CHECKS}
ABOUT = {"seed": "ab", "method": "own:Method", "artifact": "0123456789abcdef"}
STATUSES = ("PASS", "FAIL", "UNRULED", "NOT-RUN")


def given_(*findings: CheckResult, adapts=False, comparable=True, **limits) -> verdict.Verdict:
    """Everything passes but ``findings``."""
    found = WHOLE | {each.check: each for each in findings}
    return verdict.make_verdict(
        list(found.values()), adapts=adapts, limits=CONTEST | limits, comparable=comparable, **ABOUT
    )


def test_the_catalogue_names_every_check_of_the_field_guide_in_its_order():
    assert list(CHECKS) == NAMES


def test_every_rule_has_a_title_and_a_link_of_its_own():
    assert len({rule.title for rule in CHECKS.values()}) == len(CHECKS)
    assert len({rule.docs_link(name) for name, rule in CHECKS.items()}) == len(CHECKS)
    assert all(
        re.fullmatch(r"docs/legality\.md#[cmbu]\d?-[a-g]", rule.docs_link(name)) for name, rule in CHECKS.items()
    )


def test_a_run_is_record_eligible_only_when_everything_holds():
    assert given_().summary == "record-eligible"


@pytest.mark.parametrize("name", [name for name, rule in CHECKS.items() if rule.required_for_record])
def test_without_a_check_that_a_record_needs_no_run_is_record_eligible(name):
    for status in ("FAIL", "NOT-RUN", "UNRULED"):
        assert given_(CheckResult(name, status, "x", "y", "why")).summary != "record-eligible"


@pytest.mark.parametrize("name", [name for name, rule in CHECKS.items() if not rule.required_for_record])
def test_what_is_done_by_reading_alone_is_not_needed_but_a_failure_counts(name):
    assert given_(CheckResult(name, "NOT-RUN", note="read it")).summary == "record-eligible"
    assert given_(CheckResult(name, "FAIL", note="why")).summary.startswith("invalid: ")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"comparable": False}, "the corpus is no FineWeb export with a known byte count"),
        ({"limit_bytes": 100_000}, "limit_bytes 100,000, not 16,000,000"),
        ({"limit_bytes": 16 << 20}, "limit_bytes 16,777,216, not 16,000,000"),
        ({"train_limit_seconds": None}, "train_limit_seconds none, not 600"),
        ({"eval_limit_seconds": 900.5}, "eval_limit_seconds 900.5, not 600"),
    ],
)
def test_what_keeps_a_valid_run_from_being_a_record_is_said(limits, words):
    assert given_(**limits).summary == f"valid, not a record run: {words}"


def test_every_reason_is_said_and_the_machine_is_named():
    made = given_(
        CheckResult("B-e", "NOT-RUN", "1 × NVIDIA H200"),
        CheckResult("B-c", "NOT-RUN", "3.0 s"),
        CheckResult("B-d", "NOT-RUN", "4.0 s"),
        CheckResult("U-a", "UNRULED", "3 epochs", "", "asked in #1698"),
        comparable=False,
    )
    assert made.summary == (
        "valid, not a record run: the corpus is no FineWeb export with a known byte count; B-e NOT-RUN: "
        "1 × NVIDIA H200; B-c, B-d NOT-RUN; disputed: several epochs on scored chunks, asked in #1698"
    )


def test_a_record_that_uses_what_nobody_has_ruled_on_says_so():
    made = given_(CheckResult("U-a", "UNRULED", "3 epochs", "", "asked in #1698"))
    assert made.summary == "record-eligible; disputed: several epochs on scored chunks, asked in #1698"


def test_invalid_names_every_check_that_failed_and_the_reason_of_one():
    made = given_(CheckResult("C2-a", "FAIL", note="they don't add up"), CheckResult("M-a", "FAIL", note="bytes"))
    assert made.summary == "invalid: C2-a, M-a (C2-a: they don't add up)"


def test_where_val_reached_the_artifact_its_path_is_the_reason_whatever_else_failed():
    made = given_(
        CheckResult("C1-a", "FAIL", note="later tokens"),
        CheckResult("C1-e", "FAIL", note="val"),
        CheckResult("C3-f", "FAIL", note="C1 and C3: artifacts/fetch/val -> model.golf"),
    )
    assert made.summary == "invalid: C1-a, C1-e, C3-f (C3-f: C1 and C3: artifacts/fetch/val -> model.golf)"


@pytest.mark.parametrize("name", ["C1-e", "C3-f", "C1-a", "C2-d", "C3-e"])
def test_a_probe_or_an_origin_that_was_not_looked_at_leaves_the_run_unjudged(name):
    made = given_(CheckResult(name, "NOT-RUN", note="probes are off"))
    assert made.summary == f"NOT-RUN: nothing that was looked at fails, but {name} were not: probes are off"
    assert given_(CheckResult(name, "NOT-RUN", note="off"), CheckResult("M-a", "FAIL")).summary.startswith(
        "invalid: M-a"
    )


def test_a_rule_that_nobody_looked_at_is_not_run():
    made = verdict.make_verdict([], adapts=False, limits=CONTEST, comparable=True, **ABOUT)
    assert {each.status for each in made.check_results} == {"NOT-RUN"}
    assert made.summary.startswith("NOT-RUN: ")


def test_the_track_is_named():
    assert given_().track == "A: fixed predictor"
    assert given_(adapts=True).track == "B: score-first adaptation"


def test_no_headline_is_a_bare_legal():
    kinds = ("record-eligible", "valid, not a record run: ", "invalid: ", "NOT-RUN: ")
    for name, status in itertools.product(CHECKS, STATUSES):
        assert given_(CheckResult(name, status, note="why")).summary.startswith(kinds)


def test_the_tree_has_a_link_and_a_title_for_each_rule():
    tree = given_().to_dict()
    assert [row["check"] for row in tree["checks"]] == NAMES
    assert tree["checks"][0] == {
        "check": "C1-a",
        "status": "PASS",
        "measured": "1 of 1",
        "limit": "1",
        "note": "",
        "rule": "future tokens change no score",
        "link": "docs/legality.md#c1-a",
    }


TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=200)


@settings(max_examples=100)
@given(
    st.lists(st.builds(CheckResult, st.sampled_from(NAMES), st.sampled_from(STATUSES), TEXT, TEXT, TEXT), max_size=9)
)
def test_the_table_is_80_columns_wide_at_most(findings):
    lines = verdict.render_verdict(given_(*findings).to_dict()).splitlines()
    assert max(map(len, lines)) <= 80


def test_the_table_shows_every_figure_and_its_limit_in_full():
    measured, limit = (
        "12 executions on this val, " * 4 + "the end",
        "every execution is logged and none is left out of it",
    )
    text = verdict.render_verdict(given_(CheckResult("C4-c", "PASS", measured, limit)).to_dict())
    columns = [[line[a:b].strip() for line in text.splitlines()] for a, b in ((22, 58), (58, 80))]
    assert all(figure in " ".join(column) for figure, column in zip((measured, limit), columns, strict=True))
    assert "PASS    C1-a          1 of 1                              1\n" in text


def test_notes_stand_below_their_rows_and_a_failure_says_what_was_found_and_nothing_that_reads_as_its_opposite():
    failure = CheckResult("C2-a", "FAIL", "0.5", "0.1", "they don't add up")
    text = verdict.render_verdict(given_(failure, CheckResult("C1-d", "NOT-RUN", note="read")).to_dict())
    assert f"{'':<8}they don't add up\n" in text
    assert CHECKS["C2-a"].title not in text
    assert f"{'':<8}read\n" in text
    assert (
        "32 PASS, 1 FAIL, 0 UNRULED, 1 NOT-RUN\nown:Method on 0123456789ab, track A: fixed predictor\ninvalid: C2-a"
        in text
    )


def test_a_screen_folds_what_passes_and_shows_the_rest_in_full():
    others = [
        CheckResult("C2-a", "FAIL", "0.5", "0.1", "they don't add up"),
        CheckResult("U-a", "UNRULED", "3 epochs", "", "asked in #1698"),
        CheckResult("B-e", "NOT-RUN", "2 CPU cores", "8", "a proxy"),
    ]
    tree = given_(*others).to_dict()
    text = verdict.render_verdict(tree, show_all=False)
    lines = text.splitlines()
    assert lines[:2] == [
        "own:Method on 0123456789ab, track A: fixed predictor",
        "invalid: C2-a (C2-a: they don't add up)",
    ]
    told = " ".join(" ".join(lines).split())
    assert "PASS C1-a b c d e f g, C2-b c d e, C3-a b c d e f, C4-a b c d, M-a b c d e, B-a b c d, U-b " in told
    for one in others:
        assert f"{one.status:<8}{one.check:<14}{one.measured}" in text
        assert one.note in text
    assert len(lines) <= 16
    assert "golf check --all" in lines[-1]
    assert len(verdict.render_verdict(tree).splitlines()) > 34


def test_a_run_on_a_small_machine_fits_a_screen_of_forty_lines():
    note = "some reason that takes more than one line of the terminal, as reasons of this kind often do (#1, #2)"
    open_ = [CheckResult(name, "NOT-RUN", "x", "y", note) for name in ("C1-c", "C1-d", "C2-e", "B-c", "B-d", "B-e")]
    text = verdict.render_verdict(
        given_(*open_, CheckResult("U-a", "UNRULED", "3 epochs", "", note)).to_dict(), show_all=False
    )
    assert len(text.splitlines()) <= 40


def test_a_run_on_disk_comes_back_as_its_table_and_whether_it_is_anything_but_valid(tmp_path):
    for finding, strict in ((CheckResult("B-e", "NOT-RUN"), False), (CheckResult("M-a", "FAIL"), True), (None, False)):
        made = given_(*[finding] * (finding is not None))
        io.write_json(tmp_path / "verdict.json", made.to_dict())
        assert verdict.load_report(tmp_path / "verdict.json", show_all=True) == (
            verdict.render_verdict(made.to_dict()),
            strict,
        )
        assert verdict.load_report(tmp_path / "verdict.json") == (
            verdict.render_verdict(made.to_dict(), show_all=False),
            strict,
        )
    excused = given_(CheckResult("M-a", "FAIL")).to_dict() | {"verdict": "record-eligible"}
    io.write_json(tmp_path / "verdict.json", excused)
    assert verdict.load_report(tmp_path / "verdict.json")[1] is True, "its rows say otherwise"
    unjudged = given_(CheckResult("C1-a", "NOT-RUN", note="probes are off"))
    io.write_json(tmp_path / "verdict.json", unjudged.to_dict())
    assert verdict.load_report(tmp_path / "verdict.json")[1] is True


@pytest.mark.parametrize(
    "harm",
    [
        {"checks": None},
        {"checks": {}},
        {"checks": [3]},
        {"checks": [{"check": "C1-a"}]},
        {"track": 3},
        {"method": None},
        {"artifact": None},
        {"verdict": []},
    ],
)
def test_a_verdict_of_another_form_is_refused(tmp_path, harm):
    io.write_json(tmp_path / "verdict.json", given_().to_dict() | harm)
    with pytest.raises(ArtifactError, match=r"verdict\.json: is no verdict"):
        verdict.load_report(tmp_path / "verdict.json")


def test_nobody_needs_to_say_that_documents_are_independent():
    assert given_(CheckResult("C1-c", "NOT-RUN", note="not said")).summary.startswith("record-eligible")


def test_the_tree_says_what_was_judged_and_where_the_probes_looked_follows_from():
    tree = given_().to_dict()
    assert (tree["probe_seed"], tree["method"], tree["artifact"]) == ("ab", "own:Method", "0123456789abcdef")
