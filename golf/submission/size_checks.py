"""B-a: the bytes of what ships, as they lie in the folder, as the log counted them and as the json claims them."""

import warnings

from golf.artifacts.source_deps import import_closure
from golf.compliance.check_result import FAIL, NOT_RUN, PASS, UNRULED, CheckResult
from golf.errors import InputError
from golf.submission.contents import Submission
from golf.submission.safe_reader import MAX_CODE_BYTES, SubmissionDir

_LIMIT_BYTES = 16_000_000  # decimal, by the challenge's README
_BINARY_LIMIT_BYTES = 16 << 20  # what #1698 took it for
_SAFE_HEADROOM_BYTES = 10_000  # bf16 moves the packed size by about 5 kB from run to run (#1978)
_SCRIPT = "train_gpt.py"
_MODEL_SUFFIXES = (".ptz", ".golf", ".zst", ".br", ".xz", ".lzma", ".safetensors", ".bin")
_NATIVE_CODE_SUFFIXES = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so", ".rs")
_TOKENIZER_SUFFIXES = (".model", ".vocab", "tokenizer.json")


def find_executed_sources(folder: SubmissionDir) -> tuple[list[str], str]:
    """The files of code that the script runs, by its syntax tree, and those in other languages; and a remark.

    Where the tree can't tell (a script for a newer Python, a link among the files) it is every file of code.
    """
    python_files, native_files = folder.files_with_suffix(".py"), folder.files_with_suffix(*_NATIVE_CODE_SUFFIXES)
    if _SCRIPT not in folder.sizes:
        return python_files + native_files, f"no {_SCRIPT}: every .py is counted"
    if folder.rejected or any(folder.sizes[name] > MAX_CODE_BYTES for name in python_files):
        return python_files + native_files, "every .py is counted: not all of them can be read"
    try:
        with warnings.catch_warnings():  # of a stranger's escapes and comparisons
            warnings.simplefilter("ignore")
            imported_files = import_closure(_SCRIPT, root=folder.root)
    except (InputError, OSError, ValueError, RecursionError, MemoryError):
        return python_files + native_files, f"every .py is counted: a file that {_SCRIPT} runs does not parse here"
    uses_exec = b"exec(" in (folder.root / _SCRIPT).read_bytes()
    return (
        imported_files + native_files,
        f"{_SCRIPT} runs text through exec: what that imports is not seen" if uses_exec else "",
    )


def _find_model_bytes(submission: Submission) -> int | None:
    """Bytes of the packed model: of the file in the folder, else the largest that a log states, else None."""
    logged_sizes = set(submission.facts_by_log("model_bytes").values())
    file_sizes = {size for size in submission.folder.sizes.values() if size in logged_sizes}
    file_sizes = file_sizes or {
        submission.folder.sizes[name] for name in submission.folder.files_with_suffix(*_MODEL_SUFFIXES)
    }
    return int(max(file_sizes or logged_sizes)) if file_sizes or logged_sizes else None


def check_size(submission: Submission) -> CheckResult:
    """B-a: the log's and the json's totals against the cap; the raw total only where nobody counted otherwise.

    The total in the log decided for #1809 and #1835. Whether packed code may ship as its readable source (#1855) and
    whether tokenizers count (#847) nobody has ruled: what is over the cap only in that way is UNRULED.
    """
    code_files, caveat = find_executed_sources(submission.folder)
    model_bytes = _find_model_bytes(submission)
    logged_totals = [log.total_bytes for log in submission.logs if log.total_bytes]
    claimed_totals = [
        claim.total_bytes for claim in (submission.claims, *submission.claims.per_seed.values()) if claim.total_bytes
    ]
    shipped_bytes = (
        model_bytes + sum(submission.folder.sizes[name] for name in code_files) if model_bytes and code_files else None
    )
    tokenizer_bytes = sum(
        submission.folder.sizes[name] for name in submission.folder.files_with_suffix(*_TOKENIZER_SUFFIXES)
    )
    totals = {
        "log": max(logged_totals, default=None),
        "json": max(claimed_totals, default=None),
        "as shipped": shipped_bytes,
    }
    measured = ", ".join(f"{name} {total:,}" for name, total in totals.items() if total)
    counted_bytes = max([*logged_totals, *claimed_totals] or [shipped_bytes or 0])
    limit = f"{_LIMIT_BYTES:,} bytes"
    if not counted_bytes:
        return CheckResult(
            "B-a", NOT_RUN, "", limit, "neither a log nor the json nor the folder shows the model's bytes"
        )
    if counted_bytes <= _LIMIT_BYTES and not submission.logs and not claimed_totals:
        note = "no log and no json says what was scored, so these files show nothing of a run"
        return CheckResult("B-a", NOT_RUN, measured, limit, note)
    if counted_bytes > _LIMIT_BYTES:
        binary_note = "; under 16 MiB, but the cap is decimal (#1698)" if counted_bytes <= _BINARY_LIMIT_BYTES else ""
        return CheckResult("B-a", FAIL, measured, limit, f"{counted_bytes - _LIMIT_BYTES:,} bytes over{binary_note}")
    if shipped_bytes and shipped_bytes > _LIMIT_BYTES:
        note = f"over only with the code as shipped ({', '.join(code_files)}): packed or raw is disputed (#1835, #1855)"
        return CheckResult("B-a", UNRULED, measured, limit, _join_notes(note, caveat))
    if tokenizer_bytes and (shipped_bytes or counted_bytes) + tokenizer_bytes > _LIMIT_BYTES:
        note = f"over only with {tokenizer_bytes:,} bytes of tokenizer, which nobody has ruled on (#847)"
        return CheckResult("B-a", UNRULED, measured, limit, _join_notes(note, caveat))
    headroom_bytes = _LIMIT_BYTES - max(counted_bytes, shipped_bytes or 0)
    headroom_note = f"headroom {headroom_bytes:,} bytes: the packed size moves by about 5,000 from run to run (#1978)"
    return CheckResult(
        "B-a",
        PASS,
        measured,
        limit,
        _join_notes(headroom_note if headroom_bytes < _SAFE_HEADROOM_BYTES else "", caveat),
    )


