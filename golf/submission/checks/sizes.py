"""Checks of the bytes: the size limit (B-a), and whether json, logs and files give the same sizes.

Every source that the script executes counts. There is no ruling on whether packed code may be submitted as its readable
source (#1855) or whether tokenizers count (#847), so what exceeds the limit only that way is an open question.
"""

from collections.abc import Iterator

from golf.submission.checks.review import Review
from golf.submission.findings import BREAKS_RULE, CLERICAL, CONTRADICTS, NO_RULING, CheckOutcome, Finding, list_names
from golf.submission.logs.training_log import TrainingLog

__all__ = ["check_size", "check_sizes_agree"]

_LIMIT_BYTES = 16_000_000  # decimal, by the challenge's README
_BINARY_LIMIT_BYTES = 16 << 20  # the mistaken limit of #1698
_SAFE_HEADROOM_BYTES = 10_000  # bf16 moves the packed size by about 5 kB from run to run (#1978)
_MODEL_SUFFIXES = (".ptz", ".golf", ".zst", ".br", ".xz", ".lzma", ".safetensors", ".bin", ".pt")
_TOKENIZER_SUFFIXES = (".model", ".vocab", "tokenizer.json")
_EDITED_FRAC = 0.2  # by which an edited script may differ from the counted one; a packed one is far smaller


def _find_model_bytes(review: Review) -> int | None:
    """The size of the packed model: of the file, else the largest that a selected log states, else None."""
    folder = review.submission.folder
    logged_sizes = {int(size) for size in review.facts("model_bytes").values()}
    executed = set(review.submission.sources.files)
    file_sizes = {size for name, size in folder.sizes.items() if size in logged_sizes and name not in executed}
    if not file_sizes:
        names = set(folder.list_files_with_suffix(*_MODEL_SUFFIXES)) - executed
        file_sizes = {folder.sizes[name] for name in names}
    return max(file_sizes or logged_sizes, default=None)


def _count_executed_bytes(review: Review) -> int:
    """The bytes of all files that the script executes, as shipped."""
    return sum(review.submission.folder.sizes[name] for name in review.submission.sources.files)


def _list_uncounted_files(review: Review) -> list[str]:
    """The executed files beside the script, if the logs count the script alone or less."""
    sources, sizes = review.submission.sources, review.submission.folder.sizes
    counted = [log.code_bytes for log in review.logs if log.code_bytes]
    others = [name for name in sources.files if name != sources.script]
    if not others or not counted or max(counted) >= _count_executed_bytes(review):
        return []
    return others if max(counted) <= sizes.get(sources.script, 0) else []


def _format_files(review: Review, names: list[str]) -> str:
    sizes = review.submission.folder.sizes
    return list_names([f"{name} {sizes[name]:,}" for name in sorted(names, key=lambda name: -sizes[name])])


