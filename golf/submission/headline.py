"""Find the logs and the pass that gave the headline of submission.json; the other checks are made on these.

A folder may hold repeats, ablations and several passes in each log. The mean over seeds of one pass is tried first, in
groups of logs that belong together, then a single log, then what is no result: a step, a diagnostic, an earlier run.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from golf.submission.claims import ReportedNumber, mean
from golf.submission.contents import MATCH_TOLERANCE, Submission
from golf.submission.logs.training_log import LoggedScore, TrainingLog

__all__ = ["Headline", "HeadlineRow", "find_headline"]

_MAX_CHOICES = 64  # ways to take one log of each seed
_RECORD_WORLD_SIZE = 8.0
_MAX_BPB_PER_NATS = (
    0.65  # bpb / nats per token is 1 / (ln 2 * bytes per token): 0.6 at 2.4 bytes, the smallest tokenizer
)


@dataclass(frozen=True, slots=True)
class HeadlineRow:
    """A log and the pass in it that counts."""

    log: TrainingLog
    score: LoggedScore

    @property
    def where(self) -> str:
        """``file:line`` of the score."""
        return f"{self.log.name}:{self.score.line}"


@dataclass(frozen=True)
class Headline:
    """Where the claimed score comes from.

    kind: "mean" of the rows, "single" for one of several logs, "mixed" for a mean over different passes, "earlier"
    for a run that a later one in its file replaces, "step", "diagnostic" or "mention" for what ends no evaluation,
    "loss" for nats per token, "absent" if no log has it, "unclaimed" if submission.json claims no score. rows: the
    selected logs, one for each seed; those that should have the claimed score if none has it. claim, key: the claimed
    number and its key. matched_row: the line that has a claim that is not the rows' score. passes_differ: whether the
    logs share no pass.
    """

    kind: str
    rows: tuple[HeadlineRow, ...] = ()
    claim: ReportedNumber | None = None
    key: str = ""
    matched_row: HeadlineRow | None = None
    passes_differ: bool = False

    @property
    def logs(self) -> list[TrainingLog]:
        """The logs of the rows."""
        return [row.log for row in self.rows]

    @property
    def is_matched(self) -> bool:
        """Whether the rows' scores are the claim."""
        return self.kind in ("mean", "single", "mixed")

    def list_seed_scores(self) -> list[tuple[ReportedNumber, ReportedNumber | None]]:
        """Return (bpb, loss) of each row, for statistics; [] over different passes, which are not alike."""
        if self.passes_differ:
            return []
        return [(row.score.bpb, row.score.loss) for row in self.rows if row.score.bpb]


def find_headline(submission: Submission) -> Headline:
    """Find the logs and the pass that gave the claim."""
    entries = _keep_last_runs(submission.logs)
    scored = [log for log in entries if log.finite_scores]
    claim, key = _find_claim(submission, scored)
    groups = list(_list_groups(submission, scored))
    if claim is None:
        rows, differ = _make_default_rows(groups)
        return Headline("unclaimed", rows, passes_differ=differ)
    if headline := _find_mean(groups, claim, key):
        return headline
    for log in scored:
        for score in reversed(log.finite_scores):
            if _is_claim(score.bpb, claim):
                return Headline("single", (HeadlineRow(log, score),), claim, key)
    rows, differ = _make_default_rows(groups)
    for kind, row in _list_other_rows(submission.logs, entries):
        number = row.score.loss if kind == "loss" else row.score.bpb
        if _is_claim(number, claim):
            return Headline(kind, rows, claim, key, row, differ)
    if row_of_mean := _find_mean_of_steps(groups or [entries], claim):
        return Headline(row_of_mean.score.kind, rows, claim, key, row_of_mean, differ)
    return Headline("absent", rows, claim, key, passes_differ=differ)


def _find_claim(submission: Submission, scored: Sequence[TrainingLog]) -> tuple[ReportedNumber | None, str]:
    """The claimed bpb and its key: also the mean of the seeds' claims, and a val_loss that is a log's bpb."""
    claims = submission.claims
    if claims.bpb and claims.bpb.value:
        return claims.bpb, claims.bpb_key or "val_bpb"
    if seed_bpbs := [claim.bpb for claim in claims.per_seed.values() if claim.bpb and claim.bpb.value]:
        return mean(seed_bpbs), "the seeds' val_bpb"
    if claims.loss and claims.loss.value:
        losses = [score.loss.value for log in scored for score in log.finite_scores if score.loss]
        if losses and claims.loss.value < _MAX_BPB_PER_NATS * min(losses):
            return claims.loss, "val_loss"
    return None, ""


def _is_claim(number: ReportedNumber | None, claim: ReportedNumber) -> bool:
    return number is not None and number.matches(claim, MATCH_TOLERANCE)


def _keep_last_runs(logs: Sequence[TrainingLog]) -> list[TrainingLog]:
    """Of the runs of one seed in one file, the last that has a score."""
    last: dict[tuple[str, int | None], TrainingLog] = {}
    for log in logs:
        key = (log.name, log.seed)
        if key not in last or log.scores or not last[key].scores:
            last[key] = log
    return list(last.values())


