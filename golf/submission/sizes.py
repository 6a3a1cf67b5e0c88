"""B-a: the bytes of what ships, as they lie in the folder, as the log counted them and as the json claims them."""

import warnings

from golf.ground.closure import closure
from golf.ground.errors import BadInput
from golf.rules.finding import FAIL, NOT_RUN, PASS, UNRULED, Finding
from golf.submission.evidence import Evidence
from golf.submission.folder import CODE_BYTES, Folder

CAP = 16_000_000  # decimal, by the challenge's README
MEBI = 16 << 20  # what #1698 took it for
HEADROOM = 10_000  # bf16 moves the packed size by about 5 kB from run to run (#1978)
SCRIPT = "train_gpt.py"
BLOBS = (".ptz", ".golf", ".zst", ".br", ".xz", ".lzma", ".safetensors", ".bin")
NATIVE = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".so", ".rs")
TOKENIZERS = (".model", ".vocab", "tokenizer.json")


def executed(folder: Folder) -> tuple[list[str], str]:
    """The files of code that the script runs, by its syntax tree, and those in other languages; and a remark.

    Where the tree can't tell (a script for a newer Python, a link among the files) it is every file of code.
    """
    every, native = folder.named(".py"), folder.named(*NATIVE)
    if SCRIPT not in folder.sizes:
        return every + native, f"no {SCRIPT}: every .py is counted"
    if folder.refused or any(folder.sizes[name] > CODE_BYTES for name in every):
        return every + native, "every .py is counted: not all of them can be read"
    try:
        with warnings.catch_warnings():  # of a stranger's escapes and comparisons
            warnings.simplefilter("ignore")
            reached = closure(SCRIPT, root=folder.root)
    except (BadInput, OSError, ValueError, RecursionError, MemoryError):
        return every + native, f"every .py is counted: a file that {SCRIPT} runs does not parse here"
    packed = b"exec(" in (folder.root / SCRIPT).read_bytes()
    return reached + native, f"{SCRIPT} runs text through exec: what that imports is not seen" if packed else ""


def blob(evidence: Evidence) -> int | None:
    """Bytes of the packed model: of the file in the folder, else the largest that a log states, else None."""
    stated = set(evidence.facts("model_bytes").values())
    files = {size for size in evidence.folder.sizes.values() if size in stated}
    files = files or {evidence.folder.sizes[name] for name in evidence.folder.named(*BLOBS)}
    return int(max(files or stated)) if files or stated else None


def size(evidence: Evidence) -> Finding:
    """B-a: the log's and the json's totals against the cap; the raw total only where nobody counted otherwise.

    The total in the log decided for #1809 and #1835. Whether packed code may ship as its readable source (#1855) and
    whether tokenizers count (#847) nobody has ruled: what is over the cap only in that way is UNRULED.
    """
    names, remark = executed(evidence.folder)
    weights = blob(evidence)
    logged = [log.total_bytes for log in evidence.logs if log.total_bytes]
    claimed = [one.total for one in (evidence.claims, *evidence.claims.seeds.values()) if one.total]
    shipped = weights + sum(evidence.folder.sizes[name] for name in names) if weights and names else None
    tokenizers = sum(evidence.folder.sizes[name] for name in evidence.folder.named(*TOKENIZERS))
    totals = {"log": max(logged, default=None), "json": max(claimed, default=None), "as shipped": shipped}
    measured = ", ".join(f"{name} {total:,}" for name, total in totals.items() if total)
    counted = max([*logged, *claimed] or [shipped or 0])
    limit = f"{CAP:,} bytes"
    if not counted:
        return Finding("B-a", NOT_RUN, "", limit, "neither a log nor the json nor the folder shows the model's bytes")
    if counted <= CAP and not evidence.logs and not claimed:
        note = "no log and no json says what was scored, so these files show nothing of a run"
        return Finding("B-a", NOT_RUN, measured, limit, note)
    if counted > CAP:
        mebi = "; under 16 MiB, but the cap is decimal (#1698)" if counted <= MEBI else ""
        return Finding("B-a", FAIL, measured, limit, f"{counted - CAP:,} bytes over{mebi}")
    if shipped and shipped > CAP:
        note = f"over only with the code as shipped ({', '.join(names)}): packed or raw is disputed (#1835, #1855)"
        return Finding("B-a", UNRULED, measured, limit, joined(note, remark))
    if tokenizers and (shipped or counted) + tokenizers > CAP:
        note = f"over only with {tokenizers:,} bytes of tokenizer, which nobody has ruled on (#847)"
        return Finding("B-a", UNRULED, measured, limit, joined(note, remark))
    left = CAP - max(counted, shipped or 0)
    close = f"headroom {left:,} bytes: the packed size moves by about 5,000 from run to run (#1978)"
    return Finding("B-a", PASS, measured, limit, joined(close if left < HEADROOM else "", remark))


def joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def agreement(evidence: Evidence) -> Finding:
    """Whether the sizes that log, json and folder state are the same ones (#2118; the log decided for #1835)."""
    found = list(compared(evidence))
    if not found:
        return Finding("sizes agree", NOT_RUN, "", "", "fewer than two places state a size")
    differing = [words for status, words in found if status != PASS]
    worst = next(status for status in (FAIL, UNRULED, PASS) if any(one == status for one, _ in found))
    measured = f"{len(found)} compared, {len(differing)} differ"
    return Finding("sizes agree", worst, measured, "equal", "; ".join(differing))


def compared(evidence: Evidence):
    """Yield (status, words) of every two sizes that should be one. A log that counts another code than it prints is
    UNRULED, as packed against raw is; a claim of the json that neither a log nor the files bear out is FAIL."""
    claims, sizes = evidence.claims, evidence.folder.sizes
    for log in evidence.logs:
        model, code, total = (log.facts.get(name) for name in ("model_bytes", "code_bytes", "total_bytes"))
        if model and code and total:
            words = f"{log.name}: model {model:,.0f} + code {code:,.0f} is not total {total:,.0f} (#1835)"
            yield PASS if model + code == total else UNRULED, words
    for seed, claim in claims.seeds.items():
        logged = {log.total_bytes for log in evidence.logs if log.seed == seed and log.total_bytes}
        if claim.total and logged:
            yield held(claim.total, logged, logged, f"seed {seed}")
    weights, names = blob(evidence) or 0, executed(evidence.folder)[0]
    codes = {sum(sizes[name] for name in names), sizes.get(SCRIPT, 0)}
    logged = {log.total_bytes for log in evidence.logs if log.total_bytes}
    if claims.total and logged:
        yield held(claims.total, logged, logged | {weights + code for code in codes}, "total")
    logged = {int(code) for name in ("code_bytes", "raw_code_bytes") for code in evidence.facts(name).values()}
    if claims.code and logged:
        yield held(claims.code, logged, logged | codes, "code")
    if logged and SCRIPT in sizes:
        counted = ", ".join(f"{size:,}" for size in sorted(logged))
        yield PASS if logged & codes else UNRULED, f"code: logs {counted}, in the folder {max(codes):,} (#1835, #1855)"


def held(claim: int, logged: set[int], allowed: set[int], what: str) -> tuple[str, str]:
    """Whether a claim is one of those allowed; the words name what the logs say."""
    words = f"{what}: json {claim:,}, logs {', '.join(f'{size:,}' for size in sorted(logged))}"
    return (PASS if claim in allowed else FAIL), words
