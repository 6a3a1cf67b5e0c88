"""Checks of the limits: bytes (B-a, sizes agree), seconds (B-c, B-d) and hardware (B-e).

Bytes are compared as they are in the folder, as the log counted them and as submission.json claims them. Seconds are
self-reported: they come from the scripts' own timers. docs/references.md#submission-audit explains the rulings.
"""

from collections.abc import Iterator

from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, Outcome, Status, with_id
from golf.submission import import_scan
from golf.submission.contents import Submission
from golf.submission.log_parser import TrainingLog
from golf.submission.safe_reader import MAX_CODE_BYTES, SubmissionDir, read_text

__all__ = [
    "check_eval_time",
    "check_hardware",
    "check_size",
    "check_sizes_agree",
    "check_training_time",
    "find_executed_sources",
]

_LIMIT_BYTES = 16_000_000  # decimal, by the challenge's README
_BINARY_LIMIT_BYTES = 16 << 20  # the mistaken limit of #1698
_SAFE_HEADROOM_BYTES = 10_000  # bf16 moves the packed size by about 5 kB from run to run (#1978)
_SCRIPT = "train_gpt.py"
_MODEL_SUFFIXES = (".ptz", ".golf", ".zst", ".br", ".xz", ".lzma", ".safetensors", ".bin")
_NATIVE_CODE_SUFFIXES = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so", ".rs")
_TOKENIZER_SUFFIXES = (".model", ".vocab", "tokenizer.json")
_LIMIT_S = 600.0
_SELF_REPORTED_NOTE = "by the script's own timer"
_RECORD_N_GPUS, _RECORD_GPU_MODEL = 8, "H100"
_RECORD_GPU_FORM_FACTORS = ("SXM", "HBM3")  # nvidia-smi calls the SXM form "H100 80GB HBM3"


def find_executed_sources(folder: SubmissionDir) -> tuple[list[str], str]:
    """Return the code files that the script runs, by its imports, and all native code; and a caveat, "" if none.

    All Python files are returned if the statements can't tell, e.g. for a link among the files.
    """
    python_files, native_files = folder.files_with_suffix(".py"), folder.files_with_suffix(*_NATIVE_CODE_SUFFIXES)
    if _SCRIPT not in folder.sizes:
        return python_files + native_files, f"every .py is counted: there is no {_SCRIPT}"
    if folder.rejected or any(folder.sizes[name] > MAX_CODE_BYTES for name in python_files):
        return python_files + native_files, "every .py is counted: some of them can't be read"
    imported_files, unread_files = import_scan.find_imported_files(folder, _SCRIPT)
    if unread_files:
        return python_files + native_files, f"every .py is counted: {unread_files[0]} is not UTF-8 text"
    uses_exec = "exec(" in read_text(folder, _SCRIPT, MAX_CODE_BYTES)
    caveat = f"{_SCRIPT} runs text through exec, whose imports are not seen" if uses_exec else ""
    return imported_files + native_files, caveat


def _find_model_bytes(submission: Submission) -> int | None:
    """The size of the packed model: of the file in the folder, else the largest size that a log states, else None."""
    logged_sizes = set(submission.facts_by_log("model_bytes").values())
    file_sizes = {size for size in submission.folder.sizes.values() if size in logged_sizes}
    file_sizes = file_sizes or {
        submission.folder.sizes[name] for name in submission.folder.files_with_suffix(*_MODEL_SUFFIXES)
    }
    return int(max(file_sizes or logged_sizes)) if file_sizes or logged_sizes else None


