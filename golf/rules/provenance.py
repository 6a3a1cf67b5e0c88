"""Checks on where the artifact and the plan come from, what was opened while it was scored, and its budgets."""

from dataclasses import dataclass

from golf.data import shards
from golf.ground.lineage import UNKNOWN
from golf.rules.evidence import Clock, Told
from golf.rules.finding import FAIL, NOT_RUN, Finding, judged

HARDWARE = "8 × NVIDIA H100"  # SXM: the memory that nvidia-smi names is 80GB HBM3
SXM = "HBM3"
KINDS = ("files", "sockets", "commands")  # of what a Watch reports
STRANGER = "of unknown origin: without lineage nobody can say what it was made from"
ORDER = "C1 and C3: val text is learned from before it is scored (#1376, #1485, #1735)"


def splits(artifact: Told, plan: Told | None) -> list[Finding]:
    """C1-e, C3-f, C4-d: val behind the artifact or behind the plan, understated lineage, seeds. plan: None where the
    headline follows none.
    """
    reached = " -> ".join(artifact.chain)
    if "val" in artifact.splits:
        upstream = Finding("C3-f", FAIL, f"saw {', '.join(artifact.splits)}", "no val", f"{ORDER}; {reached}")
    elif artifact.understated:
        upstream = Finding("C3-f", FAIL, artifact.understated[0], "its inputs' splits", "lineage leaves out a split")
    elif UNKNOWN in artifact.splits:
        upstream = Finding("C3-f", NOT_RUN, note=STRANGER)
    else:
        upstream = judged("C3-f", True, f"saw {', '.join(artifact.splits)}", "no val")
    return [reading(artifact, plan), upstream, seeds(artifact)]


def reading(artifact: Told, plan: Told | None) -> Finding:
    tried = plan.splits if plan else ()
    shown = f"artifact {', '.join(artifact.splits)}" + (f"; plan {', '.join(tried)}" if plan else "")
    if "val" in artifact.splits:
        return Finding("C1-e", FAIL, shown, "no val", f"val reached the artifact: {' -> '.join(artifact.chain)}")
    if "val" in tried:
        return Finding("C1-e", FAIL, shown, "no val", f"the plan was tried on val; {' -> '.join(plan.chain)}")
    if UNKNOWN in (*artifact.splits, *tried):
        return Finding("C1-e", NOT_RUN, shown, "no val", STRANGER)
    return judged("C1-e", True, shown, "no val")


def seeds(artifact: Told) -> Finding:
    if not artifact.seeds:
        return Finding("C4-d", NOT_RUN, note="the artifact's lineage names no seed")
    return judged("C4-d", True, f"seeds {', '.join(map(str, artifact.seeds))}", "in lineage")


def disjoint(train: dict, dev: dict, val: list[dict]) -> Finding:
    """C1-f: documents of the splits' indexes, by the hash of their text as the normaliser leaves it (#2127). dev
    counts as train does: what is chosen on it shapes the artifact. Of a split that lists no documents, fetch compared
    the ids with val's and left out what it found; that holds for the val that it names.
    """
    texts, named, shared = {row["text"] for row in val}, shards.texts_digest(val), {}
    for name, index in (("train", train), ("dev", dev)):
        apart = index.get("unlisted", {"apart_from": {"val": named}})["apart_from"].get("val")
        if apart != named:
            note = f"{name} lists no documents, and fetch did not compare them with this val"
            return Finding("C1-f", NOT_RUN, note=note)
        shared[name] = len(texts & {row["text"] for row in index["documents"]})
    found = ", ".join(f"{count:,} with {name}" for name, count in shared.items())
    by_fetch = " (train as fetch found)" if "unlisted" in train else ""
    measured = f"{found} of {shards.count(train):,}, {shards.count(dev):,} and {len(val):,}{by_fetch}"
    where = " and ".join(name for name, count in shared.items() if count)
    return judged("C1-f", not where, measured, "0 shared", f"documents of val are in {where} too (#2127)")


def room(reports: list[dict], code: list[str]) -> list[Finding]:
    """C1-g and B-b: what the method's processes opened, reached and started, and what they were given at first."""
    beyond = {kind: sorted({x for report in reports for x in report[kind]}) for kind in KINDS}
    opened = sum(report["opened"] for report in reports)
    kinds = ", ".join(f"{len(found)} {kind}" for kind, found in beyond.items())
    shown = ", ".join([entry for found in beyond.values() for entry in found][:3])
    outside = judged("C1-g", not shown, f"{kinds} of {opened}", "0", f"it went outside its room: {shown}")
    clean = f"{len(code)} code files and the artifact, {len(reports)} processes"
    return [outside, judged("B-b", not beyond["files"], clean, "counted alone", "it needed files that are not counted")]


@dataclass(frozen=True)
class Size:
    """Bytes of what would ship, measured on the files themselves."""

    payload: int
    code: int
    limit: int

    @property
    def total(self) -> int:
        return self.payload + self.code

    def finding(self) -> Finding:
        over = f"{self.total - self.limit:,} bytes over; the limit is decimal (#1698)"
        found = judged("B-a", self.total <= self.limit, f"{self.total:,} bytes", f"{self.limit:,}", over)
        if found.status != FAIL and self.limit - self.total < 10_000:
            return Finding("B-a", found.status, found.measured, found.limit, "under 10,000 bytes of headroom (#1978)")
        return found


def budgets(train: Clock | None, eval_seconds: float, eval_limit: float | None, hardware: str) -> list[Finding]:
    """B-c, B-d, B-e. Seconds on other hardware prove nothing of a record: NOT-RUN unless over their own limit."""
    right = train is not None and all(contests(each) for each in (train.hardware, hardware))
    if train is None:
        training = Finding("B-c", NOT_RUN, note="the artifact's training was not measured here")
    else:
        training = timed("B-c", train.seconds, train.limit, train.hardware, right)
    machine = hardware if train is None or train.hardware == hardware else f"{train.hardware}; judged on {hardware}"
    where = judged("B-e", right, machine, "8×H100 SXM")
    if not right:
        where = Finding("B-e", NOT_RUN, machine, "8×H100 SXM", "a proxy for the contest's machine")
    return [training, timed("B-d", eval_seconds, eval_limit, hardware, right), where]


def contests(hardware: str) -> bool:
    """Whether this is the contest's machine, as ``golf.ground.stage.hardware`` puts it."""
    return hardware.startswith(HARDWARE) and SXM in hardware


def timed(check: str, seconds: float, limit: float | None, hardware: str, right: bool) -> Finding:
    measured = f"{seconds:.1f} s"
    if limit is None:
        return Finding(check, NOT_RUN, measured, "none set", "a run without a limit of time is no record")
    if seconds > limit:
        return Finding(check, FAIL, measured, f"{limit:g} s", "over the limit that the run was given")
    if not right:
        return Finding(check, NOT_RUN, measured, f"{limit:g} s", f"within its limit on {hardware}, no proof for 8×H100")
    return judged(check, True, measured, f"{limit:g} s")
