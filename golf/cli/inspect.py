"""``golf inspect PATH``: describe any artifact on one screen, after the checks that its reader makes."""

import csv
import dataclasses
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from golf.artifacts import io, lineage
from golf.cli import codec_summary, verification
from golf.compliance import evaluation_log, verdict
from golf.compression import code_archive, quantized_tensor, reader
from golf.config import loader
from golf.data import split_reader
from golf.data.shard_file import read_shard
from golf.data.tokenizer import Tokenizer
from golf.errors import ArtifactError, InputError
from golf.evaluation import bpb, ledger
from golf.pipeline.progress import format_count
from golf.quantization import report, sensitivity
from golf.submission.bundle import packing

__all__ = ["describe"]

_MAX_LINES, _MAX_COLUMNS = 40, 120  # of one screen
_N_SHOWN_EVALUATIONS = 24  # last lines of the evaluation log


def describe(path: Path | str) -> str:
    """Return a description in words.

    Raises InputError for a path that is not an artifact, ArtifactError for one that is missing or damaged.
    """
    path = Path(path)
    if path.is_dir():
        return _describe_folder(path)
    if not path.exists():
        raise ArtifactError(path, "not found")
    readers: dict[str, Callable[[Path], list[str]]] = {
        ".bin": _describe_shard,
        ".json": _describe_json,
        ".csv": _describe_csv,
        ".model": _describe_tokenizer,
        ".safetensors": _describe_tensors,
        ".golf": _describe_golf_file,
        ".jsonl": _describe_evaluation_log,
        ".xz": _describe_code_archive,
        ".pyz": _describe_bundle,
    }
    if path.suffix not in readers:
        raise InputError(f"{path}: not an artifact; allowed are {', '.join(sorted(readers))} and folders")
    return _truncate(readers[path.suffix](path))


def _describe_folder(path: Path) -> str:
    if (path / split_reader.INDEX_FILE).exists() and "shards" in io.read_json(path / split_reader.INDEX_FILE):
        return _truncate(_describe_split(path))
    files = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    lines = [f"{path}/: {format_count(len(files), 'entry', 'entries')}"]
    lines += [f"  {p.name:<40} {p.stat().st_size:>14,} bytes" for p in files if p.is_file()]
    return _truncate([*lines, *(f"  {p.name}/" for p in files if p.is_dir())])


def _truncate(lines: list[str]) -> str:
    """The lines, wrapped, as text of at most _MAX_LINES lines."""
    wrapper = textwrap.TextWrapper(
        _MAX_COLUMNS, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False
    )
    lines = [part for line in lines for part in wrapper.wrap(line) or [""]]
    n_excess = len(lines) - _MAX_LINES
    return "\n".join(lines if n_excess <= 0 else [*lines[: _MAX_LINES - 1], f"  … {n_excess + 1} more lines"])


def _describe_split(path: Path) -> list[str]:
    index = split_reader.read_index(path)
    hub_root = loader.load_config().hub.root if "root" in index else None
    opened_split = split_reader.open_split(path, hub_root=hub_root)
    n_documents = split_reader.count_documents(index)
    totals = f"{format_count(n_documents, 'document')}, {format_count(opened_split.n_tokens, 'token')}"
    vocab_text = f"vocabulary {opened_split.vocab_size}, BOS {opened_split.bos}"
    lines = [f"{path}: split {opened_split.name!r}, matches its index"]
    if "summarized" in index:
        disjoint_from = ", ".join(index["summarized"]["disjoint_from"])
        lines += [
            f"  {totals}; {vocab_text}",
            f"  documents are not listed; none of them is in {disjoint_from}",
        ]
    else:
        lengths = np.array([document["bytes"] for document in opened_split.documents])
        n_bytes = int(lengths.sum())
        lines += [
            f"  {totals}, {n_bytes:,} bytes of normalized text",
            f"  {n_bytes / max(1, opened_split.n_tokens):.3f} bytes per token; {vocab_text}",
            f"  document bytes: min {lengths.min():,}, median {int(np.median(lengths)):,}, max {lengths.max():,}",
        ]
    if "root" in index:
        lines.append(f"  shards in {split_reader.resolve_shard_dir(path, index, hub_root)}")
    if opened_split.token_bytes:
        lines.append("  a sidecar holds the bytes of text of each token")
    return [
        *lines,
        *(f"  shard {index}: {format_count(len(tokens), 'token')}" for index, tokens in enumerate(opened_split.shards)),
    ]


def _describe_shard(path: Path) -> list[str]:
    """A token shard, or the byte sidecar of one, which has the same format."""
    values = read_shard(path)[:]
    kind, content = ("byte sidecar", "bytes per token") if split_reader.is_sidecar(path) else ("token shard", "ids")
    first_values = ", ".join(map(str, values[:16].tolist()))
    return [
        f"{path}: {kind}, magic number and length are correct",
        f"  {format_count(len(values), 'token')}, {content} {int(values.min())} to {int(values.max())}",
        f"  first: {first_values}",
    ]