@with_id("B-a")
def check_size(submission: Submission) -> Outcome:
    """Check that the totals in the logs and in submission.json, or else the files' own total, are within the limit.

    The total in the log decided for #1809 and #1835. There is no ruling on whether packed code may be submitted as its
    readable source (#1855) or whether tokenizers count (#847), so what exceeds the limit only that way is UNRULED.
    """
    sizes = submission.folder.sizes
    code_files, caveat = find_executed_sources(submission.folder)
    model_bytes = _find_model_bytes(submission)
    logged_totals = [log.total_bytes for log in submission.logs if log.total_bytes]
    claimed_totals = [
        claim.total_bytes for claim in (submission.claims, *submission.claims.per_seed.values()) if claim.total_bytes
    ]
    file_bytes = model_bytes + sum(sizes[name] for name in code_files) if model_bytes and code_files else None
    tokenizer_bytes = sum(sizes[name] for name in submission.folder.files_with_suffix(*_TOKENIZER_SUFFIXES))
    totals = {"log": max(logged_totals, default=0), "json": max(claimed_totals, default=0), "files": file_bytes}
    measured = ", ".join(f"{name} {total:,}" for name, total in totals.items() if total)
    counted_bytes = max([*logged_totals, *claimed_totals] or [file_bytes or 0])

    def result(status: Status, *notes: str) -> Outcome:
        return Outcome(status, measured, f"{_LIMIT_BYTES:,} bytes", "; ".join(note for note in notes if note))

    if not counted_bytes:
        return result(NOT_RUN, "neither the logs nor submission.json nor the folder give the model's size")
    if counted_bytes <= _LIMIT_BYTES and not submission.logs and not claimed_totals:
        return result(NOT_RUN, "no log and no submission.json says what was scored, so the files are not a run")
    if counted_bytes > _LIMIT_BYTES:
        binary_note = "under 16 MiB, but the limit is decimal (#1698)" if counted_bytes <= _BINARY_LIMIT_BYTES else ""
        return result(FAIL, f"{counted_bytes - _LIMIT_BYTES:,} bytes over", binary_note)
    if file_bytes and file_bytes > _LIMIT_BYTES:
        note = f"over only with the code as in the folder ({', '.join(code_files)}); packed or raw is disputed"
        return result(UNRULED, f"{note} (#1835, #1855)", caveat)
    if tokenizer_bytes and (file_bytes or counted_bytes) + tokenizer_bytes > _LIMIT_BYTES:
        return result(
            UNRULED, f"over only with {tokenizer_bytes:,} bytes of tokenizer; there is no ruling (#847)", caveat
        )
    headroom_bytes = _LIMIT_BYTES - max(counted_bytes, file_bytes or 0)
    headroom_note = f"headroom {headroom_bytes:,} bytes: the packed size varies by about 5,000 between runs (#1978)"
    return result(PASS, headroom_note if headroom_bytes < _SAFE_HEADROOM_BYTES else "", caveat)


@with_id("sizes agree")
def check_sizes_agree(submission: Submission) -> Outcome:
    """Check that the sizes in the logs, submission.json and the folder agree (#2118; the log decided for #1835)."""
    comparisons = list(_compare_sizes(submission))
    if not comparisons:
        return Outcome(NOT_RUN, "", "", "fewer than two places state a size")
    mismatches = [text for status, text in comparisons if status != PASS]
    worst_status = next(status for status in (FAIL, UNRULED, PASS) if any(other == status for other, _ in comparisons))
    measured = f"{len(comparisons)} compared, {len(mismatches)} differ"
    return Outcome(worst_status, measured, "equal", "; ".join(mismatches))


