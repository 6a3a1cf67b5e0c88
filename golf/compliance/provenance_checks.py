"""Checks on where the artifact and the plan come from, what was opened while it was scored, and its budgets."""

from dataclasses import dataclass

from golf.artifacts.lineage import UNKNOWN_SPLIT
from golf.compliance.check_result import FAIL, NOT_RUN, CheckResult, pass_or_fail
from golf.compliance.context import Origin, TrainingTime
from golf.data import split_reader

_CONTEST_GPUS = "8 × NVIDIA H100"  # SXM: the memory that nvidia-smi names is 80GB HBM3
_SXM_MEMORY = "HBM3"
_ACCESS_KINDS = ("files", "sockets", "commands")  # of what a Watch reports
UNKNOWN_ORIGIN_NOTE = "of unknown origin: without lineage nobody can say what it was made from"
_VAL_BEFORE_SCORE_NOTE = "C1 and C3: val text is learned from before it is scored (#1376, #1485, #1735)"


def check_upstream(artifact_origin: Origin, plan_origin: Origin | None) -> list[CheckResult]:
    """C1-e, C3-f, C4-d: val behind the artifact or behind the plan, understated lineage, seeds. plan: None where the
    headline follows none.
    """
    val_path = " -> ".join(artifact_origin.path_from_val)
    if "val" in artifact_origin.splits:
        upstream = CheckResult(
            "C3-f", FAIL, f"saw {', '.join(artifact_origin.splits)}", "no val", f"{_VAL_BEFORE_SCORE_NOTE}; {val_path}"
        )
    elif artifact_origin.underreported:
        upstream = CheckResult(
            "C3-f", FAIL, artifact_origin.underreported[0], "its inputs' splits", "lineage leaves out a split"
        )
    elif UNKNOWN_SPLIT in artifact_origin.splits:
        upstream = CheckResult("C3-f", NOT_RUN, note=UNKNOWN_ORIGIN_NOTE)
    else:
        upstream = pass_or_fail("C3-f", True, f"saw {', '.join(artifact_origin.splits)}", "no val")
    return [_check_val_unseen(artifact_origin, plan_origin), upstream, _check_seeds(artifact_origin)]


def _check_val_unseen(artifact_origin: Origin, plan_origin: Origin | None) -> CheckResult:
    plan_splits = plan_origin.splits if plan_origin else ()
    measured = f"artifact {', '.join(artifact_origin.splits)}" + (
        f"; plan {', '.join(plan_splits)}" if plan_origin else ""
    )
    if "val" in artifact_origin.splits:
        return CheckResult(
            "C1-e", FAIL, measured, "no val", f"val reached the artifact: {' -> '.join(artifact_origin.path_from_val)}"
        )
    if "val" in plan_splits:
        return CheckResult(
            "C1-e", FAIL, measured, "no val", f"the plan was tried on val; {' -> '.join(plan_origin.path_from_val)}"
        )
    if UNKNOWN_SPLIT in (*artifact_origin.splits, *plan_splits):
        return CheckResult("C1-e", NOT_RUN, measured, "no val", UNKNOWN_ORIGIN_NOTE)
    return pass_or_fail("C1-e", True, measured, "no val")


def _check_seeds(artifact_origin: Origin) -> CheckResult:
    if not artifact_origin.seeds:
        return CheckResult("C4-d", NOT_RUN, note="the artifact's lineage names no seed")
    return pass_or_fail("C4-d", True, f"seeds {', '.join(map(str, artifact_origin.seeds))}", "in lineage")


def check_disjoint(train_index: dict, dev_index: dict, val_documents: list[dict]) -> CheckResult:
    """C1-f: documents of the splits' indexes, by the hash of their text as the normaliser leaves it (#2127). dev
    counts as train does: what is chosen on it shapes the artifact. Of a split that lists no documents, fetch compared
    the ids with val's and left out what it found; that holds for the val that it names.
    """
    val_texts, val_digest, shared_counts = (
        {row["text"] for row in val_documents},
        split_reader.sha256_texts(val_documents),
        {},
    )
    for name, index in (("train", train_index), ("dev", dev_index)):
        compared_with = index.get("unlisted", {"apart_from": {"val": val_digest}})["apart_from"].get("val")
        if compared_with != val_digest:
            note = f"{name} lists no documents, and fetch did not compare them with this val"
            return CheckResult("C1-f", NOT_RUN, note=note)
        shared_counts[name] = len(val_texts & {row["text"] for row in index["documents"]})
    counts_text = ", ".join(f"{count:,} with {name}" for name, count in shared_counts.items())
    fetch_note = " (train as fetch found)" if "unlisted" in train_index else ""
    measured = f"{counts_text} of {split_reader.count_documents(train_index):,}, {split_reader.count_documents(dev_index):,} and {len(val_documents):,}{fetch_note}"
    shared_splits = " and ".join(name for name, count in shared_counts.items() if count)
    return pass_or_fail(
        "C1-f", not shared_splits, measured, "0 shared", f"documents of val are in {shared_splits} too (#2127)"
    )