def check_size(review: Review) -> CheckOutcome:
    """Check that the totals in logs and json, and of all executed files as shipped, are within the limit.

    The total in the log decided for #1809 and #1835.
    """
    submission, sizes = review.submission, review.submission.folder.sizes
    claims = submission.claims
    claimed = [claim.total_bytes for claim in (claims, *claims.per_seed.values()) if claim.total_bytes]
    logged = [(log.total_bytes, log) for log in review.logs if log.total_bytes]
    model_bytes = _find_model_bytes(review)
    shipped = model_bytes + _count_executed_bytes(review) if model_bytes and submission.sources.files else None
    totals = {
        "log": max((total for total, _ in logged), default=0),
        "json": max(claimed, default=0),
        "as shipped": shipped,
    }
    measured = ", ".join(f"{name} {total:,}" for name, total in totals.items() if total)
    notes: tuple[str, ...] = (submission.sources.caveat,) if submission.sources.caveat and shipped else ()
    counted = max([*(total for total, _ in logged), *claimed], default=0) or shipped or 0
    if not counted:
        reason = "neither the logs nor json nor the folder give the model's size"
        return CheckOutcome("B-a", (), measured, reason, notes)
    if counted > _LIMIT_BYTES:
        places = [log.locate("total_bytes", "unqualified_total_bytes") for total, log in logged if total == counted]
        binary = "; 16 MB are decimal, not 16 MiB" if counted <= _BINARY_LIMIT_BYTES else ""
        text = f"{counted:,} bytes, {counted - _LIMIT_BYTES:,} over the limit of {_LIMIT_BYTES:,}{binary}"
        source = places[0] if places else review.json if claimed else ""
        return CheckOutcome("B-a", (Finding(BREAKS_RULE, text, source),), measured, "", notes)
    if not submission.logs and not claimed:
        return CheckOutcome("B-a", (), measured, "no log and no json says what was scored: files are no run", notes)
    uncounted = _list_uncounted_files(review)
    with_uncounted = counted + sum(sizes[name] for name in uncounted)
    if uncounted and with_uncounted > _LIMIT_BYTES:
        text = f"{with_uncounted:,} bytes with what runs and is not counted ({_format_files(review, uncounted)})"
        return CheckOutcome("B-a", (Finding(BREAKS_RULE, text, submission.sources.script),), measured, "", notes)
    if shipped and shipped > _LIMIT_BYTES:
        files = _format_files(review, list(submission.sources.files))
        text = f"{shipped:,} bytes with the code as shipped ({files}); packed or readable code is open"
        return CheckOutcome("B-a", (Finding(NO_RULING, text, submission.sources.script),), measured, "", notes)
    tokenizer_bytes = sum(sizes[name] for name in submission.folder.list_files_with_suffix(*_TOKENIZER_SUFFIXES))
    if tokenizer_bytes and (shipped or counted) + tokenizer_bytes > _LIMIT_BYTES:
        text = f"over the limit only with {tokenizer_bytes:,} bytes of tokenizer; whether it counts is open"
        return CheckOutcome("B-a", (Finding(NO_RULING, text),), measured, "", notes)
    headroom = _LIMIT_BYTES - max(counted, shipped or 0)
    if headroom < _SAFE_HEADROOM_BYTES:
        notes += (f"headroom {headroom:,} bytes, while the packed size moves by about 5,000 from run to run",)
    return CheckOutcome("B-a", (), measured, "", notes)


def check_sizes_agree(review: Review) -> CheckOutcome:
    """Compare the sizes in logs, json and folder (#2118; the log decided for #1835)."""
    comparisons = [*_compare_log_parts(review), *_compare_claims(review), *_compare_code(review)]
    findings = [finding for finding in comparisons if isinstance(finding, Finding)]
    notes = tuple(note for note in comparisons if isinstance(note, str) and note)
    if not comparisons:
        return CheckOutcome("sizes agree", (), "", "fewer than two places state a size")
    measured = f"{len(comparisons)} compared, {len(findings)} differ"
    return CheckOutcome("sizes agree", tuple(findings), measured, "", notes)


_Comparison = Finding | str  # a difference, else a note on how it was read, or ""


def _compare_log_parts(review: Review) -> Iterator[_Comparison]:
    """Whether model and code make the total, in each log; said once for all logs."""
    wrong: list[tuple[str, TrainingLog]] = []
    n_compared = 0
    for log in review.logs:
        model, total = log.facts.get("model_bytes"), log.facts.get("total_bytes")
        codes = [log.facts[name] for name in ("code_bytes", "raw_code_bytes") if name in log.facts]
        if model and total and codes:
            n_compared += 1
            if all(model + code != total for code in codes):
                wrong.append((f"model {model:,.0f} + code {codes[0]:,.0f} is not the total of {total:,.0f}", log))
    if wrong:
        more = f" (and so in {len(wrong) - 1} more logs)" if len(wrong) > 1 else ""
        yield Finding(NO_RULING, f"{wrong[0][0]}{more}", wrong[0][1].locate("total_bytes"))
    elif n_compared:
        yield ""