def _compare_sizes(submission: Submission) -> Iterator[tuple[Status, str]]:
    """Yield (status, text) for every two sizes that should be equal.

    A log that counts other code than it prints is UNRULED, as packed or raw code is. A claim in submission.json that
    neither a log nor the files support is FAIL.
    """
    claims, sizes = submission.claims, submission.folder.sizes
    for log in submission.logs:
        model_bytes, code_bytes, total_bytes = (
            log.facts.get(name) for name in ("model_bytes", "code_bytes", "total_bytes")
        )
        if model_bytes and code_bytes and total_bytes:
            parts = f"model {model_bytes:,.0f} + code {code_bytes:,.0f}"
            text = f"{log.name}: {parts} is not the total of {total_bytes:,.0f} (#1835)"
            yield PASS if model_bytes + code_bytes == total_bytes else UNRULED, text
    totals_by_seed: dict[int | None, set[int]] = {}
    for log in submission.logs:
        if log.total_bytes:
            totals_by_seed.setdefault(log.seed, set()).add(log.total_bytes)
    for seed, claim in claims.per_seed.items():
        logged_totals = totals_by_seed.get(seed, set())
        if claim.total_bytes and logged_totals:
            yield _match_claim(claim.total_bytes, logged_totals, logged_totals, f"seed {seed}")
    packed_bytes, code_files = _find_model_bytes(submission) or 0, find_executed_sources(submission.folder)[0]
    folder_code_sizes = {sum(sizes[name] for name in code_files), sizes.get(_SCRIPT, 0)}
    logged_totals = {log.total_bytes for log in submission.logs if log.total_bytes}
    if claims.total_bytes and logged_totals:
        folder_totals = {packed_bytes + code_size for code_size in folder_code_sizes}
        yield _match_claim(claims.total_bytes, logged_totals, logged_totals | folder_totals, "total")
    logged_code_sizes = {
        int(code) for name in ("code_bytes", "raw_code_bytes") for code in submission.facts_by_log(name).values()
    }
    if claims.code_bytes and logged_code_sizes:
        yield _match_claim(claims.code_bytes, logged_code_sizes, logged_code_sizes | folder_code_sizes, "code")
    if logged_code_sizes and _SCRIPT in sizes:
        text = f"code: logs {_format_sizes(logged_code_sizes)}, in the folder {max(folder_code_sizes):,} (#1835, #1855)"
        yield PASS if logged_code_sizes & folder_code_sizes else UNRULED, text


def _match_claim(claim: int, logged_sizes: set[int], allowed_sizes: set[int], label: str) -> tuple[Status, str]:
    """PASS if the claim is one of the allowed sizes, else FAIL; the text gives the sizes in the logs."""
    return PASS if claim in allowed_sizes else FAIL, f"{label}: json {claim:,}, logs {_format_sizes(logged_sizes)}"


def _format_sizes(sizes: set[int]) -> str:
    return ", ".join(f"{size:,}" for size in sorted(sizes))


@with_id("B-c")
def check_training_time(submission: Submission) -> Outcome:
    """Check that training and calibration of the slowest log are within the limit.

    Collecting Hessians is training (#634, #677, #1950). Serialization is shown apart, because there is no ruling on it.
    The challenge's own baseline stops after the step that crosses the limit, so less than one step over is UNRULED.
    """
    limit = _format_limit(submission)
    timed_logs = [log for log in submission.logs if "train_seconds" in log.facts]
    if not timed_logs:
        return Outcome(NOT_RUN, "", limit, "no log states its training time")
    slowest = max(timed_logs, key=_sum_training_seconds)
    train_s, calibration_s = slowest.facts["train_seconds"], slowest.facts.get("hessian_seconds")
    serialize_text = _format_seconds(slowest.facts.get("serialize_seconds"))
    measured = f"train {train_s:.1f} s + calibration {_format_seconds(calibration_s)}; serialize {serialize_text}"
    if not submission.is_record:
        return Outcome(PASS, measured, limit)
    if _sum_training_seconds(slowest) <= _LIMIT_S:
        missing_note = "" if calibration_s else "; calibration is not in the log"
        return Outcome(PASS, measured, limit, _SELF_REPORTED_NOTE + missing_note)
    overrun_text = f"{slowest.name}: {_sum_training_seconds(slowest) - _LIMIT_S:.1f} s over"
    step_s = train_s / slowest.facts["step"] if slowest.facts.get("step") else 0.0
    if _sum_training_seconds(slowest) - step_s <= _LIMIT_S and not calibration_s:
        note = f"{overrun_text}, less than a step of {step_s:.2f} s; the challenge's own baseline ends like this"
        return Outcome(UNRULED, measured, limit, note)
    merged_note = "; calibration is training (#677, #1950), though #1787, #1851 and #1855 were merged over the limit"
    return Outcome(FAIL, measured, limit, overrun_text + merged_note * bool(calibration_s))


