"""Each known family of invalid submission is reported by the check that its case names, and no compliant one is."""

import re

import pytest
from gallery import harness
from gallery.cases import COMPLIANT, VIOLATIONS, choose_representatives

from golf.compliance import verdict
from golf.compliance.catalog import CHECKS
from golf.compliance.check_result import FAIL, NOT_RUN, UNRULED
from golf.distributed.launcher import PROBE_SEED_ENV
from golf.errors import GolfError
from tests.helpers import tiny_project

REPRESENTATIVES = {*choose_representatives(), "golf_predictor"}
NEVER_FAIL = {"C1-d", "C2-e", "C4-d", "B-e"}
N_RUNS = 20  # with places of the proof, and a forged chunk, that are drawn again
CHECKS_OF_EVALUATOR = {"C4-b"}  # of the evaluator's own records, which no submission writes


def parametrize(names):
    """Parametrize over cases. make test runs the representatives, make test-all all of them."""
    params = [pytest.param(name, marks=[] if name in REPRESENTATIVES else pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("name", params)


def violations_with(status: str) -> list[str]:
    return [name for name, case in VIOLATIONS.items() if case.expected_status == status and not case.error_pattern]


@parametrize(violations_with(FAIL))
def test_violation_fails_the_expected_checks(gallery_dir, name):
    outcome, expected = harness.run_case(name, gallery_dir), VIOLATIONS[name].expected_checks
    assert {check: outcome.results[check].status for check in expected} == dict.fromkeys(expected, FAIL)
    if outcome.headline:
        assert outcome.headline.startswith(f"{verdict.INVALID}: ")
        assert {*expected} <= {*outcome.headline.removeprefix(f"{verdict.INVALID}: ").split(" (")[0].split(", ")}


@parametrize(violations_with(UNRULED))
def test_disputed_technique_is_unruled_with_the_number_of_its_thread(gallery_dir, name):
    outcome = harness.run_case(name, gallery_dir)
    for check in VIOLATIONS[name].expected_checks:
        result = outcome.results[check]
        assert result.status == UNRULED
        assert {*re.findall(r"#\d+", f"{result.measured} {result.note}")} & {*VIOLATIONS[name].threads.split()}
        assert f"disputed: {CHECKS[check].title}" in outcome.headline
    assert outcome.with_status(FAIL) == []
    assert outcome.headline.startswith(f"{verdict.VALID}: ")


@parametrize(violations_with(NOT_RUN))
def test_artifact_of_unknown_origin_is_never_called_valid(gallery_dir, name):
    outcome, expected = harness.run_case(name, gallery_dir), VIOLATIONS[name].expected_checks
    assert {check: outcome.results[check].status for check in expected} == dict.fromkeys(expected, NOT_RUN)
    assert not outcome.headline.startswith((verdict.VALID, verdict.RECORD_ELIGIBLE))
    assert all(check in outcome.headline for check in expected)


@parametrize(name for name, case in VIOLATIONS.items() if case.error_pattern)
def test_violation_is_refused_before_it_is_scored(gallery_dir, name):
    with pytest.raises(GolfError, match=VIOLATIONS[name].error_pattern):
        harness.run_case(name, gallery_dir)


@parametrize(COMPLIANT)
def test_compliant_predictor_is_not_reported(gallery_dir, name):
    outcome = harness.run_case(name, gallery_dir)
    assert outcome.with_status(FAIL) == outcome.with_status(UNRULED) == []
    assert outcome.headline.startswith(f"{verdict.VALID}: ")


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 32])
def test_sliding_window_is_not_reported_at_other_strides(gallery_dir, stride):
    tiny_project.set_params(gallery_dir, {"evaluate.stride": stride})
    assert harness.run_case("sliding_window", gallery_dir).with_status(FAIL) == []


@pytest.mark.slow
def test_state_that_a_predictor_keeps_from_one_pass_gains_nothing_in_the_next(gallery_dir):
    expected = harness.run_case("fixed_predictor", gallery_dir).metrics["val_bpb_plain"]
    tiny_project.set_params(gallery_dir, {"evaluate.headline": "ttt"})
    for name in ("state_kept_between_passes", "val_file_between_passes", "compiler_cache_as_memory"):
        assert harness.run_case(name, gallery_dir).metrics["val_bpb_plain"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["every_way_to_val", "reads_val_file", "val_copy_between_evaluations"])
def test_what_the_fence_refuses_gains_nothing(gallery_dir, name):
    expected = harness.run_case("fixed_predictor", gallery_dir).metrics["val_bpb_plain"]
    for _ in range(2):
        assert harness.run_case(name, gallery_dir).metrics["val_bpb_plain"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_sandbox_that_starts_cold_gives_the_same_verdict(gallery_dir, monkeypatch, request):
    monkeypatch.setenv(PROBE_SEED_ENV, "0a1b")  # so that both prove the same places
    warm = harness.run_case("slot", gallery_dir)
    request.getfixturevalue("cold_start")
    cold = harness.run_evaluation()
    assert cold.headline == warm.headline
    for check, result in cold.results.items():
        assert result.status == warm.results[check].status
        if check not in ("B-d", "C1-g", "C4-c"):  # seconds, files that imports opened, evaluations so far
            assert result == warm.results[check]


@pytest.mark.soak
@pytest.mark.parametrize("name", ["memo_in_default_argument", "one_forged_chunk"])
def test_violation_that_a_few_places_could_miss_fails_in_every_run(gallery_dir, name):
    expected = {*VIOLATIONS[name].expected_checks}
    runs = [harness.run_case(name, gallery_dir) for _ in range(N_RUNS)]
    missed = [outcome.headline for outcome in runs if not expected <= {row.check for row in outcome.with_status(FAIL)}]
    assert missed == []


@pytest.mark.soak
@pytest.mark.parametrize("name", COMPLIANT)
def test_compliant_predictor_is_reported_in_no_run(gallery_dir, name):
    runs = [harness.run_case(name, gallery_dir) for _ in range(N_RUNS)]
    assert [row for outcome in runs for row in (*outcome.with_status(FAIL), *outcome.with_status(UNRULED))] == []
    assert all(outcome.headline.startswith(f"{verdict.VALID}: ") for outcome in runs)


def test_gallery_covers_the_families_and_the_checks():
    assert len({case.family for case in VIOLATIONS.values() if case.family}) >= 20
    assert len(COMPLIANT) >= 8
    shown = {check for case in VIOLATIONS.values() for check in case.expected_checks}
    assert CHECKS.keys() - shown == CHECKS_OF_EVALUATOR | NEVER_FAIL
    assert {check_id for check_id, spec in CHECKS.items() if spec.essential} <= shown
