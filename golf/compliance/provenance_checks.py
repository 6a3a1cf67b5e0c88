"""Checks of provenance and limits: where artifact and plan come from, what the sandbox accessed, size and time."""

from golf.artifacts.lineage import UNKNOWN_SPLIT
from golf.compliance import evaluation_log
from golf.compliance.check_result import FAIL, NOT_RUN, PASS, Outcome, pass_or_fail
from golf.compliance.context import EvaluationContext
from golf.compliance.registry import check
from golf.data import split_reader
from golf.data.contamination import measure_contamination
from golf.pipeline.progress import format_count

_CONTEST_GPUS = "8 × NVIDIA H100"  # SXM: nvidia-smi names its memory 80GB HBM3
_SXM_MEMORY = "HBM3"
_LOW_HEADROOM_BYTES = 10_000
_UNKNOWN_ORIGIN_NOTE = "the file has no lineage record, so its origin is unknown"
_VAL_BEFORE_SCORE_NOTE = "C1 and C3: val text is learned from before it is scored (#1376, #1485, #1735)"


@check("C1-e", "no val byte reached artifact or plan", required=True, essential=True)
def _check_val_unseen(context: EvaluationContext) -> Outcome:
    origin, plan_origin = context.artifact.origin, context.plan_origin
    plan_splits = plan_origin.splits if plan_origin else ()
    measured = f"artifact {', '.join(origin.splits)}" + (f"; plan {', '.join(plan_splits)}" if plan_origin else "")
    if "val" in origin.splits:
        note = f"val reached the artifact: {' -> '.join(origin.path_from_val)}"
        return Outcome(FAIL, measured, "no val", note)
    if plan_origin and "val" in plan_splits:
        note = f"the plan was tried on val; {' -> '.join(plan_origin.path_from_val)}"
        return Outcome(FAIL, measured, "no val", note)
    if UNKNOWN_SPLIT in (*origin.splits, *plan_splits):
        return Outcome(NOT_RUN, measured, "no val", _UNKNOWN_ORIGIN_NOTE)
    return pass_or_fail(True, measured, "no val")


@check("C1-f", "no document of val is in train or dev", required=True)
def _check_disjoint(context: EvaluationContext) -> Outcome:
    """Compare documents by the hash of their normalized text (#2127). dev counts too, as choices made on it shape the
    artifact. The share of val's bytes in matches of 64 bytes or more with train is stated, and no reason to fail.

    A split from the hub lists no documents. Fetch compared its token ids with val's and left out what it found, which
    holds for the val that its index names.
    """
    data = context.val_data
    val_documents = data.val.documents
    val_texts, val_digest = {row["text_sha256"] for row in val_documents}, split_reader.sha256_texts(val_documents)
    shared_counts = {}
    for name, index in (("train", data.train_index), ("dev", data.dev_index)):
        compared_with = index.get("summarized", {"disjoint_from": {"val": val_digest}})["disjoint_from"].get("val")
        if compared_with != val_digest:
            note = f"{name} lists no documents, and fetch did not compare them with this val"
            return Outcome(NOT_RUN, note=note)
        shared_counts[name] = len(val_texts & {row["text_sha256"] for row in index["documents"]})
    shared = ", ".join(f"{count:,} with {name}" for name, count in shared_counts.items())
    n_train, n_dev = map(split_reader.count_documents, (data.train_index, data.dev_index))
    fetch_note = " (train as fetch found)" if "summarized" in data.train_index else ""
    contamination = measure_contamination(val_documents)
    covered = NOT_RUN if contamination is None else f"{contamination:.2%}"
    counts = f"{n_train:,}, {n_dev:,} and {len(val_documents):,}{fetch_note}"
    measured = f"{shared} of {counts}; val's bytes in train: {covered}"
    splits = " and ".join(name for name, count in shared_counts.items() if count)
    return pass_or_fail(not splits, measured, "0 shared", f"documents of val are in {splits} too (#2127)")


@check("C1-g", "nothing outside the artifact is read", required=True)
def _check_accesses(context: EvaluationContext) -> Outcome:
    """Files, addresses and commands that the predictor's processes used outside the sandbox."""
    accesses = context.outside_accesses
    n_opened = sum(report["opened"] for report in context.run.access_reports)
    counts = ", ".join(f"{len(entries)} {kind}" for kind, entries in accesses.items())
    examples = ", ".join([entry for entries in accesses.values() for entry in entries][:3])
    measured = f"{counts} of {n_opened}"
    if examples:
        return Outcome(FAIL, measured, "0", f"it accessed something outside the sandbox: {examples}")
    return _require_fence(context, measured, "0")


def _require_fence(context: EvaluationContext, measured: str, limit: str) -> Outcome:
    """PASS where the kernel held every process in its fence, NOT-RUN where a restriction was missing; named in both.

    The audit hook that found nothing lives in the process that it observes, so without the kernel it proves nothing.
    """
    record = context.fence
    restrictions = ", ".join(record.restrictions) or "nothing"
    if record.missing:
        return Outcome(NOT_RUN, measured, limit, f"held by {restrictions}, but {'; '.join(record.missing)}")
    return Outcome(PASS, measured, limit, f"held by {restrictions}")