def _sum_training_seconds(log: TrainingLog) -> float:
    return log.facts["train_seconds"] + log.facts.get("hessian_seconds", 0.0)


@with_id("B-d")
def check_eval_time(submission: Submission) -> Outcome:
    """Check that the pass that gave the result is within the limit in the slowest log.

    If only the sum of all timed passes is over the limit, the check is UNRULED: no two submissions time the same work
    (#915, #1557). The log leaves out work outside the script's timer, e.g. decompression and compilation (#1967).
    """
    limit = _format_limit(submission)
    all_logs = [
        (_get_eval_seconds(log), sum(score.seconds or 0.0 for score in log.scores), log.name) for log in submission.logs
    ]
    rows = [row for row in all_logs if row[0]]
    if not rows:
        return Outcome(NOT_RUN, "", limit, "no log states its evaluation time")
    final_pass_s, _, name = max(rows)
    all_passes_s = max(row[1] for row in rows)
    measured = f"result {final_pass_s:.1f} s, all timed passes {max(final_pass_s, all_passes_s):.1f} s"
    if not submission.is_record:
        return Outcome(PASS, measured, limit)
    if final_pass_s > _LIMIT_S:
        return Outcome(FAIL, measured, limit, f"{name}: {final_pass_s - _LIMIT_S:.1f} s over (#1972)")
    if all_passes_s > _LIMIT_S:
        note = "over only with the passes before it; which of them count is disputed (#915, #1557)"
        return Outcome(UNRULED, measured, limit, note)
    return Outcome(PASS, measured, limit, _SELF_REPORTED_NOTE)


def _get_eval_seconds(log: TrainingLog) -> float:
    """Seconds of the pass that gave the result, or of the whole evaluation if the log sums it up; 0 for neither."""
    return max(log.facts.get("eval_seconds", 0.0), (log.final_score.seconds or 0.0) if log.final_score else 0.0)


@with_id("B-e")
def check_hardware(submission: Submission) -> Outcome:
    """Check that the logs name the hardware of a record run. A claim in submission.json alone is not evidence."""
    world_sizes = set(submission.facts_by_log("world_size").values())
    gpus = {log.gpu for log in submission.logs if log.gpu}
    n_gpus_text = "/".join(f"{world_size:.0f}" for world_size in sorted(world_sizes)) or "?"
    measured = f"{n_gpus_text} x {', '.join(sorted(gpus)) or '?'}"
    if not submission.is_record:
        return Outcome(PASS, measured, "any (non-record)")
    limit = f"{_RECORD_N_GPUS} x {_RECORD_GPU_MODEL} SXM"
    if world_sizes - {float(_RECORD_N_GPUS)} or not all(_is_record_gpu(gpu) for gpu in gpus):
        return Outcome(FAIL, measured, limit, "a record needs this hardware")
    if world_sizes and gpus:
        return Outcome(PASS, measured, limit)
    claim_note = f"; json: {submission.claims.hardware[:60]}" if submission.claims.hardware else ""
    return Outcome(NOT_RUN, measured, limit, f"the logs don't name both ranks and GPU{claim_note}")


def _is_record_gpu(gpu: str) -> bool:
    return _RECORD_GPU_MODEL in gpu and any(form_factor in gpu for form_factor in _RECORD_GPU_FORM_FACTORS)


def _format_limit(submission: Submission) -> str:
    return f"{_LIMIT_S:.0f} s" if submission.is_record else "none (non-record)"


def _format_seconds(duration_s: float | None) -> str:
    return NOT_RUN if duration_s is None else f"{duration_s:.1f} s"
