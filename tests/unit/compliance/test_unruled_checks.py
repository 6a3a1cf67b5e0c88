import pytest

from golf.compliance import unruled_checks


def found(epochs=0, declared=()) -> dict:
    return {each.check: each for each in unruled_checks.check_unruled(epochs, list(declared))}


def test_reading_code_is_left_to_people_and_the_probe_that_runs_instead_is_named():
    assert (found()["C1-d"].status, found()["C2-e"].status) == ("NOT-RUN", "NOT-RUN")
    assert "C1-b" in found()["C1-d"].note
    assert "C2-d" in found()["C2-e"].note


@pytest.mark.parametrize(("epochs", "status", "measured"), [(0, "PASS", "0 epochs"), (1, "PASS", "1 epoch")])
def test_one_epoch_on_a_scored_chunk_is_no_matter_of_dispute(epochs, status, measured):
    assert (found(epochs)["U-a"].status, found(epochs)["U-a"].measured) == (status, measured)


def test_several_epochs_on_scored_chunks_are_unruled_with_the_threads():
    row = found(3)["U-a"]
    assert (row.status, row.measured) == ("UNRULED", "3 epochs")
    assert "#1698" in row.note


def test_epochs_of_prequant_on_val_count_too():
    row = {each.check: each for each in unruled_checks.check_unruled(1, [], prequant_epochs=6)}["U-a"]
    assert (row.status, row.measured) == ("UNRULED", "1 epoch, and 6 of prequant on val before")


def test_what_a_method_calls_disputed_is_unruled_with_its_thread():
    row = found(declared=["causal SLOT", "my own"])["U-b"]
    assert row.status == "UNRULED"
    assert row.measured == "causal SLOT (#1336), my own (no thread known)"
    assert found()["U-b"].status == "PASS"