def _join_notes(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def check_sizes_agree(submission: Submission) -> CheckResult:
    """Whether the sizes that log, json and folder state are the same ones (#2118; the log decided for #1835)."""
    comparisons = list(_compare_sizes(submission))
    if not comparisons:
        return CheckResult("sizes agree", NOT_RUN, "", "", "fewer than two places state a size")
    mismatches = [text for status, text in comparisons if status != PASS]
    worst_status = next(status for status in (FAIL, UNRULED, PASS) if any(other == status for other, _ in comparisons))
    measured = f"{len(comparisons)} compared, {len(mismatches)} differ"
    return CheckResult("sizes agree", worst_status, measured, "equal", "; ".join(mismatches))


def _compare_sizes(submission: Submission):
    """Yield (status, words) of every two sizes that should be one. A log that counts another code than it prints is
    UNRULED, as packed against raw is; a claim of the json that neither a log nor the files bear out is FAIL."""
    claims, sizes = submission.claims, submission.folder.sizes
    for log in submission.logs:
        model_bytes, code_bytes, total_bytes = (
            log.facts.get(name) for name in ("model_bytes", "code_bytes", "total_bytes")
        )
        if model_bytes and code_bytes and total_bytes:
            text = (
                f"{log.name}: model {model_bytes:,.0f} + code {code_bytes:,.0f} is not total {total_bytes:,.0f} (#1835)"
            )
            yield PASS if model_bytes + code_bytes == total_bytes else UNRULED, text
    for seed, claim in claims.per_seed.items():
        logged_sizes = {log.total_bytes for log in submission.logs if log.seed == seed and log.total_bytes}
        if claim.total_bytes and logged_sizes:
            yield _match_claim(claim.total_bytes, logged_sizes, logged_sizes, f"seed {seed}")
    packed_model_bytes, code_files = _find_model_bytes(submission) or 0, find_executed_sources(submission.folder)[0]
    folder_code_bytes = {sum(sizes[name] for name in code_files), sizes.get(_SCRIPT, 0)}
    logged_sizes = {log.total_bytes for log in submission.logs if log.total_bytes}
    if claims.total_bytes and logged_sizes:
        yield _match_claim(
            claims.total_bytes,
            logged_sizes,
            logged_sizes | {packed_model_bytes + code for code in folder_code_bytes},
            "total",
        )
    logged_sizes = {
        int(code) for name in ("code_bytes", "raw_code_bytes") for code in submission.facts_by_log(name).values()
    }
    if claims.code_bytes and logged_sizes:
        yield _match_claim(claims.code_bytes, logged_sizes, logged_sizes | folder_code_bytes, "code")
    if logged_sizes and _SCRIPT in sizes:
        logged_text = ", ".join(f"{size:,}" for size in sorted(logged_sizes))
        yield (
            PASS if logged_sizes & folder_code_bytes else UNRULED,
            f"code: logs {logged_text}, in the folder {max(folder_code_bytes):,} (#1835, #1855)",
        )


def _match_claim(claim: int, logged_sizes: set[int], allowed_sizes: set[int], label: str) -> tuple[str, str]:
    """Whether a claim is one of those allowed; the words name what the logs say."""
    text = f"{label}: json {claim:,}, logs {', '.join(f'{size:,}' for size in sorted(logged_sizes))}"
    return (PASS if claim in allowed_sizes else FAIL), text
