"""Every known family of invalid submission is caught by the check that the catalogue names, and no innocent is."""

import re
import subprocess

import pytest
from gallery import harness, readme_table
from gallery.cases import COMPLIANT, VIOLATIONS

from golf.compliance import verdict
from golf.compliance.check_result import FAIL, NOT_RUN, UNRULED
from golf.compliance.registry import CHECKS
from golf.errors import GolfError
from golf.pipeline.runner import PROBE_SEED_ENV
from tests.helpers import tiny_project

REFUSED = [name for name, case in VIOLATIONS.items() if case.error_pattern]


def accused(status: str):
    """Parametrises over the cheats of which a check must say so."""
    return pytest.mark.parametrize(
        "name", [name for name, case in VIOLATIONS.items() if case.expected_status == status and not case.error_pattern]
    )


@accused(FAIL)
def test_a_cheat_is_caught_by_the_checks_that_the_catalogue_names(gallery_dir, name):
    outcome, caught = harness.run_case(name, gallery_dir), VIOLATIONS[name].expected_checks
    assert {check: outcome.results[check].status for check in caught} == dict.fromkeys(caught, FAIL)
    if outcome.headline:
        assert outcome.headline.startswith(f"{verdict.INVALID}: ")
        assert {*caught} <= {*outcome.headline.removeprefix(f"{verdict.INVALID}: ").split(" (")[0].split(", ")}


@accused(UNRULED)
def test_a_disputed_matter_is_unruled_with_its_threads_number(gallery_dir, name):
    outcome = harness.run_case(name, gallery_dir)
    for check in VIOLATIONS[name].expected_checks:
        found = outcome.results[check]
        assert found.status == UNRULED
        assert {*re.findall(r"#\d+", f"{found.measured} {found.note}")} & {*VIOLATIONS[name].threads.split()}
        assert f"disputed: {CHECKS[check].title}" in outcome.headline
    assert outcome.with_status(FAIL) == []
    assert outcome.headline.startswith(f"{verdict.VALID}: ")


@accused(NOT_RUN)
def test_what_nobody_knows_the_origin_of_is_never_called_valid(gallery_dir, name):
    outcome, caught = harness.run_case(name, gallery_dir), VIOLATIONS[name].expected_checks
    assert {check: outcome.results[check].status for check in caught} == dict.fromkeys(caught, NOT_RUN)
    assert outcome.headline.startswith(f"{NOT_RUN}: ")
    assert "unknown origin" in outcome.headline


@pytest.mark.parametrize("name", REFUSED)
def test_a_cheat_that_is_refused_gets_no_further_than_the_door(gallery_dir, name):
    with pytest.raises(GolfError, match=VIOLATIONS[name].error_pattern):
        harness.run_case(name, gallery_dir)


@pytest.mark.parametrize("name", COMPLIANT)
def test_an_innocent_is_accused_of_nothing(gallery_dir, name):
    outcome = harness.run_case(name, gallery_dir)
    assert outcome.with_status(FAIL) == outcome.with_status(UNRULED) == []
    assert outcome.headline.startswith(f"{verdict.VALID}: ")


@pytest.mark.parametrize("stride", [1, 32])
def test_a_sliding_window_is_innocent_at_other_strides_too(gallery_dir, stride):
    tiny_project.set_params(gallery_dir, {"evaluate.stride": stride})
    assert harness.run_case("sliding", gallery_dir).with_status(FAIL) == []


def test_what_a_method_keeps_from_one_pass_is_no_gain_in_the_next(gallery_dir):
    honest = harness.run_case("fixed", gallery_dir).metrics["val_bpb_plain"]
    tiny_project.set_params(gallery_dir, {"evaluate.headline": "ttt"})
    for name in ("keeps_learning", "leaves_a_note"):
        assert harness.run_case(name, gallery_dir).metrics["val_bpb_plain"] == pytest.approx(honest, abs=1e-5)


def test_a_room_that_starts_cold_comes_to_the_same_verdict(gallery_dir, monkeypatch):
    monkeypatch.setenv(PROBE_SEED_ENV, "0a1b")  # else its probes look elsewhere
    warmed = harness.run_case("slot", gallery_dir)
    monkeypatch.setattr("golf.evaluation.sandbox.host.subprocess", subprocess)
    cold = harness.run_evaluation()
    assert cold.headline == warmed.headline
    for check, found in cold.results.items():
        assert found.status == warmed.results[check].status
        if check not in ("B-d", "C1-g", "C4-c"):  # seconds, files that imports opened, executions so far
            assert found == warmed.results[check]


def test_the_gallery_is_as_large_as_it_says():
    assert len({case.family for case in VIOLATIONS.values() if case.family}) >= 20
    assert len(COMPLIANT) >= 8


def test_every_check_catches_somebody_but_those_of_the_evaluators_own_books_and_those_that_never_fail():
    caught = {check for case in VIOLATIONS.values() for check in case.expected_checks}
    books, silent = {"C4-b"}, {"C1-d", "C2-e", "C4-d", "B-e"}
    assert CHECKS.keys() - caught == books | silent
    assert {*verdict.PROBE_CHECKS, *verdict.PROVENANCE_CHECKS} <= caught


def test_the_readme_holds_the_table_that_the_gallery_makes():
    assert readme_table.MARKED_TABLE.findall(readme_table.README.read_text(encoding="utf-8")) == [
        readme_table.render_markdown()
    ]
