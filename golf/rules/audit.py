"""Probes inside the pass that counts: at chunks drawn at random, once they are sealed, in the method's real state.

Each asks the method again with something changed that must not matter, or for what it must be able to say. A method
whose scores are functions of the prefix is not touched by it. The conditions are those of issue #1017, the checks of
its field guide: C1-a, C1-b, C2-a to C2-d, C3-b.
"""

from dataclasses import dataclass, field

import numpy as np

from golf.data.stream import Stream
from golf.room.room import Sitting
from golf.rules.finding import NOT_RUN, Finding, judged

PART = 128  # tokens of a chunk that are scored again
PLACES = 3  # of them looked at closely
ROWS = 8  # of them whose distributions are asked for
FLIPS = 2  # other tokens put into each place
SAME = 1e-6  # nats between two scores of one shape (C1-a)
CLOSE = {"float32": 1e-3, "bfloat16": 0.1}  # nats between scores of different shapes, by the dtype of the products
MEAN = {"float32": 1e-5, "bfloat16": 0.01}  # nats that a sealed score may lie below its distribution's on average
SUM = {"float32": 1e-4, "bfloat16": 1e-3}  # |log of the sum of all probabilities| (C2-a)


@dataclass
class Audit:
    """Called with each sealed chunk of a pass and its nll; looks at those in ``chunks`` and keeps the worst it found.

    method: a Sitting. stream: what it is scored on. chunk_tokens: length of a chunk. vocabulary: the
    tokenizer's ids. alternatives: tokens tried as the target after one prefix; all, where there are no more.
    """

    method: Sitting
    stream: Stream
    chunk_tokens: int
    chunks: frozenset[int]
    vocabulary: int
    alternatives: int
    dice: np.random.Generator
    worst: dict[str, float] = field(default_factory=dict)
    places: int = 0
    tried: int = 0
    sizes: set[int] = field(default_factory=set)  # of the rows that it gave
    leanings: list[float] = field(default_factory=list)  # nats by which scores lie above (below: negative) their rows

    @property
    def tokens(self) -> np.ndarray:
        return self.stream.tokens

    def __call__(self, sealed, nll: np.ndarray) -> None:
        if sealed.index in self.chunks:
            offset = int(self.dice.integers(max(1, len(nll) - PART + 1))) if sealed.index else 0
            # Scores may be so low that their probability is infinite, and counts as that.
            with self.method.apart(), np.errstate(over="ignore"):
                self.look(sealed.index * self.chunk_tokens + offset, nll[offset : offset + PART])

    def look(self, begin: int, nll: np.ndarray) -> None:
        """Around position ``begin``, whose first targets got ``nll`` when it counted."""
        prefix, part = self.tokens[: begin + 1], self.tokens[begin + 1 : begin + 1 + len(nll)]
        drawn = np.append(0, self.dice.permutation(np.arange(1, len(part))))[:ROWS]
        scored, rows = self.method.score(prefix, part, drawn)
        self.note("C3-b", difference(scored, nll))
        self.lean(nll[drawn], rows, part[drawn])
        for place, row in list(zip(drawn, rows, strict=True))[:PLACES]:
            self.places += 1
            self.look_ahead(prefix, part, place, scored)
            self.flip_target(prefix, part, place, scored, row)
            self.predict(begin + place, row, nll[place])
        self.sum_alternatives(prefix, rows[0])

    def lean(self, nll: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> None:
        """How much better the sealed scores are than their distributions: rounding takes no side, a discount does."""
        inside = targets < rows.shape[1]
        off = rows[inside, targets[inside]] + nll[inside]
        self.leanings += off[np.isfinite(off)].tolist()

    def look_ahead(self, prefix, part, place: int, scored) -> None:
        """Other tokens after ``place`` must leave every score up to it as it was."""
        changed = part.copy()
        changed[place + 1 :] = self.dice.choice(self.tokens[1:], len(part) - place - 1)
        self.note("C1-a", difference(self.method.score(prefix, changed)[: place + 1], scored[: place + 1]))

    def flip_target(self, prefix, part, place: int, scored, row) -> None:
        """Another target must leave its own distribution as it was, and be scored by it."""
        for other in self.dice.choice(self.vocabulary, FLIPS):
            changed = part.copy()
            changed[place] = other
            nll, (flipped,) = self.method.score(prefix, changed, [place])
            self.note("C1-a", difference(nll[:place], scored[:place]))
            self.note("C1-b", difference(flipped, row))
            self.note("C2-c", difference(flipped[other : other + 1], -nll[place : place + 1]))

    def predict(self, position: int, row, nll: float) -> None:
        """What it says without any target must be a distribution, and the one that the ledger's score came from."""
        self.see(row)
        target = self.tokens[position + 1]
        said = [row]
        if self.method.facts["predicts"]:
            said.append(self.method.predict(self.tokens[: position + 1]))
            self.see(said[-1])
            self.note("C2-c", difference(said[1], row))
        for each in said:
            self.note("C2-c", difference(each[target : target + 1], np.array([-nll])))

    def see(self, row) -> None:
        self.sizes.add(len(row))
        self.note("C2-a", log_sum(row))
        self.note("C2-b", np.inf if np.isnan(row).any() else max(0.0, row.max()))

    def sum_alternatives(self, prefix, row) -> None:
        """Each alternative scored as the target after one prefix: the probabilities must add up to 1.

        Where not all are tried, the likeliest and some at random are, and the row stands for the others.
        """
        ids = np.arange(min(len(row), self.vocabulary))
        if len(ids) > self.alternatives:
            likely = np.argsort(row)[::-1][: self.alternatives // 2]
            others = self.dice.choice(np.setdiff1d(ids, likely), self.alternatives - len(likely), replace=False)
            ids = np.concatenate([likely, others])
        scores = [self.method.score(prefix, np.array([i], dtype=self.tokens.dtype))[0] for i in ids]
        rest = np.exp(np.delete(row.astype(np.float64), ids)).sum()  # ids beyond the tokenizer's count too
        self.tried = max(self.tried, len(ids))
        self.note("C2-d", np.exp(-np.array(scores, dtype=np.float64)).sum() + rest - 1)

    def note(self, check: str, sizes) -> None:
        """Keep the largest; what is not a number counts as infinite."""
        sizes = np.abs(np.atleast_1d(np.asarray(sizes, dtype=np.float64)))
        largest = np.inf if np.isnan(sizes).any() else sizes.max(initial=0.0)
        self.worst[check] = max(self.worst.get(check, 0.0), float(largest))


def same(method: Sitting) -> float:
    """SAME; on a GPU, where backward passes add in any order, what passes with updates are held to instead."""
    return SAME if method.here.device.type == "cpu" else CLOSE[str(method.here.dtype).removeprefix("torch.")]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest |a - b| of two rows; equal infinities don't differ, rows of other lengths do so infinitely."""
    if len(a) != len(b):
        return np.inf
    unequal = a != b
    return float(np.abs(a[unequal] - b[unequal]).max(initial=0.0))


def log_sum(row: np.ndarray) -> float:
    """log Σ exp of a row, in float64."""
    row = row.astype(np.float64)
    high = row.max()
    return float(high + np.log(np.exp(row - high).sum())) if np.isfinite(high) else np.inf


def findings(audit: Audit) -> list[Finding]:
    """Of the figures of an audit whose pass is over."""
    dtype = str(audit.method.here.dtype).removeprefix("torch.")
    close, total, moved = CLOSE[dtype], SUM[dtype], audit.method.moved
    where = f"at {audit.places} places of {len(audit.chunks)} chunks"

    def figure(check: str, limit: float, note: str, unit: str = "nats") -> Finding:
        size = audit.worst.get(check, np.inf)
        return judged(check, size <= limit, f"{size:.1e} {unit} {where}", f"{limit:g}", note)

    support = audit.sizes == {audit.vocabulary} and audit.worst.get("C2-b", np.inf) <= total
    sizes = " or ".join(f"{size:,}" for size in sorted(audit.sizes))
    pure = moved == 0 and audit.worst.get("C3-b", np.inf) <= close
    predicts = audit.method.facts["predicts"]
    independent = figure("C2-c", close, "a score is not what the method says without its target")
    leaning = np.mean(audit.leanings) if audit.leanings else 0.0
    if leaning < -MEAN[dtype]:
        less = f"{-leaning:.1e} nats less on average"
        independent = judged("C2-c", False, less, f"{MEAN[dtype]:g}", "scores are better than their distributions")
    if not predicts:
        independent = judged("C2-c", False, "no predict", "one", "it can't say what it expects without a target")
    return [
        figure("C1-a", SAME, "scores change with tokens that come after them"),
        figure("C1-b", SAME, "a distribution changes with the token that it is to predict"),
        figure("C2-a", total, "the probabilities of all tokens don't add up to 1", "of log sum"),
        judged("C2-b", support, f"{sizes} ids", f"{audit.vocabulary:,}", "not one probability for each of the ids"),
        independent,
        figure("C2-d", close, "scored as targets, the alternatives' probabilities don't add up to 1", "off 1"),
        judged(
            "C3-b",
            pure,
            f"{moved} of {audit.method.calls} scores moved it; again: {audit.worst.get('C3-b', np.inf):.1e} nats",
            f"0; {close:g}",
            "scoring changes the method",
        ),
    ]


def not_run(note: str) -> list[Finding]:
    """The same rows where no audit was made."""
    return [Finding(check, NOT_RUN, note=note) for check in ("C1-a", "C1-b", "C2-a", "C2-b", "C2-c", "C2-d", "C3-b")]
