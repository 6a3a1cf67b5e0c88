"""What a submission folder says for itself, gathered once: its files, the claims of its json, the facts of its logs."""

import re
from dataclasses import dataclass
from pathlib import Path

from golf.ground.errors import BadArtifact, BadInput
from golf.submission import claims, folder, logs
from golf.submission.claims import Claims
from golf.submission.figure import Figure
from golf.submission.folder import Folder
from golf.submission.logs import Log, Score

NO_LOG = re.compile(r"requirements|licen[cs]e|notes?|readme|cmake")
ALL_LOGS = 64 << 20  # bytes that are read of all logs together
EXACT = 1e-6  # by which json and log may differ where both give as many places
TRACK = "non_record"  # in the path of a submission that is not for a record


@dataclass(frozen=True)
class Evidence:
    """What the checks look at.

    claims: empty where submission.json is missing or damaged; damage: what is wrong with it, or "". logs: those that
    were understood; unread: the others, named with the reason; notes: what was read in part. record: False on a track
    without clocks.
    """

    folder: Folder
    claims: Claims
    damage: str
    logs: tuple[Log, ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...]
    record: bool

    def results(self) -> list[tuple[Log, Score]]:
        """Every log that ends in a score, with it."""
        return [(log, log.result) for log in self.logs if log.result]

    def finals(self) -> list[tuple[Log, Score]]:
        """One final score a seed, which both M-e and the statistics are of: of a seed's logs the one that the json
        claims, else the last. A log without a seed stands for itself.
        """
        chosen: dict[int | str, tuple[Log, Score]] = {}
        for log, score in self.results():
            key = log.name if log.seed is None else log.seed
            claim = self.claims.seeds.get(log.seed, Claims()).bpb
            if not (claim and key in chosen and chosen[key][1].bpb.agrees(claim, EXACT)):
                chosen[key] = (log, score)
        return list(chosen.values())

    def facts(self, name: str) -> dict[str, float]:
        """One fact by the names of the logs that state it."""
        return {log.name: log.facts[name] for log in self.logs if name in log.facts}


def gather(path) -> Evidence:
    """Read a folder; raises BadInput as folder.read does, nothing else for what is in it."""
    found = folder.read(path)
    claimed, damage = Claims(), ""
    if "submission.json" in found.sizes:
        try:
            claimed = claims.claims(folder.tree(found, "submission.json"))
        except BadArtifact as error:
            damage = str(error)
    understood, unread, notes, left = [], [], [], ALL_LOGS
    for name in log_files(found):
        left -= min(found.sizes[name], folder.LOG_BYTES)
        if left < 0:
            unread.append(f"{name}: not read, the logs before it hold {ALL_LOGS:,} bytes")
            continue
        try:
            log = logs.parse(name, folder.text(found, name, folder.LOG_BYTES))
        except BadArtifact as error:
            unread.append(str(error))
            continue
        if found.sizes[name] > folder.LOG_BYTES:
            notes.append(f"{name}: {found.sizes[name]:,} bytes, the first and last {folder.LOG_BYTES // 2:,} were read")
        if log.known:
            understood.append(log)
        else:
            unread.append(f"{name}: unknown log format")
    record = claimed.record and not any(TRACK in part for part in found.root.parts[-2:])
    return Evidence(found, claimed, damage, tuple(understood), tuple(unread), tuple(notes), record)


def log_files(found: Folder) -> list[str]:
    """``.log``, and ``.txt`` that is not by its name something else."""
    return [
        name
        for name in found.named(".log", ".txt")
        if name.lower().endswith(".log") or not NO_LOG.search(Path(name).name.lower())
    ]


def seed_scores(path) -> list[tuple[Figure, Figure | None]]:
    """bpb and loss of each seed of a submission to compare with: its folder, or its submission.json alone.

    Of a folder the logs count, unless the json names more seeds. Raises BadInput where neither gives a score, and
    BadArtifact for a file that can't be read.
    """
    path = Path(path)
    if path.is_file():
        found = Folder(path.resolve().parent, {path.name: path.stat().st_size})
        told = claims.claims(folder.tree(found, path.name))
        measured = []
    else:
        gathered = gather(path)
        told, measured = gathered.claims, [(score.bpb, score.loss) for _, score in gathered.finals()]
    claimed = [(one.bpb, one.loss) for one in told.seeds.values() or [told] if one.bpb]
    if not (found := measured if len(measured) >= len(claimed) else claimed):
        raise BadInput(f"{path}: no score to compare with; name a submission's folder or its submission.json")
    return found