def _describe_tokenizer(path: Path) -> list[str]:
    opened_tokenizer = Tokenizer.open(path)
    return [
        f"{path}: SentencePiece model",
        f"  {opened_tokenizer.vocab_size:,} pieces, BOS {opened_tokenizer.bos}, sha256 {opened_tokenizer.sha256}",
    ]


def _describe_json(path: Path) -> list[str]:
    content = io.read_json(path)
    if "verdict" in content and "checks" in content:
        if path.with_name("evaluation_log.jsonl").is_file():
            verification.verify_evaluation(path)
        return [f"{path}: verdict", "", *verdict.load_report(path)[0].splitlines()]
    if "documents" in content and isinstance(content["documents"], list):
        content = content | {"documents": format_count(len(content["documents"]), "entry", "entries")}
    return [f"{path}:", *("  " + line for line in json.dumps(content, indent=2, ensure_ascii=False).splitlines()[1:-1])]


def _describe_evaluation_log(path: Path) -> list[str]:
    """The evaluation log. Raises ArtifactError naming the line at which its hash chain breaks."""
    entries = evaluation_log.read_entries(path)
    evaluations = [entry for entry in entries if entry["kind"] == evaluation_log.EVALUATION]
    n_started, n_proofs = evaluation_log.count_started(evaluations), len(entries) - len(evaluations)
    finished_text = f"{len(evaluations) - n_started} finished" + f", {n_proofs} later proofs" * (n_proofs > 0)
    lines = [
        f"{path}: {format_count(n_started, 'evaluation')} started, {finished_text}",
        "  the hash chain is intact",
        f"  {'time':<27}{'headline':<10}{'val bpb':<10}{'artifact':<10}{'predictor':<22}verdict",
    ]
    for entry in entries[-_N_SHOWN_EVALUATIONS:]:
        bpb_text = "started" if entry["val_bpb"] is None else f"{entry['val_bpb']:.4f}"
        status = (entry["verdict"] or "").partition(":")[0]
        source_text = f"{entry['artifact'][:8]:<10}{entry['predictor'][:20]:<22}"
        lines.append(f"  {entry['time']:<27}{entry['headline']:<10}{bpb_text:<10}{source_text}{status}")
    return lines


def _describe_csv(path: Path) -> list[str]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArtifactError(path, f"not a CSV table ({error})") from None
    if not rows:
        raise ArtifactError(path, "empty, expected a CSV table")
    shown_rows = rows if len(rows) <= _MAX_LINES - 2 else [*rows[:20], ["…"], *rows[-(_MAX_LINES - 24) :]]
    return [
        f"{path}: table of {format_count(len(rows) - 1, 'row')}",
        *("  " + "  ".join(f"{cell:>12}" for cell in row) for row in shown_rows),
    ]


def _describe_tensors(path: Path) -> list[str]:
    loaded, meta = io.load_tensors(path)
    kind = io.read_header(path)["kind"]
    lines = [
        f"{path}: {kind}, {path.stat().st_size:,} bytes, checksum matches",
        *_format_lineage(lineage.read_lineage(path)),
    ]
    if kind == ledger.KIND:
        return lines + _format_ledger(path)
    extra_meta = {key: value for key, value in meta.items() if key not in ("lineage", "model", "inputs", "bits")}
    if extra_meta:
        lines.append(f"  {json.dumps(extra_meta)[:110]}")
    if "model" in meta:
        keys = ("n_layers", "d_model", "n_heads", "vocab_size")
        lines.append("  model " + ", ".join(f"{key} {meta['model'][key]}" for key in keys))
    n_values = sum(tensor.numel() for tensor in loaded.values())
    lines.append(f"  {format_count(len(loaded), 'tensor')}, {format_count(n_values, 'value')}")
    if kind == sensitivity.KIND:
        return lines + [_format_sensitivity(name, tensor) for name, tensor in loaded.items()]
    return lines + _format_tensors(loaded, set(loaded) if meta.get("trellis_states") else set())


def _format_tensors(tensors_by_name: dict[str, torch.Tensor], trellis_names: set[str]) -> list[str]:
    """One line for each tensor, where codes and their scales are one tensor. trellis_names: of codes on a trellis."""
    names = [
        name.removesuffix(quantized_tensor.CODES_SUFFIX)
        for name in tensors_by_name
        if name.endswith(quantized_tensor.CODES_SUFFIX)
    ]
    quantized_names = [
        name
        for name in names
        if name + quantized_tensor.ROW_SCALES_SUFFIX in tensors_by_name
        and tensors_by_name[name + quantized_tensor.CODES_SUFFIX].numel()
    ]
    quantized_parts = {
        name + suffix
        for name in quantized_names
        for suffix in (
            quantized_tensor.CODES_SUFFIX,
            quantized_tensor.ROW_SCALES_SUFFIX,
            quantized_tensor.COL_SCALES_SUFFIX,
        )
    }
    other_lines = [
        _format_tensor(name, tensor) for name, tensor in tensors_by_name.items() if name not in quantized_parts
    ]
    return [_format_quantized(name, tensors_by_name, trellis_names) for name in quantized_names] + other_lines


