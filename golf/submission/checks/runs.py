"""Checks that the logs are of one run: settings and data, the script that they print, their seeds and their number."""

from collections import Counter
from collections.abc import Sequence

from golf.pipeline.progress import format_count
from golf.submission.checks.review import Review, format_seeds, group_logs
from golf.submission.findings import CLERICAL, CONTRADICTS, NO_RULING, CheckOutcome, Finding, list_names
from golf.submission.logs import source_dumps
from golf.submission.logs.source_dumps import DumpDifference
from golf.submission.logs.training_log import LoggedScore, TrainingLog, parse_seeds_in_name

__all__ = ["check_runs_of_seed", "check_same_run", "check_seeds", "check_source"]

_SHARED_FACTS = {
    "train_shards": "train_shards",
    "val_tokens": "val_tokens",
    "model_params": "model_params",
    "world_size": "world_size",
}
_MAX_LISTED_DIFFERENCES = 4
_MAX_LISTED_DEFAULTS = 3
_MIN_SHARED_FRAC = 0.3  # of a dump's lines with a packed script's, below which they can't be compared
_MIN_DUMP_LINES = 5


def check_same_run(review: Review) -> CheckOutcome:
    """Check that the selected logs share settings, data and code (#86, #1851, #2071, #2124)."""
    complete = [log for log in review.logs if log.final_score] or list(review.logs)
    values_by_key: dict[str, dict[str, str]] = {}
    selected_settings = [log.settings for log in complete]
    repeats = [log for log in review.other_logs if log.final_score and log.settings in selected_settings]
    values_by_key["Code size"] = {log.label: f"{size:,}" for log in (*complete, *repeats) if (size := log.code_bytes)}
    for log in complete:
        facts = {title: f"{log.facts[name]:,.0f}" for name, title in _SHARED_FACTS.items() if name in log.facts}
        settings = {key: value for key, value in log.settings.items() if key not in _SHARED_FACTS}
        for key, value in {**settings, **facts}.items():
            values_by_key.setdefault(key, {})[log.label] = value
    differing = [key for key, values in values_by_key.items() if len(set(values.values())) > 1]
    differing.sort(key=lambda key: (key not in (*_SHARED_FACTS.values(), "Code size"), key))
    findings = [
        Finding(CONTRADICTS, f"{key[:60]}: {group_logs(values_by_key[key])}")
        for key in differing[:_MAX_LISTED_DIFFERENCES]
    ]
    if len(differing) > _MAX_LISTED_DIFFERENCES:
        rest = [key[:40] for key in differing[_MAX_LISTED_DIFFERENCES:]]
        findings.append(Finding(CONTRADICTS, f"{len(rest):,} more settings differ: {list_names(rest)}"))
    measured = f"{format_count(len(complete), 'log')}, {len(values_by_key)} settings compared"
    notes = _name_other_logs(review)
    if not complete:
        return CheckOutcome("one run", tuple(findings), "", "no log in a known format", notes)
    if not any(values_by_key.values()):
        return CheckOutcome("one run", tuple(findings), measured, "no log prints its settings", notes)
    return CheckOutcome("one run", tuple(findings), measured, "", notes)


def _name_other_logs(review: Review) -> tuple[str, ...]:
    """The logs that the headline does not rest on, with their number of ranks where it is another."""
    world_sizes = {log.facts.get("world_size") for log in review.logs}
    names = []
    for log in review.other_logs:
        world_size = log.facts.get("world_size")
        if log.n_runs > 1 and log.index < log.n_runs:
            continue  # said as a run of its file
        names.append(
            f"{log.label} ({world_size:.0f} GPUs)" if world_size and world_size not in world_sizes else log.label
        )
    return (f"not selected, the headline is not theirs: {list_names(names)}",) if names else ()


def check_source(review: Review) -> CheckOutcome:
    """Compare the script that a log prints with the one that is shipped (#86, #2118)."""
    dumped = [(log, max(log.dumps, key=lambda dump: len(dump.lines))) for log in review.logs if log.dumps]
    dumped = [(log, dump) for log, dump in dumped if len(dump.lines) >= _MIN_DUMP_LINES]
    sources = review.submission.sources
    shipped = {
        name: source_dumps.split_source_lines(text)
        for name, text in sources.texts.items()
        if name.partition(" ")[0].endswith(".py")
    }
    if not dumped or not shipped:
        missing = "no log prints its script" if not dumped else "no script that can be read"
        return CheckOutcome("source", (), "", missing)
    labels_by_text: dict[str, list[str]] = {}
    uncompared = ""
    for log, dump in {log.name: (log, dump) for log, dump in dumped}.values():
        script = next((name for name in (f"{sources.script} (unpacked)", sources.script) if name in shipped), "")
        differences = {name: source_dumps.compare_sources(dump.lines, lines) for name, lines in shipped.items()}
        name = min(differences, key=lambda one: (differences[one].n_lines, one != script))
        if differences[name].n_lines and script:
            name = script
        difference = differences[name]
        if not difference.n_lines:
            continue
        if (sources.is_packed or sources.caveat) and difference.shared_frac < _MIN_SHARED_FRAC:
            uncompared = f"{log.name} prints its script, the shipped one is packed"
            continue
        labels_by_text.setdefault(_describe(difference, name, len(dump.lines)), []).append(f"{log.name}:{dump.line}")
    findings = tuple(
        Finding(CONTRADICTS, f"{text}{f' (and in {len(places) - 1} more logs)' if len(places) > 1 else ''}", places[0])
        for text, places in labels_by_text.items()
    )
    return CheckOutcome("source", findings, f"{len(dumped)} printed scripts compared", "" if findings else uncompared)


