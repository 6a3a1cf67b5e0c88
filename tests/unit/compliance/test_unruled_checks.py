from types import SimpleNamespace

import pytest

from golf.compliance.catalog import CHECKS


def run_checks(ttt_epochs=0, prequant_val_epochs=0, disputed=()) -> dict:
    session = SimpleNamespace(info={"disputed": list(disputed)})
    run = SimpleNamespace(session=session)
    context = SimpleNamespace(ttt_epochs=ttt_epochs, prequant_val_epochs=prequant_val_epochs, run=run)
    return {check_id: CHECKS[check_id].run(context) for check_id in ("C1-d", "C2-e", "U-a", "U-b")}


def test_reading_code_is_left_to_people_and_the_check_that_runs_instead_is_named():
    results = run_checks()
    assert (results["C1-d"].status, results["C2-e"].status) == ("NOT-RUN", "NOT-RUN")
    assert "C1-a" in results["C1-d"].note
    assert "C2-a" in results["C2-e"].note


@pytest.mark.parametrize(
    ("ttt_epochs", "prequant_epochs", "status", "measured"),
    [
        (0, 0, "PASS", "0 epochs"),
        (1, 0, "PASS", "1 epoch"),
        (3, 0, "UNRULED", "3 epochs"),
        (1, 6, "UNRULED", "1 epoch, and 6 of prequant on val before"),
    ],
)
def test_several_epochs_on_scored_chunks_are_unruled(ttt_epochs, prequant_epochs, status, measured):
    result = run_checks(ttt_epochs, prequant_epochs)["U-a"]
    assert (result.status, result.measured) == (status, measured)
    assert ("#1698" in result.note) == (status == "UNRULED")


def test_what_a_predictor_calls_disputed_is_unruled_with_its_thread():
    result = run_checks(disputed=["causal SLOT", "my own"])["U-b"]
    assert result.status == "UNRULED"
    assert result.measured == "causal SLOT (#1336), my own (no thread known)"
    assert run_checks()["U-b"].status == "PASS"