def _compare_claims(review: Review) -> Iterator[_Comparison]:
    """json's totals and code against those of the logs; a mean or a maximum is accepted and said."""
    claims, sizes = review.submission.claims, review.submission.folder.sizes
    every_log = [log for log in review.submission.logs if log.total_bytes]
    selected = [log.total_bytes for log in review.logs if log.total_bytes]
    wrong_seeds = []
    for seed, claim in claims.per_seed.items():
        totals = {log.total_bytes for log in every_log if log.seed == seed and log.total_bytes}
        if claim.total_bytes and totals:
            if any(abs(claim.total_bytes - total) < max(1, claim.bytes_resolution) for total in totals):
                yield ""
            else:
                wrong_seeds.append(f"seed {seed} json {claim.total_bytes:,}, log {_format_sizes(totals)}")
    if wrong_seeds:
        yield Finding(CONTRADICTS, f"bytes of {'; '.join(wrong_seeds[:2])}{_format_more(wrong_seeds[2:])}", review.json)
    model_bytes = _find_model_bytes(review) or 0
    executed, script = _count_executed_bytes(review), sizes.get(review.submission.sources.script, 0)
    if claims.total_bytes and selected:
        totals = {*selected, *(log.total_bytes for log in every_log if log.total_bytes)}
        shipped = frozenset({model_bytes + executed, model_bytes + script} if model_bytes else ())
        yield _compare_total(claims.total_bytes, claims.bytes_resolution, totals, "bytes_total", shipped, selected)
    counted = {
        int(log.facts[name]) for log in review.logs for name in ("code_bytes", "raw_code_bytes") if name in log.facts
    }
    if claims.code_bytes and counted:
        if claims.code_bytes in counted | {executed, script}:
            yield ""
        else:
            text = f"bytes_code: json {claims.code_bytes:,}, logs {_format_sizes(counted)}, as shipped {executed:,}"
            yield Finding(CONTRADICTS, text, review.json)


def _compare_total(
    claim: int,
    resolution: int,
    totals: set[int],
    label: str,
    shipped: frozenset[int] = frozenset(),
    selected: list[int] | None = None,
) -> _Comparison:
    if any(abs(claim - total) < max(1, resolution) for total in totals | shipped):
        is_maximum = claim == max(totals) and len(totals) > 1 and selected is not None
        return f"json's {label} is the maximum of the logs'" if is_maximum else ""
    for values in (selected or [], sorted(totals)):
        if len(values) > 1 and abs(claim - sum(values) / len(values)) <= max(1, resolution):
            return Finding(CLERICAL, f"{label}: json gives the mean of the logs, {claim:,}; no artifact has this size")
    return Finding(CONTRADICTS, f"{label}: json {claim:,}, logs {_format_sizes(totals)}", "submission.json")


def _compare_code(review: Review) -> Iterator[_Comparison]:
    """The code that the logs count against what the script executes as shipped."""
    sources, sizes = review.submission.sources, review.submission.folder.sizes
    counted = {log.label: log.code_bytes for log in review.logs if log.code_bytes}
    raw = {int(log.facts["raw_code_bytes"]) for log in review.logs if "raw_code_bytes" in log.facts}
    if not counted or not sources.script:
        return
    script, executed = sizes[sources.script], _count_executed_bytes(review)
    values = set(counted.values())
    others = [name for name in sources.files if name != sources.script]
    if others and script in values and executed not in values:
        text = (
            f"the logs count {script:,} bytes of code, {sources.script} alone; it executes "
            f"{_format_files(review, others)}: {executed:,} as shipped"
        )
        yield Finding(CONTRADICTS, text, sources.script)
    elif values & {script, executed}:
        yield ""
    elif others and script < max(values) < executed:
        files = _format_files(review, [sources.script, *others])
        text = f"the logs count {_format_sizes(values)} bytes of code, {executed:,} as shipped: {files}"
        yield Finding(CONTRADICTS, text, sources.script)
    else:
        where = next(log for log in review.logs if log.code_bytes).locate("code_bytes", "raw_code_bytes")
        is_edited = (
            not raw and not sources.is_packed and any(abs(script - one) <= _EDITED_FRAC * script for one in values)
        )
        shipped = f"{executed:,} as shipped" + (f" in {len(others) + 1} files" if others else "")
        if is_edited:
            text = f"the logs count {_format_sizes(values)} bytes of code, {sources.script} has {script:,}"
            yield Finding(CONTRADICTS, text, where)
        else:
            text = f"the logs count {_format_sizes(values)} bytes of code, {shipped}; packed or readable code is open"
            yield Finding(NO_RULING, text, where)


def _format_more(rest: list[str]) -> str:
    return f"; and {len(rest)} more" if rest else ""


def _format_sizes(sizes: set[int]) -> str:
    return list_names([f"{size:,}" for size in sorted(sizes)])