def _format_quantized(name: str, tensors_by_name: dict[str, torch.Tensor], trellis_names: set[str]) -> str:
    codes = tensors_by_name[name + quantized_tensor.CODES_SUFFIX]
    row_scales = tensors_by_name[name + quantized_tensor.ROW_SCALES_SUFFIX]
    col_scales = tensors_by_name.get(name + quantized_tensor.COL_SCALES_SUFFIX)
    max_code = int(codes.int().abs().max())
    parity_known = name + quantized_tensor.CODES_SUFFIX in trellis_names
    bits = report.compute_empirical_entropy(codes, parity_known=parity_known)
    text = f"{bits:5.2f} bits, |code| to {max_code}, row scales {_format_range(row_scales)}"
    text += "" if col_scales is None else f", column scales {_format_range(col_scales)}"
    return f"  {name:<28} {_format_shape(codes):>9} {_format_dtype(codes):<6} {text}"


def _format_sensitivity(name: str, row_sensitivity: torch.Tensor) -> str:
    if row_sensitivity.ndim != 1 or not row_sensitivity.numel():
        return _format_tensor(name, row_sensitivity)
    low, high = np.quantile(row_sensitivity.double().numpy(), (0.1, 0.9))
    mean = row_sensitivity.double().mean()
    quantiles = f"10 % to 90 % quantile {low:.3g} to {high:.3g}"
    return f"  {name:<28} {len(row_sensitivity):>6} rows   mean {mean:.4g}   {quantiles}"


def _format_range(tensor: torch.Tensor) -> str:
    return f"{float(tensor.min()):.2g}–{float(tensor.max()):.2g}"


def _format_shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "1"


def _format_dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _format_tensor(name: str, tensor: torch.Tensor) -> str:
    stats_text = ""
    if tensor.numel():
        values = tensor.double()
        stats_text = (
            f"mean {values.mean():+.4g}  rms {values.square().mean().sqrt():.4g}  |max| {values.abs().max():.4g}"
        )
    return f"  {name:<32} {_format_shape(tensor):>12} {_format_dtype(tensor):<8} {stats_text}"


def _format_ledger(path: Path) -> list[str]:
    rows, meta = ledger.read(path)
    score = bpb.compute_score(rows)
    stderr_text = f" ± {score.standard_error:.4f}" if score.standard_error is not None else ""
    bpb_text = f"{score.bpb:.6f}{stderr_text} bpb (s.e. over documents)"
    return [
        f"  mode {meta['mode']}: {bpb_text}, {score.loss:.6f} nats per token",
        *([f"  {meta['verdict']}"] if "verdict" in meta else []),
        f"  {score.n_tokens:,} targets, {score.n_bytes:,} bytes, {format_count(len(rows.document_starts), 'document')}",
        f"  {format_count(int(rows.chunk_ids[-1]) + 1, 'chunk')}, hash chain intact",
    ]


def _format_lineage(record: dict[str, Any] | None) -> list[str]:
    if record is None:
        return ["  unknown origin: no lineage"]
    inputs = ", ".join(f"{name} {source['sha256'][:12]}" for name, source in record["inputs"].items())
    return [
        f"  made by stage {record['stage']} from {inputs}; seed {record['seed']}, {record['ranks']} ranks",
        f"  upstream splits: {', '.join(record['splits_seen']) or 'none'}",
    ]


def _describe_golf_file(path: Path) -> list[str]:
    tensors_by_name, header = reader.read(path)
    lines = [f"{path}: submission, {path.stat().st_size:,} bytes, all checksums match"]
    lines.append("  model " + ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(header.model).items()))
    lines.append(f"  {codec_summary.describe_codecs(header.sections)}")
    lines.append(f"  upstream splits: {', '.join(header.upstream_splits) or 'none'}")
    trellis_sections = (section for section in header.sections if section.codec == "trellis")
    trellis_names = {name for section in trellis_sections for group in section.groups for name in group.names}
    return lines + _format_tensors(tensors_by_name, trellis_names)


def _describe_code_archive(path: Path) -> list[str]:
    """The source files in a code archive with their sizes, largest first."""
    packed = path.read_bytes()
    sources = code_archive.unpack(packed, path)
    total = sum(map(len, sources.values()))
    contents = f"{format_count(len(sources), 'minified file')}, {total:,} bytes unpacked"
    lines = [f"{path}: the code of the submission, {len(packed):,} bytes; {contents}"]
    by_size = sorted(sources.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return lines + [f"  {name:<40} {len(source):>8,} bytes" for name, source in by_size]


def _describe_bundle(path: Path) -> list[str]:
    """The modules in the script of a run with their sizes, in the order in which it runs them."""
    packed = path.read_bytes()
    modules = packing.read_modules(packed, path)
    lines = [
        f"{path}: the script that also trains, {len(packed):,} bytes; {format_count(len(modules), 'minified module')}"
    ]
    return lines + [f"  {name:<40} {len(source.encode()):>8,} bytes" for name, source in modules.items()]
