"""golf/compliance/provenance_checks.py: every status of every check"""

import pytest

from golf.compliance import provenance_checks
from golf.compliance.context import Origin, TrainingTime
from golf.compliance.provenance_checks import ArtifactSize
from golf.data.split_reader import sha256_texts

CLEAN = Origin(("train",), seeds=(1, 42))
LEAKED = Origin(
    ("train", "val"), path_from_val=("artifacts/fetch/val", "ttt/model.safetensors", "model.golf"), seeds=(1,)
)
STRANGE = Origin(("unknown",))
PLAN = Origin(("train", "dev"))
PLAN_ON_VAL = Origin(("train", "val"), path_from_val=("artifacts/fetch/val", "plan.json"))
SXM = "8 × NVIDIA H100 80GB HBM3"


def splits(artifact: Origin, plan=PLAN) -> dict:
    return {each.check: each for each in provenance_checks.check_upstream(artifact, plan)}


def statuses(found: dict) -> tuple:
    return tuple(found[check].status for check in ("C1-e", "C3-f", "C4-d"))


@pytest.mark.parametrize(
    ("artifact", "plan", "wanted"),
    [
        (CLEAN, PLAN, ("PASS", "PASS", "PASS")),
        (CLEAN, None, ("PASS", "PASS", "PASS")),
        (LEAKED, PLAN, ("FAIL", "FAIL", "PASS")),
        (CLEAN, PLAN_ON_VAL, ("FAIL", "PASS", "PASS")),
        (LEAKED, PLAN_ON_VAL, ("FAIL", "FAIL", "PASS")),
        (STRANGE, PLAN, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        (STRANGE, PLAN_ON_VAL, ("FAIL", "NOT-RUN", "NOT-RUN")),
        (CLEAN, STRANGE, ("NOT-RUN", "PASS", "PASS")),
        (Origin(("train", "unknown"), seeds=(1,)), PLAN, ("NOT-RUN", "NOT-RUN", "PASS")),
        (Origin(("train",), seeds=(1,), underreported=("a/model.safetensors",)), PLAN, ("PASS", "FAIL", "PASS")),
    ],
)
def test_where_an_artifact_and_its_plan_come_from_settles_three_checks(artifact, plan, wanted):
    assert statuses(splits(artifact, plan)) == wanted


def test_a_failure_names_the_conditions_and_the_path_by_which_val_came():
    found = splits(LEAKED)
    assert "C1 and C3" in found["C3-f"].note
    for check in ("C1-e", "C3-f"):
        assert found[check].note.endswith("artifacts/fetch/val -> ttt/model.safetensors -> model.golf")
    assert found["C3-f"].measured == "saw train, val"
    assert splits(CLEAN, PLAN_ON_VAL)["C1-e"].note.endswith("tried on val; artifacts/fetch/val -> plan.json")


def test_what_is_of_unknown_origin_says_so():
    assert splits(STRANGE)["C3-f"].note == splits(STRANGE)["C1-e"].note == provenance_checks.UNKNOWN_ORIGIN_NOTE
    assert splits(STRANGE)["C4-d"].note == "the artifact's lineage names no seed"


def test_lineage_that_leaves_out_a_split_names_the_file():
    found = splits(Origin(("train",), underreported=("a/model.safetensors",)))["C3-f"]
    assert (found.measured, found.note) == ("a/model.safetensors", "lineage leaves out a split")


def listed(*texts: str) -> dict:
    return {"documents": [{"text": text} for text in texts]}


def unlisted(**apart_from: str) -> dict:
    return {"documents": [], "unlisted": {"documents": 1_000, "apart_from": apart_from}}


def test_documents_in_both_splits_are_counted():
    train, dev = listed("a", "b"), listed("d")
    assert provenance_checks.check_disjoint(train, dev, [{"text": "c"}]).status == "PASS"
    found = provenance_checks.check_disjoint(train, dev, [{"text": "b"}, {"text": "c"}])
    assert (found.status, found.measured) == ("FAIL", "1 with train, 0 with dev of 2, 1 and 2")
    assert found.note == "documents of val are in train too (#2127)"


def test_a_document_of_val_that_dev_holds_is_caught_as_dev_shapes_the_artifact_too():
    found = provenance_checks.check_disjoint(listed("a"), listed("c"), [{"text": "b"}, {"text": "c"}])
    assert (found.status, found.note) == ("FAIL", "documents of val are in dev too (#2127)")


def test_a_train_split_that_lists_no_documents_is_taken_at_fetch_s_word_for_the_val_that_fetch_compared():
    val = [{"text": "b"}, {"text": "c"}]
    found = provenance_checks.check_disjoint(unlisted(val=sha256_texts(val)), listed("d"), val)
    assert (found.status, found.measured) == (
        "PASS",
        "0 with train, 0 with dev of 1,000, 1 and 2 (train as fetch found)",
    )
    assert provenance_checks.check_disjoint(unlisted(val=sha256_texts(val)), listed("c"), val).status == "FAIL"
    for other in (unlisted(val=sha256_texts(val[:1])), unlisted()):
        found = provenance_checks.check_disjoint(other, listed("d"), val)
        assert (found.status, found.measured) == ("NOT-RUN", "")
        assert "fetch did not compare" in found.note


def report(**noted) -> dict:
    return {"files": [], "sockets": [], "commands": [], "opened": 4} | noted


@pytest.mark.parametrize(
    ("noted", "outside", "clean"),
    [
        ({}, "PASS", "PASS"),
        ({"files": ["/val.bin"]}, "FAIL", "FAIL"),
        ({"sockets": ["example.org"]}, "FAIL", "PASS"),
        ({"commands": ["curl"]}, "FAIL", "PASS"),
    ],
)
def test_what_the_processes_opened_reached_and_started_is_judged(noted, outside, clean):
    found = provenance_checks.check_sandbox([report(), report(**noted)], ["a.py"])
    assert [(each.check, each.status) for each in found] == [("C1-g", outside), ("B-b", clean)]
    for value in noted.values():
        assert value[0] in found[0].note


def test_a_file_that_two_processes_opened_is_counted_once():
    found = provenance_checks.check_sandbox([report(files=["/a"]), report(files=["/a", "/b"])], [])
    assert found[0].measured == "2 files, 0 sockets, 0 commands of 8"


@pytest.mark.parametrize(
    ("payload", "status", "note"),
    [
        (15_000_000, "PASS", ""),
        (15_990_001, "PASS", "under 10,000 bytes of headroom (#1978)"),
        (15_999_000, "PASS", "under 10,000 bytes of headroom (#1978)"),
        (15_999_001, "FAIL", "1 bytes over; the limit is decimal (#1698)"),
    ],
)
def test_code_and_artifact_together_are_held_against_the_limit(payload, status, note):
    found = ArtifactSize(payload, 1000, 16_000_000).check_limit()
    assert (found.status, found.note) == (status, note)
    assert found.measured == f"{payload + 1000:,} bytes"


def budgets(train_s=599.0, train_limit=600.0, train_on=SXM, eval_s=500.0, eval_limit=600.0, eval_on=SXM) -> tuple:
    found = provenance_checks.check_time_and_hardware(
        TrainingTime(train_s, train_limit, train_on), eval_s, eval_limit, eval_on
    )
    assert [each.check for each in found] == ["B-c", "B-d", "B-e"]
    return tuple(each.status for each in found)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, ("PASS", "PASS", "PASS")),
        ({"train_s": 600.1}, ("FAIL", "PASS", "PASS")),
        ({"eval_s": 600.1}, ("PASS", "FAIL", "PASS")),
        ({"train_limit": None}, ("NOT-RUN", "PASS", "PASS")),
        ({"eval_on": "1 × NVIDIA H200"}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        ({"train_on": "8 × NVIDIA H100 PCIe"}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        ({"train_on": "18 × NVIDIA H100 80GB HBM3"}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        ({"eval_on": "2 × CPU core (x86_64)", "eval_s": 601.0}, ("NOT-RUN", "FAIL", "NOT-RUN")),
    ],
)
def test_seconds_prove_something_on_the_contest_s_machine_alone(how, wanted):
    assert budgets(**how) == wanted


def test_training_that_was_not_measured_here_is_not_run():
    training, evaluation, machine = provenance_checks.check_time_and_hardware(None, 1.0, 600.0, SXM)
    assert [training.status, evaluation.status, machine.status] == ["NOT-RUN"] * 3
    assert training.note == "the artifact's training was not measured here"
    assert machine.measured == SXM


def test_two_machines_are_both_named():
    _, _, machine = provenance_checks.check_time_and_hardware(
        TrainingTime(1.0, 600.0, SXM), 1.0, 600.0, "1 × NVIDIA H200"
    )
    assert machine.measured == f"{SXM}; judged on 1 × NVIDIA H200"
