"""Every known family of invalid submission is caught by the check that the catalogue names, and no innocent is."""

import re
import subprocess

import pytest
import thimble as project
from gallery import bench, table
from gallery.cases import CHEATS, INNOCENTS

from golf.ground.errors import GolfError
from golf.ground.stage import SECRET
from golf.rules import verdict
from golf.rules.catalogue import RULES
from golf.rules.finding import FAIL, NOT_RUN, UNRULED

REFUSED = [name for name, case in CHEATS.items() if case.refused]


def accused(status: str):
    """Parametrises over the cheats of which a check must say so."""
    return pytest.mark.parametrize(
        "name", [name for name, case in CHEATS.items() if case.status == status and not case.refused]
    )


@accused(FAIL)
def test_a_cheat_is_caught_by_the_checks_that_the_catalogue_names(dock, name):
    outcome, caught = bench.try_case(name, dock), CHEATS[name].caught
    assert {check: outcome.findings[check].status for check in caught} == dict.fromkeys(caught, FAIL)
    if outcome.headline:
        assert outcome.headline.startswith(f"{verdict.INVALID}: ")
        assert {*caught} <= {*outcome.headline.removeprefix(f"{verdict.INVALID}: ").split(" (")[0].split(", ")}


@accused(UNRULED)
def test_a_disputed_matter_is_unruled_with_its_threads_number(dock, name):
    outcome = bench.try_case(name, dock)
    for check in CHEATS[name].caught:
        found = outcome.findings[check]
        assert found.status == UNRULED
        assert {*re.findall(r"#\d+", f"{found.measured} {found.note}")} & {*CHEATS[name].threads.split()}
        assert f"disputed: {RULES[check].title}" in outcome.headline
    assert outcome.with_status(FAIL) == []
    assert outcome.headline.startswith(f"{verdict.VALID}: ")


@accused(NOT_RUN)
def test_what_nobody_knows_the_origin_of_is_never_called_valid(dock, name):
    outcome, caught = bench.try_case(name, dock), CHEATS[name].caught
    assert {check: outcome.findings[check].status for check in caught} == dict.fromkeys(caught, NOT_RUN)
    assert outcome.headline.startswith(f"{NOT_RUN}: ")
    assert "unknown origin" in outcome.headline


@pytest.mark.parametrize("name", REFUSED)
def test_a_cheat_that_is_refused_gets_no_further_than_the_door(dock, name):
    with pytest.raises(GolfError, match=CHEATS[name].refused):
        bench.try_case(name, dock)


@pytest.mark.parametrize("name", INNOCENTS)
def test_an_innocent_is_accused_of_nothing(dock, name):
    outcome = bench.try_case(name, dock)
    assert outcome.with_status(FAIL) == outcome.with_status(UNRULED) == []
    assert outcome.headline.startswith(f"{verdict.VALID}: ")


@pytest.mark.parametrize("stride", [1, 32])
def test_a_sliding_window_is_innocent_at_other_strides_too(dock, stride):
    project.turn(dock, {"evaluate.stride": stride})
    assert bench.try_case("sliding", dock).with_status(FAIL) == []


def test_what_a_method_keeps_from_one_pass_is_no_gain_in_the_next(dock):
    honest = bench.try_case("fixed", dock).figures["val_bpb_plain"]
    project.turn(dock, {"evaluate.headline": "ttt"})
    for name in ("keeps_learning", "leaves_a_note"):
        assert bench.try_case(name, dock).figures["val_bpb_plain"] == pytest.approx(honest, abs=1e-5)


def test_a_room_that_starts_cold_comes_to_the_same_verdict(dock, monkeypatch):
    monkeypatch.setenv(SECRET, "0a1b")  # else its probes look elsewhere
    warmed = bench.try_case("slot", dock)
    monkeypatch.setattr("golf.room.room.subprocess", subprocess)
    cold = bench.evaluate()
    assert cold.headline == warmed.headline
    for check, found in cold.findings.items():
        assert found.status == warmed.findings[check].status
        if check not in ("B-d", "C1-g", "C4-c"):  # seconds, files that imports opened, executions so far
            assert found == warmed.findings[check]


def test_the_gallery_is_as_large_as_it_says():
    assert len({case.family for case in CHEATS.values() if case.family}) >= 20
    assert len(INNOCENTS) >= 8


def test_every_check_catches_somebody_but_those_of_the_evaluators_own_books_and_those_that_never_fail():
    caught = {check for case in CHEATS.values() for check in case.caught}
    books, silent = {"C4-b"}, {"C1-d", "C2-e", "C4-d", "B-e"}
    assert RULES.keys() - caught == books | silent
    assert {*verdict.PROBES, *verdict.PROVENANCE} <= caught


def test_the_readme_holds_the_table_that_the_gallery_makes():
    assert table.MARKED.findall(table.README.read_text(encoding="utf-8")) == [table.markdown()]
