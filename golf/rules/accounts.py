"""Checks on the accounts: the ledger's chain and coverage, the bytes that divide the score, and the score itself."""

import dataclasses
import math

import numpy as np

from golf.data.reading import ReadBack
from golf.data.shards import Split
from golf.data.stream import Stream
from golf.judge import Judged
from golf.rules.finding import PASS, UNRULED, Finding, judged
from golf.score import bpb, ledger

BELOW = -1e-4  # nats: rounding; a score below it is a probability over 1
CLOSE = 1e-6  # of a figure recomputed from the ledger (M-e)
DROPPED = 1e-3  # most that the normaliser may have dropped of published texts; 7e-5 of FineWeb's bytes (data-formats 1)
DOCUMENTS = 50_000  # of the challenge's val


def of_ledger(path, stream: Stream, named: Judged, reported: dict, calls: int) -> list[Finding]:
    """C3-a, C4-a, C4-b, M-e: the headline's ledger as it was saved, read again. calls: scores asked for it.

    C3-a holds what was saved against what was sealed in the pass, seal by seal; C4-b the calls against the seals.
    Raises BadArtifact where a seal doesn't fit its rows.
    """
    rows, meta = ledger.read(path)
    pairs = zip(columns(rows), columns(named.ledger.columns()), strict=True)
    kept = all(np.array_equal(saved, sealed) for saved, sealed in pairs)  # and so the seals, which follow from them
    score, seals = bpb.score(rows), int(rows.chunk[-1]) + 1
    covered = len(rows.nll) == stream.targets and (rows.bytes == stream.bytes).all()
    whole = covered and (np.diff(rows.chunk) >= 0).all() and np.isfinite(rows.nll).all()
    whole = whole and (rows.nll >= BELOW).all()
    off = max(abs(score.bpb - reported["val_bpb"]), abs(score.loss - reported["val_loss"]))
    off = max(off, abs(score.bpb - reported[f"val_bpb_{meta['way']}"]), abs(score.bpb - named.score.bpb))
    return [
        judged("C3-a", kept, f"{seals:,} seals", "as in the pass", "the saved ledger is not the one that was sealed"),
        judged(
            "C4-a",
            bool(whole),
            f"{len(rows.nll):,} rows",
            f"{stream.targets:,}",
            "some target has no sound score of its own",
        ),
        judged("C4-b", seals == calls, f"{calls:,} calls that count", f"{seals:,} chunks", "chunks were scored twice"),
        judged("M-e", off <= CLOSE, f"off by {off:.1e} bpb", f"{CLOSE:g}", "the headline is not the ledger's"),
    ]


def columns(rows: ledger.Rows) -> list[np.ndarray]:
    return [getattr(rows, field.name) for field in dataclasses.fields(rows)]


def of_bytes(figures: dict, val: Split, index: str, manifest: dict, read: ReadBack) -> list[Finding]:
    """M-a to M-d. figures: the metrics as reported; index: sha256 of val's; manifest: as fetch wrote it; read: val as
    text.
    """
    whole = covered(figures, val, index, manifest)
    return [implied(figures, manifest, read), decoded(read, manifest), counted(read, manifest), whole]


def implied(figures: dict, manifest: dict, read: ReadBack) -> Finding:
    """M-a: loss / ln 2 × tokens / bpb is the number of bytes that a score was divided by, whatever it claims. The
    challenge's val has those that fetch held against its canonical count, whose tail the contest's evaluation drops.
    """
    bits = figures["val_loss"] / math.log(2) * figures["val_tokens"]
    found = bits / figures["val_bpb"] if figures["val_bpb"] else 0.0
    wanted = manifest["splits"]["val"]["bytes"] if manifest["comparable_with_fineweb"] else read.text_bytes
    holds = abs(found - wanted) <= max(0.5, CLOSE * wanted)
    return judged("M-a", holds, f"{found:,.0f} bytes", f"{wanted:,}", "the score divides by bytes that aren't there")


def decoded(read: ReadBack, manifest: dict) -> Finding:
    """M-b: every document's tokens give its text back; folded case is disputed, anything else that is lost fails."""
    measured = f"{read.differing:,} of {read.documents:,} differ"
    if read.differing and read.differing == read.folded:
        return Finding("M-b", UNRULED, measured, "0", "texts differ in case alone: casefold is unruled (#1604)")
    note = f"texts don't come back from their tokens (transform {manifest['transform']}); see document {read.first}"
    return judged("M-b", read.differing == 0, measured, "0", note)


def counted(read: ReadBack, manifest: dict) -> Finding:
    """M-c: what the tokens claim against the UTF-8 length of what they spell, document by document.

    The published CaseOps sidecar counts the raw texts (#1729), a little more than what the normaliser left to spell.
    """
    measured = f"{read.token_bytes:,} bytes; {read.miscounted:,} documents off"
    note = f"documents are charged for other bytes than their texts have; see document {read.first}"
    published = manifest["comparable_with_fineweb"] and manifest["transform"] == "caseops"
    surplus = read.token_bytes - read.text_bytes
    if published and read.miscounted and 0 <= surplus <= DROPPED * read.text_bytes:
        told = f"the published sidecar counts the raw texts (#1729), {surplus:,} bytes that the normaliser drops"
        return Finding("M-c", PASS, measured, f"{read.text_bytes:,}", told)
    return judged("M-c", read.miscounted == 0, measured, f"{read.text_bytes:,}", note)


def covered(figures: dict, val: Split, index: str, manifest: dict) -> Finding:
    """M-d: the split that was scored is the one that fetch wrote, whole; its shards' sha256 were checked on opening."""
    told = manifest["splits"]["val"]
    same = (told["documents"], told["tokens"], told["sha256"]) == (len(val.documents), val.tokens, index)
    same = same and figures["val_tokens"] == val.tokens - 1
    if manifest["comparable_with_fineweb"]:
        same = same and len(val.documents) == DOCUMENTS
    measured = f"{len(val.documents):,} documents, {val.tokens:,} tokens"
    limit = f"{told['documents']:,}, {told['tokens']:,}"
    return judged("M-d", same, measured, limit, "not all of val was scored (#1854)")
