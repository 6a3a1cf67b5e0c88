"""A method on trial: each way of scoring in a sitting of its own, the headline's audited, then the ablations."""

import contextlib
import dataclasses
import os
import secrets
import time
from dataclasses import dataclass

import numpy as np

from golf import judge
from golf.data.stream import Stream
from golf.ground import stage
from golf.ground.errors import BadMethod, Diverged, GolfError, OverBudget
from golf.ground.sections import Evaluate
from golf.ground.stage import SECRET
from golf.judge import Judged
from golf.room.room import CONTRACT, OutOfTime, Room, Sitting
from golf.rules import ablations, audit
from golf.rules.audit import Audit
from golf.rules.evidence import Case
from golf.rules.finding import Finding

OWN = "golf.method:Method"  # the one that learns by the ttt section
AUDITED = 3  # chunks: the first, and others anywhere


@dataclass(frozen=True)
class Trial:
    """judged: by way, the headline first. findings: of the probes. sitting: the headline's, over. reports: what each
    sitting's process opened. probe_seconds: spent on probes and hashes, no part of the headline's time. seed: what the
    places that they looked at follow from.
    """

    judged: dict[str, Judged]
    findings: list[Finding]
    sitting: Sitting
    reports: list[dict]
    probe_seconds: float
    seed: str

    def seconds_since(self, started: float) -> float:
        """Of the headline way, from the start of the process (seconds since the epoch) to its last score."""
        named = next(iter(self.judged.values()))
        return named.ended - started - named.paused - self.sitting.watch_s


def run(room: Room, case: Case, stream: Stream, evaluate: Evaluate, *, context: int, vocabulary: int) -> Trial:
    """Every way, the headline first, so that its clock carries every compilation and no other has met the stream."""
    seed = secret()
    dice = np.random.default_rng(list(bytes.fromhex(seed)))
    probed = evaluate.probe_alternatives is not None
    pace = {"plan": case.plan, "stride": evaluate.stride, "context": context}

    def scored(sitting: Sitting, way: str, **clocked) -> Judged:
        told = {"stage": "evaluate", "caveat": case.caveat(way), "quiet": not sitting.here.first}
        try:
            return judge.judge(sitting, stream, way, **pace, **told, **clocked)
        except Diverged as error:
            raise unscored(evaluate.method, error) from None

    with on_the_clock(room, evaluate), room.sit(watched=probed) as named:
        auditor = None
        if probed:
            chunks = chosen(stream.targets, case.plan.chunk_tokens, dice)
            auditor = Audit(
                named, stream, case.plan.chunk_tokens, chunks, vocabulary, evaluate.probe_alternatives, dice
            )
        used_s = time.time() - stage.started()
        first = scored(named, evaluate.headline, limit_s=evaluate.limit_s, used_s=used_s, audit=auditor)
        room.deadline = None  # its last score is there
        judged = {evaluate.headline: dataclasses.replace(first, seconds=first.seconds - named.watch_s)}
    reports = [named.report]
    for way in judge.WAYS:
        if way != evaluate.headline:
            with room.sit() as sitting:
                judged[way] = scored(sitting, way)
            reports.append(sitting.report)
    if not probed:
        off = "probes are off (evaluate.probe_alternatives: null)"
        return Trial(judged, audit.not_run(off) + ablations.not_run(off), named, reports, 0.0, seed)
    began = time.perf_counter()
    with room.sit() as sitting:
        manner = judge.manner(evaluate.headline, stream.targets, **pace)
        part = ablations.Slice.cut(stream.tokens, stream.bos, context, dice)
        ablated = ablations.findings(sitting, part, manner, named.begun)
    reports.append(sitting.report)
    spent = time.perf_counter() - began + judged[evaluate.headline].paused + named.watch_s
    return Trial(judged, audit.findings(auditor) + ablated, named, reports, spent, seed)


@contextlib.contextmanager
def on_the_clock(room: Room, evaluate: Evaluate):
    """Inside, the method's answers are awaited until evaluate.limit_s is used up, which began with this command.

    Of several ranks the first keeps the clock; those of other machines may have waited for it. Raises OverBudget once
    it is used up: there is no score, as one of a part of the text would be another text's.
    """
    room.deadline = stage.started() + evaluate.limit_s if evaluate.limit_s is not None and stage.first() else None
    try:
        yield
    except OutOfTime as late:
        raise OverBudget(
            f"evaluate.limit_s: {evaluate.limit_s:g} s from the start of the command were over in the call {late}, "
            f"before the pass {evaluate.headline} had its last score, so there is none; a faster machine or more "
            f"evaluate.ranks take less, and null judges without a limit"
        ) from None


def unscored(method: str, error: Diverged) -> GolfError:
    """A pass that met a score which is no number. The ledger's cure, ttt.lr, is one for golf's own learner alone."""
    if method == OWN:
        return Diverged(f"{method}: {error}")
    problem = str(error).partition(";")[0]
    return BadMethod(f"{method}: {problem}; its score must answer with finite numbers ({CONTRACT})")


def secret() -> str:
    """Hex from which the probes choose their places: drawn anew for every run, so that no method can be made to pass
    at just these. Ranks get one from their launcher (``golf.ground.stage.SECRET``), as they must all look alike;
    raises GolfError where several have none.
    """
    if SECRET not in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise GolfError(
            f"evaluate.ranks: the ranks must share one secret; start them with python -m stages.evaluate, or give all "
            f"of them the same random hex digits in {SECRET}"
        )
    return os.environ.get(SECRET) or secrets.token_hex(16)


def chosen(targets: int, chunk_tokens: int, dice: np.random.Generator) -> frozenset[int]:
    """Indexes of the chunks that are audited."""
    chunks = -(-targets // chunk_tokens)
    others = dice.choice(np.arange(1, chunks), min(AUDITED, chunks) - 1, replace=False)
    return frozenset({0, *map(int, others)})
