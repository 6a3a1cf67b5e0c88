"""Explain any artifact in a screenful, after the checks that every reader makes."""

import csv
import dataclasses
import json
import textwrap
from pathlib import Path

import numpy as np
import torch

from golf.codec import code_bundle, container
from golf.data import shards
from golf.data.tokenizer import Tokenizer
from golf.ground import lineage, store
from golf.ground.errors import BadArtifact, BadInput
from golf.quant import grid, outcome, sensitivity
from golf.rules import executions, verdict
from golf.score import bpb, ledger

LINES, WIDTH = 40, 120  # a screenful
EXECUTIONS = 24  # lines of the log of evaluations that are shown


def explain(path: Path) -> str:
    """Text for people. Raises BadInput for what is no artifact, BadArtifact for a damaged one."""
    path = Path(path)
    if path.is_dir():
        return explain_folder(path)
    if not path.exists():
        raise BadInput(f"{path}: not found; dvc repro makes the artifacts, dvc checkout brings them back")
    readers = {".bin": shard, ".json": tree, ".csv": table, ".model": tokenizer}
    readers |= {".safetensors": tensors, ".golf": golf_file, ".jsonl": log, ".xz": code}
    if path.suffix not in readers:
        raise BadInput(f"{path}: not an artifact; golf inspect reads {', '.join(sorted(readers))} and split folders")
    return shortened(readers[path.suffix](path))


def explain_folder(path: Path) -> str:
    if (path / shards.INDEX).exists() and "shards" in store.read_json(path / shards.INDEX):
        return shortened(split(path))
    files = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    lines = [f"{path}/: {len(files)} entries"]
    lines += [f"  {p.name:<40} {p.stat().st_size:>14,} bytes" for p in files if p.is_file()]
    return shortened([*lines, *(f"  {p.name}/" for p in files if p.is_dir())])


def shortened(lines: list[str]) -> str:
    whole = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": " " * 4}
    lines = [part for line in lines for part in textwrap.wrap(line, WIDTH, **whole) or [""]]
    left = len(lines) - LINES
    return "\n".join(lines if left <= 0 else [*lines[: LINES - 1], f"  … {left + 1} more lines"])


def split(path: Path) -> list[str]:
    found, index = shards.open_split(path), shards.read_index(path)
    totals, about = f"{shards.count(index):,} documents, {found.tokens:,} tokens", f"BOS {found.bos}"
    lines = [f"{path}: split {found.name!r}, checked against its index"]
    if "unlisted" in index:
        apart = ", ".join(index["unlisted"]["apart_from"])
        lines += [f"  {totals}; vocabulary {found.vocabulary}, {about}", f"  none of them listed; none is in {apart}"]
    else:
        lengths = np.array([document["bytes"] for document in found.documents])
        lines += [
            f"  {totals}, {found.bytes:,} bytes of normalised text",
            f"  {found.bytes / max(1, found.tokens):.3f} bytes a token; vocabulary {found.vocabulary}, {about}",
            f"  document bytes: least {lengths.min():,}, median {int(np.median(lengths)):,}, most {lengths.max():,}",
        ]
    if "root" in index:
        lines.append(f"  shards in {shards.home(path, index)}")
    if found.token_bytes:
        lines.append("  its sidecar says how many bytes of text each token carries")
    return [*lines, *(f"  shard {index}: {len(each):,} tokens" for index, each in enumerate(found.shards))]


def shard(path: Path) -> list[str]:
    """A token shard, or a sidecar of one, which has the same form."""
    numbers = shards.read_shard(path)[:]
    kind, held = ("byte sidecar", "bytes a token") if shards.is_sidecar(path) else ("token shard", "ids")
    head = ", ".join(map(str, numbers[:16].tolist()))
    return [
        f"{path}: {kind}, magic and length checked",
        f"  {len(numbers):,} tokens, {held} {int(numbers.min())} to {int(numbers.max())}",
        f"  first: {head}",
    ]


def tokenizer(path: Path) -> list[str]:
    found = Tokenizer.open(path)
    return [f"{path}: SentencePiece model", f"  {found.vocabulary:,} pieces, BOS {found.bos}, sha256 {found.sha256}"]


def tree(path: Path) -> list[str]:
    content = store.read_json(path)
    if "verdict" in content and "checks" in content:
        return [f"{path}: verdict", "", *verdict.of_run(path)[0].splitlines()]
    if "documents" in content and isinstance(content["documents"], list):
        content = content | {"documents": f"{len(content['documents'])} entries"}
    return [f"{path}:", *("  " + line for line in json.dumps(content, indent=2, ensure_ascii=False).splitlines()[1:-1])]


def log(path: Path) -> list[str]:
    """The log of evaluations. Raises BadArtifact naming the line at which its chain breaks."""
    entries = executions.read(path)
    begun = executions.begun(entries)
    lines = [
        f"{path}: {executions.counted(begun)} begun, {len(entries) - begun} ended",
        "  the chain holds: each line follows the one before",
        f"  {'time':<27}{'headline':<10}{'val bpb':<10}{'artifact':<10}{'method':<22}verdict",
    ]
    for entry in entries[-EXECUTIONS:]:
        bpb = "begun" if entry["val_bpb"] is None else f"{entry['val_bpb']:.4f}"
        short = (entry["verdict"] or "").partition(":")[0]
        named = f"{entry['artifact'][:8]:<10}{entry['method'][:20]:<22}"
        lines.append(f"  {entry['time']:<27}{entry['headline']:<10}{bpb:<10}{named}{short}")
    return lines