@check("C3-f", "the artifact's lineage is known and free of val", required=True, essential=True)
def _check_lineage(context: EvaluationContext) -> Outcome:
    origin = context.artifact.origin
    measured = f"upstream splits: {', '.join(origin.splits)}"
    if "val" in origin.splits:
        note = f"{_VAL_BEFORE_SCORE_NOTE}; {' -> '.join(origin.path_from_val)}"
        return Outcome(FAIL, measured, "no val", note)
    if origin.underreported:
        note = "lineage leaves out a split"
        return Outcome(FAIL, origin.underreported[0], "its inputs' splits", note)
    if UNKNOWN_SPLIT in origin.splits:
        return Outcome(NOT_RUN, note=_UNKNOWN_ORIGIN_NOTE)
    return pass_or_fail(True, measured, "no val")


@check("C4-c", "every evaluation is logged", required=True)
def _check_log(context: EvaluationContext) -> Outcome:
    entry = context.log_entry | {"val_bpb": context.metrics["val_bpb"]}
    return evaluation_log.describe_log(context.log_path, entry)


@check("C4-d", "seeds are declared", required=True)
def _check_seeds(context: EvaluationContext) -> Outcome:
    seeds = context.artifact.origin.seeds
    if not seeds:
        return Outcome(NOT_RUN, note="the artifact's lineage names no seed")
    return pass_or_fail(True, f"seeds {', '.join(map(str, seeds))}", "in lineage")


@check("B-a", "the artifact and its code fit the size limit", required=True)
def _check_size(context: EvaluationContext) -> Outcome:
    size = context.size
    headroom_bytes = size.limit_bytes - size.total_bytes
    measured, limit = f"{size.total_bytes:,} bytes with the {size.counted}", f"{size.limit_bytes:,}"
    if 0 <= headroom_bytes < _LOW_HEADROOM_BYTES:
        return Outcome(PASS, measured, limit, "under 10,000 bytes of headroom (#1978)")
    note = f"{-headroom_bytes:,} bytes over; the limit is decimal (#1698)"
    return pass_or_fail(headroom_bytes >= 0, measured, limit, note)


@check("B-b", "scored by an isolated process that holds only the counted files", required=True)
def _check_counted_code(context: EvaluationContext) -> Outcome:
    n_files, n_processes = len(context.sandbox.sources), len(context.run.access_reports)
    measured = (
        f"{format_count(n_files, 'code file')} and the artifact, {format_count(n_processes, 'process', 'processes')}"
    )
    if context.outside_accesses["files"]:
        return Outcome(FAIL, measured, "counted alone", "it needed files that are not counted")
    return _require_fence(context, measured, "counted alone")


@check("B-c", "training and calibration fit their time", required=True)
def _check_training_time(context: EvaluationContext) -> Outcome:
    training_time = context.artifact.training_time
    if training_time is None:
        return Outcome(NOT_RUN, note="the artifact's training was not measured here")
    return _check_time(context, training_time.seconds, training_time.limit_s, training_time.hardware)


@check("B-d", "evaluation fits its time", required=True)
def _check_evaluation_time(context: EvaluationContext) -> Outcome:
    return _check_time(context, context.metrics["eval_seconds"], context.cfg.limit_s, context.hardware)


@check("B-e", "on 8×H100 SXM", required=True)
def _check_hardware(context: EvaluationContext) -> Outcome:
    measured, training_time = context.hardware, context.artifact.training_time
    if training_time and training_time.hardware != context.hardware:
        measured = f"{training_time.hardware}; evaluated on {context.hardware}"
    if not _is_on_contest_hardware(context):
        return Outcome(NOT_RUN, measured, "8×H100 SXM", "a proxy for the contest's machine")
    return pass_or_fail(True, measured, "8×H100 SXM")


def _is_on_contest_hardware(context: EvaluationContext) -> bool:
    """Whether training and evaluation both ran on the contest's machine, as ``timing.describe_hardware`` names it."""
    if context.artifact.training_time is None:
        return False
    names = (context.artifact.training_time.hardware, context.hardware)
    return all(name.startswith(_CONTEST_GPUS) and _SXM_MEMORY in name for name in names)


def _check_time(context: EvaluationContext, seconds: float, limit_s: float | None, hardware: str) -> Outcome:
    """Seconds over their limit FAIL anywhere; seconds within it prove nothing for a record on other hardware."""
    measured = f"{seconds:.1f} s"
    if limit_s is None:
        return Outcome(NOT_RUN, measured, "none set", "a record needs a time limit")
    if seconds > limit_s:
        return Outcome(FAIL, measured, f"{limit_s:g} s", "over the limit that the run was given")
    if not _is_on_contest_hardware(context):
        note = f"within its limit on {hardware}, says nothing about 8×H100"
        return Outcome(NOT_RUN, measured, f"{limit_s:g} s", note)
    return pass_or_fail(True, measured, f"{limit_s:g} s")
