"""The table of ``techniques.py``: differences to the default with their intervals, from ``techniques.json``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.techniques_list import DEFAULT, TECHNIQUES
from golf.artifacts import io, json_records
from golf.evaluation import bpb, ledger, significance
from golf.evaluation.significance import ConfidenceInterval

__all__ = ["RESULTS_FILE", "Measurement", "format_line", "render_table", "summarize"]

RESULTS_FILE = "techniques.json"
_NOT_RUN = "NOT-RUN"
_MODES = ("ttt", "sliding")


@dataclass(frozen=True)
class Measurement:
    """One technique on one text with one seed.

    folders: by scoring mode, with the ledger and score.json. train_s: of training alone. wall_s: what the
    row took beyond what was kept. reason: why it did not run; then it has nothing else.
    """

    key: str
    text: str
    seed: int
    folders: dict[str, Path] = field(default_factory=dict)
    model_bytes: int = 0
    code_bytes: int = 0
    train_s: float = 0.0
    wall_s: float = 0.0
    reason: str = ""

    def read_score(self, mode: str) -> dict[str, Any]:
        return io.read_json(self.folders[mode] / "score.json")

    def read_ledger(self, mode: str) -> ledger.LedgerData:
        return ledger.read(self.folders[mode] / "ledger.safetensors")[0]


def summarize(facts: dict[str, Any], measured: Sequence[Measurement]) -> dict[str, Any]:
    """The content of techniques.json: a row for each technique and text, over the seeds that ran."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for row in measured:
        groups.setdefault((row.text, row.key), []).append(row)
    texts, rows = {}, []
    for (text, key), members in groups.items():
        defaults = {row.seed: row for row in groups[text, DEFAULT.key] if not row.reason}
        ran = [row for row in members if not row.reason and row.seed in defaults]
        reasons = sorted({row.reason for row in members if row.reason})
        entry: dict[str, Any] = {"key": key, "text": text, "seeds": [row.seed for row in ran], "reasons": reasons}
        if ran:
            entry |= _summarize_runs(ran, [defaults[row.seed] for row in ran], is_default=key == DEFAULT.key)
        if ran and key == DEFAULT.key:
            document_bytes = bpb.sum_by_document(ran[0].read_ledger("ttt"))[1]
            texts[text] = {"documents": len(document_bytes), "bytes": int(document_bytes.sum())}
        rows.append(entry)
    return facts | {"texts": texts, "rows": rows}


def _summarize_runs(ran: list[Measurement], defaults: list[Measurement], *, is_default: bool) -> dict[str, Any]:
    """Scores by mode with their differences, and the means of sizes and seconds."""
    modes: dict[str, dict[str, Any]] = {}
    for mode in _MODES:
        if mode not in ran[0].folders:
            continue
        scores = [row.read_score(mode) for row in ran]
        modes[mode] = {"bpb": [round(score["bpb"], 6) for score in scores]}
        modes[mode]["seconds"] = round(sum(score["seconds"] for score in scores) / len(ran), 1)
        if not is_default:
            before, after = ([row.read_ledger(mode) for row in side] for side in (defaults, ran))
            documents = significance.compute_paired_difference(before, after).bpb_difference
            modes[mode] |= {"difference": documents.value, "half_width_documents": documents.half_width}
            if len(ran) > 1:
                sides = ([row.read_score(mode)["bpb"] for row in side] for side in (defaults, ran))
                modes[mode]["half_width_seeds"] = significance.compute_paired_interval(*sides).half_width
    return {
        "modes": modes,
        "model_bytes": round(sum(row.model_bytes for row in ran) / len(ran)),
        "code_bytes": ran[0].code_bytes,
        "train_seconds": round(sum(row.train_s for row in ran) / len(ran), 1),
    }


def format_line(row: Measurement, measured: Sequence[Measurement]) -> str:
    """A row as one line of progress, with its difference to the default of its seed."""
    title = f"{row.text} {row.seed} {row.key:<40}"
    if row.reason:
        return f"{title} {_NOT_RUN}: {row.reason}"
    parts = [f"{mode} {row.read_score(mode)['bpb']:.4f}" for mode in row.folders]
    same = (other for other in measured if (other.text, other.seed, other.key) == (row.text, row.seed, DEFAULT.key))
    default = next(same, row)
    if default is not row and not default.reason:
        difference = row.read_score("ttt")["bpb"] - default.read_score("ttt")["bpb"]
        parts.append(f"difference {difference:+.4f}")
    return f"{title} {'  '.join(parts)}  {row.model_bytes:,} bytes  {row.wall_s:.0f} s"


def render_table(folder: Path) -> str:
    """Markdown: a table for each text, a row for each technique; NOT-RUN for what the file in ``folder`` lacks."""
    path = folder / RESULTS_FILE
    if not path.is_file():
        return f"What each technique is worth: {_NOT_RUN}.\n"
    results = json_records.read_record(path, texts=dict, rows=list, steps=int, profile=str, machine=str, threads=int)
    rows = {(row["text"], row["key"]): row for row in results["rows"]}
    lines = [
        f"Each model trained for {results['steps']:,} steps of `profiles/{results['profile']}.yaml`. "
        f"Machine: {results['machine']}, {results['threads']} threads."
    ]
    for text, size in results["texts"].items():
        lines += ["", f"Text `{text}`, dev of {size['bytes']:,} bytes in {size['documents']} documents:", ""]
        lines += [
            "| | ttt mode, bpb | sliding, bpb | seeds | model bytes | code bytes | train s | score s |",
            "|---|---|---|---|---|---|---|---|",
            *(_format_row(technique.key, rows, text) for technique in (DEFAULT, *TECHNIQUES)),
        ]
    return "\n".join([*lines, ""])


def _format_row(key: str, rows: dict[tuple[str, str], dict[str, Any]], text: str) -> str:
    row = rows.get((text, key))
    title = key if key == DEFAULT.key else f"`{key}`"
    if row is None or not row["seeds"]:
        reason = "; ".join(row["reasons"]).replace("|", "/") if row else ""
        return f"| {title} | {' | '.join([_NOT_RUN] * 6)} | {reason} |"
    default = rows[text, DEFAULT.key]
    code = f"{row['code_bytes']:,}" if key == DEFAULT.key else f"{row['code_bytes'] - default['code_bytes']:+,}"
    cells = [
        title,
        *(_format_mode(row["modes"].get(mode)) for mode in _MODES),
        str(len(row["seeds"])),
        f"{row['model_bytes']:,}",
        code,
        f"{row['train_seconds']:.0f}",
        f"{row['modes']['ttt']['seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _format_mode(scores: dict[str, Any] | None) -> str:
    """The difference with its intervals over documents and seeds; of the default its score."""
    if scores is None:
        return "the same"
    if "difference" not in scores:
        return f"{sum(scores['bpb']) / len(scores['bpb']):.4f}"
    widths = [scores["half_width_documents"], scores.get("half_width_seeds")]
    intervals = [ConfidenceInterval(scores["difference"], width) for width in widths if width is not None]
    text = f"{scores['difference']:+.4f} " + ", ".join(f"± {interval.half_width:.4f}" for interval in intervals)
    return f"{text}, within noise" if any(interval.is_within_noise for interval in intervals) else text