def table(path: Path) -> list[str]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadArtifact(path, f"not a table ({error})", store.RERUN) from None
    if not rows:
        raise BadArtifact(path, "an empty file, not a table", store.RERUN)
    shown = rows if len(rows) <= LINES - 2 else [*rows[:20], ["…"], *rows[-(LINES - 24) :]]
    return [f"{path}: table of {len(rows) - 1:,} rows", *("  " + "  ".join(f"{x:>12}" for x in row) for row in shown)]


def tensors(path: Path) -> list[str]:
    found, meta = store.load_tensors(path)
    kind = store.read_label(path)["kind"]
    head = [f"{path}: {kind}, {path.stat().st_size:,} bytes, checksum good", *lineage_lines(lineage.read(path))]
    if kind == ledger.KIND:
        return head + ledger_lines(path)
    notes = {key: value for key, value in meta.items() if key not in ("lineage", "shape", "inputs", "bits")}
    if notes:
        head.append(f"  {json.dumps(notes)[:110]}")
    if "shape" in meta:
        head.append(
            "  model " + ", ".join(f"{k} {meta['shape'][k]}" for k in ("layers", "width", "heads", "vocabulary"))
        )
    total = sum(tensor.numel() for tensor in found.values())
    head.append(f"  {len(found)} tensors, {total:,} numbers")
    if kind == sensitivity.KIND:
        return head + [sensitivity_line(name, tensor) for name, tensor in found.items()]
    return head + stored_lines(found)


def stored_lines(found: dict[str, torch.Tensor]) -> list[str]:
    """A line a tensor, and one for codes together with their steps."""
    names = [name.removesuffix(grid.CODES) for name in found if name.endswith(grid.CODES)]
    whole = [name for name in names if name + grid.STEPS in found and found[name + grid.CODES].numel()]
    parts = {name + suffix for name in whole for suffix in (grid.CODES, grid.STEPS, grid.COLUMNS)}
    rest = [tensor_line(name, tensor) for name, tensor in found.items() if name not in parts]
    return [quantized_line(name, found) for name in whole] + rest


def quantized_line(name: str, found: dict[str, torch.Tensor]) -> str:
    codes, steps = found[name + grid.CODES], found[name + grid.STEPS]
    columns = found.get(name + grid.COLUMNS)
    text = f"{outcome.entropy(codes):5.2f} bits, |code| to {int(codes.int().abs().max())}, steps {reach(steps)}"
    text += "" if columns is None else f", columns × {reach(columns)}"
    return f"  {name:<28} {size(codes):>9} {kind_of(codes):<6} {text}"


def sensitivity_line(name: str, rows: torch.Tensor) -> str:
    if rows.ndim != 1 or not rows.numel():
        return tensor_line(name, rows)
    least, most = np.quantile(rows.double().numpy(), (0.1, 0.9))
    spread = f"{least:.3g} (10 % of rows below) to {most:.3g} (90 %)"
    return f"  {name:<28} {len(rows):>6} rows   mean {rows.double().mean():.4g}   spread {spread}"


def reach(tensor: torch.Tensor) -> str:
    return f"{float(tensor.min()):.2g}–{float(tensor.max()):.2g}"


def size(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "1"


def kind_of(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def tensor_line(name: str, tensor: torch.Tensor) -> str:
    spread = ""
    if tensor.numel():
        values = tensor.double()
        spread = f"mean {values.mean():+.4g}  rms {values.square().mean().sqrt():.4g}  |max| {values.abs().max():.4g}"
    return f"  {name:<32} {size(tensor):>12} {kind_of(tensor):<8} {spread}"


def ledger_lines(path: Path) -> list[str]:
    rows, meta = ledger.read(path)
    score = bpb.score(rows)
    error = f" ± {score.standard_error:.4f}" if score.standard_error is not None else ""
    return [
        f"  way {meta['way']}: {score.bpb:.6f}{error} bpb (s.e. over documents), {score.loss:.6f} nats a token",
        *([f"  {meta['verdict']}"] if "verdict" in meta else []),
        f"  {score.tokens:,} targets, {score.bytes:,} bytes, {len(rows.documents):,} documents",
        f"  {int(rows.chunk[-1]) + 1:,} chunks, every seal fits",
    ]


def lineage_lines(origin: dict | None) -> list[str]:
    if origin is None:
        return ["  no lineage: of unknown origin"]
    inputs = ", ".join(f"{name} {found['sha256'][:12]}" for name, found in origin["inputs"].items())
    return [
        f"  by stage {origin['stage']} from {inputs}; seed {origin['seed']}, {origin['ranks']} ranks",
        f"  splits that influenced it: {', '.join(origin['splits_seen']) or 'none'}",
    ]


def golf_file(path: Path) -> list[str]:
    found, header = container.read(path)
    lines = [f"{path}: submission, {path.stat().st_size:,} bytes, every checksum good"]
    lines.append("  model " + ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(header.model).items()))
    codecs = dict.fromkeys(section.codec for section in header.sections)
    lines.append(
        f"  codec {', '.join(codecs) or 'none'}; splits that influenced it: {', '.join(header.seen) or 'none'}"
    )
    return lines + stored_lines(found)


def code(path: Path) -> list[str]:
    """The sources in a code bundle, largest first."""
    packed = path.read_bytes()
    sources = code_bundle.unpack(packed, path)
    total = sum(map(len, sources.values()))
    lines = [f"{path}: code that counts, {len(packed):,} bytes packed; {len(sources)} minified files, {total:,} bytes"]
    by_size = sorted(sources.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return lines + [f"  {name:<40} {len(source):>8,} bytes" for name, source in by_size]