def _list_groups(submission: Submission, scored: list[TrainingLog]) -> Iterator[list[TrainingLog]]:
    """Logs that may be the submission's, most likely first: of the listed seeds, all, alike, or in one folder."""
    listed = set(submission.claims.listed_seeds)
    world_sizes = Counter(log.facts["world_size"] for log in scored if "world_size" in log.facts)
    usual_size = _RECORD_WORLD_SIZE if _RECORD_WORLD_SIZE in world_sizes else max(world_sizes, default=None)
    on_usual = [log for log in scored if log.facts.get("world_size", usual_size) == usual_size]
    settings = Counter(frozenset(log.settings.items()) for log in scored)
    common = max(settings, key=lambda item: settings[item], default=frozenset())
    alike = [log for log in scored if frozenset(log.settings.items()) == common]
    folders = sorted({log.name.rpartition("/")[0] for log in scored})
    pools = [[log for log in pool if not listed or log.seed in listed] for pool in (scored, on_usual, alike)]
    pools += [scored, on_usual, alike]
    pools += [[log for log in scored if log.name.rpartition("/")[0] == folder] for folder in folders]
    seen: set[tuple[int, ...]] = set()
    for pool in pools:
        for group in (*_take_one_of_each_seed(submission, pool), pool):
            key = tuple(sorted(id(log) for log in group))
            if group and key not in seen:
                seen.add(key)
                yield group


def _take_one_of_each_seed(submission: Submission, pool: list[TrainingLog]) -> Iterator[list[TrainingLog]]:
    """The ways to take one log of each seed: those that the seeds' claims name first, then later files."""
    by_seed: dict[int | str, list[TrainingLog]] = {}
    for log in pool:
        by_seed.setdefault(log.label if log.seed is None else log.seed, []).insert(0, log)
    for seed, logs in by_seed.items():
        claim = submission.claims.per_seed.get(seed) if isinstance(seed, int) else None
        if claim and claim.bpb:
            bpb = claim.bpb
            logs.sort(key=lambda log: not any(_is_claim(score.bpb, bpb) for score in log.finite_scores))
    for choice in itertools.islice(itertools.product(*by_seed.values()), _MAX_CHOICES):
        yield list(choice)


def _list_shared_passes(group: Sequence[TrainingLog]) -> list[str]:
    """The names of the passes that all logs of a group have, the last first."""
    names = [{name for score in log.finite_scores for name in (score.name, *score.aliases)} for log in group]
    shared = set.intersection(*names) if names else set()
    return [score.name for score in reversed(group[0].finite_scores) if score.name in shared] if group else []


def _take_pass(group: Sequence[TrainingLog], name: str) -> tuple[HeadlineRow, ...]:
    return tuple(
        HeadlineRow(log, next(score for score in reversed(log.finite_scores) if name in (score.name, *score.aliases)))
        for log in group
    )


def _make_default_rows(groups: list[list[TrainingLog]]) -> tuple[tuple[HeadlineRow, ...], bool]:
    """The rows that should have the claim, and whether their passes differ: the last pass that all logs have."""
    if not groups:
        return (), False
    group = groups[0]
    if names := _list_shared_passes(group):
        return _take_pass(group, names[0]), False
    return tuple(HeadlineRow(log, log.finite_scores[-1]) for log in group), len(group) > 1


def _find_mean(groups: list[list[TrainingLog]], claim: ReportedNumber, key: str) -> Headline | None:
    for group in groups:
        for name in _list_shared_passes(group):
            rows = _take_pass(group, name)
            if _is_claim(mean([row.score.bpb for row in rows if row.score.bpb]), claim):
                return Headline("mean", rows, claim, key)
    for group in groups:
        rows = tuple(HeadlineRow(log, log.finite_scores[-1]) for log in group)
        if len(rows) > 1 and _is_claim(mean([row.score.bpb for row in rows if row.score.bpb]), claim):
            differ = not _list_shared_passes(group) or len({row.score.name for row in rows}) > 1
            return Headline("mixed" if differ else "mean", rows, claim, key, passes_differ=differ)
    return None


def _list_other_rows(logs: Sequence[TrainingLog], entries: Sequence[TrainingLog]) -> Iterator[tuple[str, HeadlineRow]]:
    """Scores that are no result of the logs, in the order in which a claim is looked for among them."""
    for log in logs:
        superseded = log.superseded if log in entries else (*log.superseded, *log.finite_scores)
        yield from (("earlier", HeadlineRow(log, score)) for score in superseded if score.bpb)
    for kind in ("step", "diagnostic"):
        for log in entries:
            yield from ((kind, HeadlineRow(log, score)) for score in reversed(log.other_scores) if score.kind == kind)
    for log in entries:
        yield from (("loss", HeadlineRow(log, score)) for score in reversed(log.finite_scores))
    for log in entries:
        yield from (("mention", HeadlineRow(log, one)) for one in log.other_scores if one.kind == "mention")


def _find_mean_of_steps(groups: Sequence[Sequence[TrainingLog]], claim: ReportedNumber) -> HeadlineRow | None:
    """The first log's line if the claim is the mean over the logs of their last steps' or diagnostics' scores."""
    for group, kind in itertools.product(groups, ("step", "diagnostic")):
        rows = [
            HeadlineRow(log, score)
            for log in group
            if (score := next((one for one in reversed(log.other_scores) if one.kind == kind), None))
        ]
        if len(rows) > 1 and _is_claim(mean([row.score.bpb for row in rows if row.score.bpb]), claim):
            return rows[0]
    return None
