"""Short passes over a slice with one thing left out or changed, in a fresh sitting: C1-c, C3-c, C3-d, C3-e.

A slice is three chunks of a few hundred tokens; where there are several documents, its second chunk starts one.
"""

from dataclasses import dataclass

import numpy as np

from golf.rules.audit import SAME, same
from golf.rules.finding import NOT_RUN, Finding, judged
from golf.score.sealed import Sealed

CHUNKS = 3
INDEPENDENT = "independent"  # what a method says of documents when nothing of one may reach the next


@dataclass(frozen=True)
class Slice:
    """tokens [n], the first a document's start; chunk: targets of each of its chunks."""

    tokens: np.ndarray
    chunk: int

    @classmethod
    def cut(cls, tokens: np.ndarray, bos: int, context: int, dice: np.random.Generator) -> "Slice":
        """A window of ``context`` a chunk; where the stream is shorter, all of it in three."""
        chunk = min(context, (len(tokens) - 1) // CHUNKS)
        starts = np.flatnonzero(tokens == bos)
        starts = starts[(starts >= chunk) & (starts < len(tokens) - 2 * chunk)]
        begin = int(dice.choice(starts)) - chunk if len(starts) else 0
        part = tokens[begin : begin + CHUNKS * chunk + 1].copy()
        part[0] = bos
        return cls(part, chunk)


def score(method, part: Slice, manner: dict, *, updates=range(CHUNKS)) -> np.ndarray:
    """nll of a pass over the slice that makes only the ``updates`` named by their chunk."""
    method.begin(**manner | {"chunks": CHUNKS})
    found = []
    for index in range(CHUNKS):
        begin, end = index * part.chunk, (index + 1) * part.chunk
        found.append(method.score(part.tokens[: begin + 1], part.tokens[begin + 1 : end + 1]))
        if index in updates:
            last = index == CHUNKS - 1
            method.update(Sealed(index, part.tokens[begin : end + 1].copy(), last, f"ablation {index}"))
    return np.concatenate(found)


def findings(method, part: Slice, manner: dict, begun: str) -> list[Finding]:
    """manner: what ``begin`` was told in the headline's pass; begun: the hash of the method's state after it."""
    if part.chunk == 0:
        return not_run(f"the text has no {CHUNKS} targets")
    method.begin(**manner)
    fresh = method.begun
    whole = score(method, part, manner)
    without_second = score(method, part, manner, updates=(0,))
    unlearned = score(method, part, manner, updates=())
    fixed = score(method, part, manner | {"plan": None}, updates=())
    before = gap(whole[: 2 * part.chunk], without_second[: 2 * part.chunk])
    after = gap(whole[2 * part.chunk :], without_second[2 * part.chunk :])
    zero = gap(unlearned, fixed)
    return [
        documents(method, part, manner, whole),
        judged(
            "C3-c",
            before <= same(method),
            f"{before:.1e} nats before the update left out, {after:.1e} after it",
            f"{same(method):g} before",
            "an update changes scores that were made before it",
        ),
        judged(
            "C3-d",
            fresh == begun,
            f"{begun[:8]} when it counted, {fresh[:8]} opened anew",
            "equal",
            "the first score was not made in the state of the artifact as loaded",
        ),
        judged(
            "C3-e",
            zero <= SAME,
            f"{zero:.1e} nats between no update and no plan",
            f"{SAME:g}",
            "without any update it does not score as the fixed predictor",
        ),
    ]


def not_run(note: str) -> list[Finding]:
    """The same rows where nothing was left out."""
    return [Finding(check, NOT_RUN, note=note) for check in ("C1-c", "C3-c", "C3-d", "C3-e")]


def documents(method, part: Slice, manner: dict, whole: np.ndarray) -> Finding:
    """C1-c: where documents are said to be independent, another text before one changes no score in it."""
    starts = np.flatnonzero(part.tokens == part.tokens[0])
    second = int(starts[np.argmin(np.abs(starts - part.chunk))])
    changed = part.tokens.copy()
    changed[1:second] = changed[1:second][::-1]
    if (changed == part.tokens).all() or second == len(whole):
        return Finding("C1-c", NOT_RUN, note="the slice holds one document")
    moved = gap(score(method, Slice(changed, part.chunk), manner)[second:], whole[second:])
    if method.facts["documents"] != INDEPENDENT:
        note = "the method does not say that documents are independent; windows over their ends are merged (#1493)"
        return Finding("C1-c", NOT_RUN, f"{moved:.1e} nats", "", note)
    note = "a document's scores depend on the one before"
    return judged("C1-c", moved <= same(method), f"{moved:.1e} nats", f"{same(method):g}", note)


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two runs of scores, 0 where they are equal; what is not a number counts as infinite."""
    unequal = a != b
    sizes = np.abs(a[unequal].astype(np.float64) - b[unequal].astype(np.float64))
    return float("inf") if np.isnan(sizes).any() else float(sizes.max(initial=0.0))