def _describe(difference: DumpDifference, name: str, n_dumped: int) -> str:
    changed = [f"{key} {old} -> {new}" for key, old, new in difference.defaults[:_MAX_LISTED_DEFAULTS]]
    more = len(difference.defaults) - len(changed)
    defaults = f": {', '.join(changed)}{f' and {more} more defaults' if more > 0 else ''}" if changed else ""
    return f"the printed script is not {name}, {difference.n_lines:,} of {n_dumped:,} lines differ{defaults}"


def check_runs_of_seed(review: Review) -> CheckOutcome:
    """Check that each seed has one run and each pass one score; several leave open which was chosen, and when."""
    findings: list[Finding] = []
    by_file: dict[tuple[str, int | None], list[TrainingLog]] = {}
    by_seed: dict[int, list[str]] = {}
    for log in review.submission.logs:
        by_file.setdefault((log.name, log.seed), []).append(log)
        if log.seed is not None and log.scores:
            by_seed.setdefault(log.seed, []).append(log.name)
    for (name, seed), logs in by_file.items():
        if len(logs) > 1:
            findings.append(_compare_repeated_runs(name, seed, logs))
    for seed, names in by_seed.items():
        if len(set(names)) > 1:
            selected = [log.name for log in review.headline.logs if log.seed == seed]
            which = f"; the headline's is {selected[0]}" if selected else ""
            findings.append(Finding(NO_RULING, f"several logs of seed {seed}: {list_names(names)}{which}"))
    for row in review.rows:
        repeats = [score for score in row.log.superseded if score.name == row.score.name]
        if repeats:
            values = list_names([_format_bpb(score) for score in (*repeats, row.score)], 4)
            text = f"{row.score.name} stands {len(repeats) + 1} times in {row.log.label} ({values}); the last counts"
            findings.append(Finding(CONTRADICTS, text, f"{row.log.name}:{repeats[0].line}"))
    note = "" if by_file else "no log in a known format"
    return CheckOutcome("C4-c", tuple(findings), format_count(len(by_file), "run"), note)


def _compare_repeated_runs(name: str, seed: int | None, logs: Sequence[TrainingLog]) -> Finding:
    scores = [_format_bpb(log.finite_scores[-1]) for log in logs if log.finite_scores]
    of_seed = f" of seed {seed}" if seed is not None else ""
    n_unfinished = len(logs) - len(scores)
    unfinished = f", {n_unfinished} without a score" if n_unfinished else ""
    where = f"{name}:{logs[-1].finite_scores[-1].line}" if logs[-1].finite_scores else name
    given = f" ({list_names(scores, 4)}{unfinished})" if scores else ""
    severity = CONTRADICTS if len(set(scores)) > 1 else CLERICAL
    return Finding(severity, f"{format_count(len(logs), 'run')}{of_seed} in {name}{given}; the last counts", where)


def _format_bpb(score: LoggedScore) -> str:
    return "not a number" if score.bpb is None else f"{score.bpb.value:.{min(score.bpb.n_decimals, 6)}f}"


def check_seeds(review: Review) -> CheckOutcome:
    """Check that each log's name and text give one seed, and submission.json lists the seeds of the headline's logs.

    Files can't show that the seeds were declared before the runs.
    """
    submission = review.submission
    findings = [
        Finding(
            CONTRADICTS,
            f"{log.name} states seed {log.stated_seed}, its name says {named}",
            log.locate("seed"),
        )
        for log in submission.logs
        if (named := _find_contradicting_seed(review, log)) is not None
    ]
    logged = {log.seed for log in submission.logs if log.finite_scores and log.seed is not None}
    selected = {log.seed for log in review.headline.logs if log.seed is not None}
    listed = set(submission.claims.listed_seeds)
    if not logged:
        return CheckOutcome("C4-d", tuple(findings), "", "no log with a score states its seed")
    if listed:
        claimed = {seed for seed, claim in submission.claims.per_seed.items() if claim.bpb}
        if missing := listed - logged:
            verb = "claims scores of" if missing & claimed else "lists"
            text = f"{review.json} {verb} seed {format_seeds(missing)}, of which no log has a score"
            findings.append(Finding(CLERICAL, text))
        if unlisted := selected - listed:
            findings.append(
                Finding(CONTRADICTS, f"{review.json} does not list seed {format_seeds(unlisted)} of the logs")
            )
    counts = Counter(log.seed for log in review.headline.logs)
    repeated = {seed for seed, count in counts.items() if seed is not None and count > 1}
    if repeated:
        findings.append(Finding(CONTRADICTS, f"the headline counts several logs of seed {format_seeds(repeated)}"))
    measured = f"logs {format_seeds(logged)}; json {format_seeds(listed)}"
    return CheckOutcome("C4-d", tuple(findings), measured)


def _find_contradicting_seed(review: Review, log: TrainingLog) -> int | None:
    """The seed in a log's name if its text states another; ``s42`` counts only where json lists 42."""
    if log.stated_seed is None or log.index > 1:
        return None
    in_file = {run.stated_seed for run in review.submission.logs if run.name == log.name}
    long_seed, short_seed = parse_seeds_in_name(log.name)
    if long_seed is not None:
        return None if long_seed in in_file else long_seed
    is_listed = short_seed in review.submission.claims.listed_seeds
    return short_seed if short_seed is not None and is_listed and short_seed not in in_file else None