def check_sandbox(access_reports: list[dict], code_files: list[str]) -> list[CheckResult]:
    """C1-g and B-b: what the method's processes opened, reached and started, and what they were given at first."""
    outside_accesses = {kind: sorted({x for report in access_reports for x in report[kind]}) for kind in _ACCESS_KINDS}
    n_opened = sum(report["opened"] for report in access_reports)
    counts_text = ", ".join(f"{len(accesses)} {kind}" for kind, accesses in outside_accesses.items())
    examples = ", ".join([entry for found in outside_accesses.values() for entry in found][:3])
    access_result = pass_or_fail(
        "C1-g", not examples, f"{counts_text} of {n_opened}", "0", f"it went outside its room: {examples}"
    )
    measured = f"{len(code_files)} code files and the artifact, {len(access_reports)} processes"
    return [
        access_result,
        pass_or_fail(
            "B-b", not outside_accesses["files"], measured, "counted alone", "it needed files that are not counted"
        ),
    ]


@dataclass(frozen=True)
class ArtifactSize:
    """Bytes of what would ship, measured on the files themselves."""

    payload_bytes: int
    code_bytes: int
    limit_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.payload_bytes + self.code_bytes

    def check_limit(self) -> CheckResult:
        excess_note = f"{self.total_bytes - self.limit_bytes:,} bytes over; the limit is decimal (#1698)"
        result = pass_or_fail(
            "B-a",
            self.total_bytes <= self.limit_bytes,
            f"{self.total_bytes:,} bytes",
            f"{self.limit_bytes:,}",
            excess_note,
        )
        if result.status != FAIL and self.limit_bytes - self.total_bytes < 10_000:
            return CheckResult(
                "B-a", result.status, result.measured, result.limit, "under 10,000 bytes of headroom (#1978)"
            )
        return result


def check_time_and_hardware(
    training_time: TrainingTime | None, eval_s: float, eval_limit_s: float | None, eval_hardware: str
) -> list[CheckResult]:
    """B-c, B-d, B-e. Seconds on other hardware prove nothing of a record: NOT-RUN unless over their own limit."""
    on_contest_hardware = training_time is not None and all(
        _is_contest_hardware(name) for name in (training_time.hardware, eval_hardware)
    )
    if training_time is None:
        training_result = CheckResult("B-c", NOT_RUN, note="the artifact's training was not measured here")
    else:
        training_result = _check_time(
            "B-c", training_time.seconds, training_time.limit_s, training_time.hardware, on_contest_hardware
        )
    measured = (
        eval_hardware
        if training_time is None or training_time.hardware == eval_hardware
        else f"{training_time.hardware}; judged on {eval_hardware}"
    )
    hardware_result = pass_or_fail("B-e", on_contest_hardware, measured, "8×H100 SXM")
    if not on_contest_hardware:
        hardware_result = CheckResult("B-e", NOT_RUN, measured, "8×H100 SXM", "a proxy for the contest's machine")
    return [
        training_result,
        _check_time("B-d", eval_s, eval_limit_s, eval_hardware, on_contest_hardware),
        hardware_result,
    ]


def _is_contest_hardware(hardware: str) -> bool:
    """Whether this is the contest's machine, as ``golf.pipeline.runner.describe_hardware`` puts it."""
    return hardware.startswith(_CONTEST_GPUS) and _SXM_MEMORY in hardware


def _check_time(
    check_id: str, seconds: float, limit_s: float | None, hardware: str, on_contest_hardware: bool
) -> CheckResult:
    measured = f"{seconds:.1f} s"
    if limit_s is None:
        return CheckResult(check_id, NOT_RUN, measured, "none set", "a run without a limit of time is no record")
    if seconds > limit_s:
        return CheckResult(check_id, FAIL, measured, f"{limit_s:g} s", "over the limit that the run was given")
    if not on_contest_hardware:
        return CheckResult(
            check_id, NOT_RUN, measured, f"{limit_s:g} s", f"within its limit on {hardware}, no proof for 8×H100"
        )
    return pass_or_fail(check_id, True, measured, f"{limit_s:g} s")
