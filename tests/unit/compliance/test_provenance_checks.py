"""golf/compliance/provenance_checks.py: every status of every check"""

from types import SimpleNamespace

import pytest

from golf.compliance.catalog import CHECKS
from golf.compliance.context import ArtifactSize, EvaluationContext
from golf.compliance.provenance import Origin, TrainingTime
from golf.data.split_reader import sha256_texts
from golf.evaluation.fence.restrictions import FenceRecord

CLEAN = Origin(("train",), seeds=(1, 42))
LEAKED = Origin(
    ("train", "val"), path_from_val=("artifacts/fetch/val", "ttt/model.safetensors", "model.golf"), seeds=(1,)
)
UNKNOWN = Origin(("unknown",))
PLAN = Origin(("train", "dev"))
PLAN_ON_VAL = Origin(("train", "val"), path_from_val=("artifacts/fetch/val", "plan.json"))
SXM = "8 × NVIDIA H100 80GB HBM3"


def check_origins(origin: Origin, plan_origin: Origin | None = PLAN) -> dict:
    context = SimpleNamespace(artifact=SimpleNamespace(origin=origin), plan_origin=plan_origin)
    return {check_id: CHECKS[check_id].run(context) for check_id in ("C1-e", "C3-f", "C4-d")}


@pytest.mark.parametrize(
    ("origin", "plan_origin", "statuses"),
    [
        (CLEAN, PLAN, ("PASS", "PASS", "PASS")),
        (CLEAN, None, ("PASS", "PASS", "PASS")),
        (LEAKED, PLAN, ("FAIL", "FAIL", "PASS")),
        (CLEAN, PLAN_ON_VAL, ("FAIL", "PASS", "PASS")),
        (LEAKED, PLAN_ON_VAL, ("FAIL", "FAIL", "PASS")),
        (UNKNOWN, PLAN, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        (UNKNOWN, PLAN_ON_VAL, ("FAIL", "NOT-RUN", "NOT-RUN")),
        (CLEAN, UNKNOWN, ("NOT-RUN", "PASS", "PASS")),
        (Origin(("train", "unknown"), seeds=(1,)), PLAN, ("NOT-RUN", "NOT-RUN", "PASS")),
        (Origin(("train",), seeds=(1,), underreported=("a/model.safetensors",)), PLAN, ("PASS", "FAIL", "PASS")),
    ],
)
def test_the_origins_of_artifact_and_plan_decide_three_checks(origin, plan_origin, statuses):
    results = check_origins(origin, plan_origin)
    assert tuple(result.status for result in results.values()) == statuses


def test_a_failure_names_the_conditions_and_the_path_from_val():
    results = check_origins(LEAKED)
    assert "C1 and C3" in results["C3-f"].note
    for check_id in ("C1-e", "C3-f"):
        assert results[check_id].note.endswith("artifacts/fetch/val -> ttt/model.safetensors -> model.golf")
    assert results["C3-f"].measured == "upstream splits: train, val"
    plan_note = check_origins(CLEAN, PLAN_ON_VAL)["C1-e"].note
    assert plan_note.endswith("tried on val; artifacts/fetch/val -> plan.json")


def test_an_unknown_origin_is_noted():
    results = check_origins(UNKNOWN)
    assert results["C3-f"].note == results["C1-e"].note == "the file has no lineage record, so its origin is unknown"
    assert results["C4-d"].note == "the artifact's lineage names no seed"


def test_lineage_that_leaves_out_a_split_names_the_file():
    result = check_origins(Origin(("train",), underreported=("a/model.safetensors",)))["C3-f"]
    assert (result.measured, result.note) == ("a/model.safetensors", "lineage leaves out a split")


def listed(*texts: str) -> dict:
    return {"documents": rows(*texts)}


def rows(*texts: str) -> list[dict]:
    return [{"text_sha256": text} for text in texts]


def summarized(**disjoint_from: str) -> dict:
    return {"documents": [], "summarized": {"documents": 1_000, "disjoint_from": disjoint_from}}


def check_disjoint(train_index: dict, dev_index: dict, val_documents: list[dict]):
    val = SimpleNamespace(documents=val_documents)
    val_data = SimpleNamespace(train_index=train_index, dev_index=dev_index, val=val)
    return CHECKS["C1-f"].run(SimpleNamespace(val_data=val_data))


def test_documents_in_both_splits_are_counted():
    train, dev = listed("a", "b"), listed("d")
    assert check_disjoint(train, dev, rows("c")).status == "PASS"
    result = check_disjoint(train, dev, rows("b", "c"))
    assert (result.status, result.measured) == (
        "FAIL",
        "1 with train, 0 with dev of 2, 1 and 2; val's bytes in train: NOT-RUN",
    )
    assert result.note == "documents of val are in train too (#2127)"


def test_the_share_of_val_that_stands_in_train_is_stated_and_no_reason_to_fail():
    val = [{"text_sha256": "b", "bytes": 300, "covered": [[0, 64], [100, 200]]}]
    val.append({"text_sha256": "c", "bytes": 100, "covered": []})
    result = check_disjoint(listed("a"), listed("d"), val)
    assert (result.status, result.measured) == (
        "PASS",
        "0 with train, 0 with dev of 1, 1 and 2; val's bytes in train: 41.00%",
    )


def test_a_document_shared_with_dev_fails_as_dev_shapes_the_artifact_too():
    result = check_disjoint(listed("a"), listed("c"), rows("b", "c"))
    assert (result.status, result.note) == ("FAIL", "documents of val are in dev too (#2127)")


def test_a_train_split_without_listed_documents_is_disjoint_from_the_val_of_fetch():
    val = rows("b", "c")
    compared = summarized(val=sha256_texts(val))
    result = check_disjoint(compared, listed("d"), val)
    assert (result.status, result.measured) == (
        "PASS",
        "0 with train, 0 with dev of 1,000, 1 and 2 (train as fetch found); val's bytes in train: NOT-RUN",
    )
    assert check_disjoint(compared, listed("c"), val).status == "FAIL"
    for other in (summarized(val=sha256_texts(val[:1])), summarized()):
        result = check_disjoint(other, listed("d"), val)
        assert (result.status, result.measured) == ("NOT-RUN", "")
        assert "fetch did not compare" in result.note


WHOLE_FENCE = FenceRecord(("Landlock (ABI 7)", "seccomp"), ())


def check_accesses(*accesses: dict) -> dict:
    """Results for sessions whose access reports differ from an empty one by ``accesses``."""
    empty = {"files": [], "sockets": [], "commands": [], "opened": 4, "fence": WHOLE_FENCE}
    run = SimpleNamespace(access_reports=[empty | each for each in accesses])
    sandbox = SimpleNamespace(sources=["a.py"])
    context = EvaluationContext(None, None, None, run, sandbox, None, 0, 0, None, "", "")
    return {check_id: CHECKS[check_id].run(context) for check_id in ("C1-g", "B-b")}


@pytest.mark.parametrize(
    ("accesses", "statuses"),
    [
        ({}, ["PASS", "PASS"]),
        ({"files": ["/val.bin"]}, ["FAIL", "FAIL"]),
        ({"sockets": ["example.org"]}, ["FAIL", "PASS"]),
        ({"commands": ["curl"]}, ["FAIL", "PASS"]),
    ],
)
def test_accesses_outside_the_sandbox_fail(accesses, statuses):
    results = check_accesses({}, accesses)
    assert [result.status for result in results.values()] == statuses
    for entries in accesses.values():
        assert entries[0] in results["C1-g"].note


def test_without_a_restriction_the_accesses_are_not_run_and_with_all_they_name_them():
    for result in check_accesses({}).values():
        assert (result.status, result.note) == ("PASS", "held by Landlock (ABI 7), seccomp")
    half = FenceRecord(("Landlock (ABI 7)",), ("no seccomp (refused)",))
    for result in check_accesses({}, {"fence": half}).values():
        assert result.status == "NOT-RUN"
        assert result.note == "held by Landlock (ABI 7), but no seccomp (refused)"
    results = check_accesses({"fence": half, "files": ["/val.bin"]})
    assert [result.status for result in results.values()] == ["FAIL", "FAIL"]


def test_a_file_that_two_processes_opened_is_counted_once():
    results = check_accesses({"files": ["/a"]}, {"files": ["/a", "/b"]})
    assert results["C1-g"].measured == "2 files, 0 sockets, 0 commands of 8"


@pytest.mark.parametrize(
    ("payload_bytes", "status", "note"),
    [
        (15_000_000, "PASS", ""),
        (15_989_000, "PASS", ""),
        (15_990_001, "PASS", "under 10,000 bytes of headroom (#1978)"),
        (15_999_000, "PASS", "under 10,000 bytes of headroom (#1978)"),
        (15_999_001, "FAIL", "1 bytes over; the limit is decimal (#1698)"),
    ],
)
def test_code_and_artifact_together_are_compared_with_the_limit(payload_bytes, status, note):
    result = CHECKS["B-a"].run(SimpleNamespace(size=ArtifactSize(payload_bytes, 1000, 16_000_000, "bundle")))
    assert (result.status, result.note) == (status, note)
    assert result.measured == f"{payload_bytes + 1000:,} bytes with the bundle"


def check_time(train_s=599.0, train_limit=600.0, train_on=SXM, eval_s=500.0, eval_on=SXM, measured_here=True) -> dict:
    training_time = TrainingTime(train_s, train_limit, train_on) if measured_here else None
    context = SimpleNamespace(
        artifact=SimpleNamespace(training_time=training_time),
        metrics={"eval_seconds": eval_s},
        cfg=SimpleNamespace(limit_s=600.0),
        hardware=eval_on,
    )
    return {check_id: CHECKS[check_id].run(context) for check_id in ("B-c", "B-d", "B-e")}


@pytest.mark.parametrize(
    ("changed", "statuses"),
    [
        ({}, ("PASS", "PASS", "PASS")),
        ({"train_s": 600.1}, ("FAIL", "PASS", "PASS")),
        ({"eval_s": 600.1}, ("PASS", "FAIL", "PASS")),
        ({"train_limit": None}, ("NOT-RUN", "PASS", "PASS")),
        ({"eval_on": "1 × NVIDIA H200"}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        ({"train_on": "8 × NVIDIA H100 PCIe"}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        ({"train_on": "18 × NVIDIA H100 80GB HBM3"}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
        ({"eval_on": "2 × CPU core (x86_64)", "eval_s": 601.0}, ("NOT-RUN", "FAIL", "NOT-RUN")),
        ({"measured_here": False}, ("NOT-RUN", "NOT-RUN", "NOT-RUN")),
    ],
)
def test_seconds_within_limits_pass_on_the_contests_machine_alone(changed, statuses):
    assert tuple(result.status for result in check_time(**changed).values()) == statuses


def test_training_that_was_not_measured_here_is_noted():
    results = check_time(measured_here=False)
    assert results["B-c"].note == "the artifact's training was not measured here"
    assert results["B-e"].measured == SXM


def test_two_machines_are_both_named():
    assert check_time(eval_on="1 × NVIDIA H200")["B-e"].measured == f"{SXM}; evaluated on 1 × NVIDIA H200"
