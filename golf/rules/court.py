"""From a trial and the files around it to the figures and the verdict: every check in one list."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf import judge
from golf.data import shards
from golf.data.reading import ReadBack, read_back
from golf.data.shards import Split
from golf.data.stream import Stream
from golf.data.tokenizer import Tokenizer
from golf.ground import lineage, sections, store
from golf.room.room import Room
from golf.rules import accounts, disputed, executions, provenance, verdict
from golf.rules.evidence import Case, expect, told
from golf.rules.provenance import Size
from golf.rules.trial import Trial
from golf.rules.verdict import Verdict


@dataclass(frozen=True)
class Text:
    """The text that is scored on. index: sha256 of val's index; read: val as text again; train, dev: their
    indexes; manifest: fetch's.
    """

    val: Split
    stream: Stream
    index: str
    read: ReadBack
    train: dict
    dev: dict
    manifest: dict

    @classmethod
    def open(cls, val, train, dev, tokenizer, manifest, vocabulary: int) -> "Text":
        """val: the split's folder; train, dev: their index.json. Raises BadArtifact for what is damaged."""
        split, pieces = shards.open_split(val, vocabulary), Tokenizer.open(tokenizer)
        found = told(manifest, comparable_with_fineweb=bool, transform=str, splits=dict)
        row = expect(manifest, found["splits"], val=dict)["val"]
        expect(manifest, row, documents=int, tokens=int, bytes=int, sha256=str)
        read = read_back(split, pieces, found["transform"])
        others = [shards.read_index(Path(index).parent) for index in (train, dev)]
        return cls(split, Stream.of(split, pieces), lineage.file_digest(val), read, *others, found)


@dataclass(frozen=True)
class Court:
    """evaluate: the section of params; limit_bytes: for artifact and code together; epochs: of prequant, where the
    plan tells of one.
    """

    evaluate: sections.Evaluate
    case: Case
    text: Text
    trial: Trial
    room: Room
    limit_bytes: int
    epochs: int

    @property
    def size(self) -> Size:
        payload = Path(self.evaluate.artifact).stat().st_size
        return Size(payload, len(self.room.bundle), self.limit_bytes)

    @property
    def early(self) -> int:
        """Epochs that prequant made over val before it was scored; 0 where none reached the artifact."""
        plan, reached = self.case.plan, "val" in self.case.origin.splits
        return self.epochs if reached and (plan.method, plan.stream) == ("prequant", "val") else 0

    def figures(self, seconds: float) -> dict:
        """metrics.json but for the verdict. seconds: of evaluation, as its limit counts them."""
        clock, size = self.case.clock, self.size
        return judge.figures(self.trial.judged, self.evaluate.headline) | {
            "payload_bytes": size.payload,
            "code_bytes": size.code,
            "artifact_bytes": size.total,
            "limit_bytes": size.limit,
            "train_seconds": clock and clock.seconds,
            "train_limit_seconds": clock and clock.limit,
            "eval_seconds": round(seconds, 3),
            "eval_limit_seconds": self.evaluate.limit_s,
            "probe_seconds": round(self.trial.probe_seconds, 3),
            "invalid_ways": ", ".join(way for way in judge.WAYS if self.case.caveat(way)),
            "comparable_with_fineweb": self.text.manifest["comparable_with_fineweb"],
        }

    def decide(self, figures: dict, ledgers, log, *, hardware: str, commit: dict | None) -> Verdict:
        """figures: as reported; ledgers: the folder where they are saved; log: of executions, to which this one is
        added whatever the verdict.
        """
        named, case, text = self.trial.sitting, self.case, self.text
        learns = self.evaluate.headline == "ttt"
        first, ledger = self.trial.judged[self.evaluate.headline], f"{ledgers}/{self.evaluate.headline}.safetensors"
        found = [
            *self.trial.findings,
            *provenance.splits(case.origin, case.tried if learns else None),
            provenance.disjoint(text.train, text.dev, text.val.documents),
            *provenance.room(self.trial.reports, list(self.room.sources)),
            *accounts.of_ledger(ledger, text.stream, first, figures, named.calls),
            *accounts.of_bytes(figures, text.val, text.index, text.manifest, text.read),
            self.size.finding(),
            *provenance.budgets(case.clock, figures["eval_seconds"], self.evaluate.limit_s, hardware),
            *disputed.findings(case.plan.epochs if learns else 0, named.facts["disputed"], self.early),
        ]
        adapts = len(np.unique(first.ledger.columns().states, axis=0)) > 1 or learns
        about = {"adapts": adapts, "limits": figures, "comparable": figures["comparable_with_fineweb"]}
        entry = execution(self.evaluate, case, text, commit) | {"val_bpb": figures["val_bpb"]}
        about |= {"seed": self.trial.seed, "method": entry["method"], "artifact": entry["artifact"]}
        final = verdict.of([*found, executions.logged(log, entry)], **about)
        executions.append(log, entry | {"verdict": final.headline})
        return final


def execution(evaluate: sections.Evaluate, case: Case, text: Text, commit: dict | None) -> dict:
    """What the log says of an evaluation before it has scored anything. commit: as ``golf.ground.stage`` gives it."""
    return {
        "artifact": lineage.file_digest(evaluate.artifact),
        "method": evaluate.method,
        "plan": store.json_digest(dataclasses.asdict(case.plan)) if evaluate.headline == "ttt" else None,
        "val": text.index,
        "headline": evaluate.headline,
        "val_bpb": None,
        "verdict": None,
        "commit": commit and f"{commit['commit']}{' (dirty)' * commit['dirty']}",
    }
