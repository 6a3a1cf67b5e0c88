"""Write a submission folder in the contest's form: README.md, submission.json, train_gpt.py and a log of each seed."""

import datetime
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifacts import io
from golf.compliance.check_result import NOT_RUN
from golf.compliance.evaluation_run import OWN_PREDICTOR
from golf.compliance.verdict import RECORD_ELIGIBLE
from golf.errors import ConfigError, InputError
from golf.submission.bundle import packing, runs
from golf.submission.bundle.runs import RunRecord

__all__ = ["Author", "describe_folder", "write_folder", "write_unmeasured_folder"]

_RECORD_TRACK, _OTHER_TRACK = "10min_16mb", "non_record_16mb"
_CONTEST_LIMIT_BYTES = 16_000_000
_DEFAULT_COMMAND = "python train_gpt.py"
_BUNDLED_VALUES = (  # section, key, and the one value that the script has code for
    ("quantize", "weights", "ema"),
    ("quantize", "refine_steps", 0),
    ("evaluate", "predictor", OWN_PREDICTOR),
)


@dataclass(frozen=True)
class Author:
    """Who submits, for submission.json."""

    author: str
    github_id: str
    name: str


def write_folder(out: Path, folders: list[Path], author: Author) -> list[RunRecord]:
    """Write the folder of finished runs that differ in the seed; the first one's script ships. Returns the runs.

    Raises InputError when ``out`` is not empty or the runs do not belong together, ConfigError for settings that the
    script can't follow, ArtifactError for a file of a run that is missing, malformed or of another run. Nothing is
    written then.
    """
    records = [runs.read_run(folder) for folder in folders]
    runs.require_same_settings(records)
    _require_bundled_path(records[0].settings)
    script = records[0].script
    logs = {f"train_seed{run.seed}.log": "".join(f"{line}\n" for line in run.iter_log(len(script))) for run in records}
    files = {name: text.encode() for name, text in logs.items()}
    files["README.md"] = "\n".join(_iter_readme(records, author)).encode()
    files["submission.json"] = io.encode_json(_make_submission(records, author))
    _write_files(out, files | {packing.SCRIPT_NAME: script})
    return records


def write_unmeasured_folder(out: Path, settings: dict[str, dict[str, Any]], root: Path, author: Author) -> int:
    """Write a folder for settings that no run has; all figures in it are NOT-RUN. Returns the bytes of its script.

    root: the folder of golf's sources. Raises InputError when ``out`` is not empty, ConfigError for settings that the
    script can't follow.
    """
    _require_bundled_path(settings)
    script = packing.pack_bundle(settings, root)
    claims = {"author": author.author, "github_id": author.github_id, "name": author.name, "val_bpb": None}
    text = [
        f"# {author.name}",
        "",
        f"Score, seconds and bytes of the model: {NOT_RUN}.",
        "",
        *_iter_usage(settings, script, None),
    ]
    files = {"README.md": "\n".join(text).encode(), packing.SCRIPT_NAME: script}
    _write_files(out, files | {"submission.json": io.encode_json(claims | {"bytes_code": len(script)})})
    return len(script)


def _require_bundled_path(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ConfigError unless a run of these settings does what the script does."""
    for section, key, bundled in _BUNDLED_VALUES:
        if settings[section][key] != bundled:
            raise ConfigError(f"{section}.{key}: a bundle has {bundled}, got {settings[section][key]}")


def _write_files(out: Path, files: dict[str, bytes]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; name another one with --out, or remove it")
    with io.replace_together(out) as work_dir:
        for name, data in files.items():
            io.write_bytes(work_dir / out.name / name, data)


def describe_folder(out: Path, records: list[RunRecord]) -> str:
    """Return what was written, in a few lines."""
    total_bytes = max(run.total_bytes for run in records)
    seeds = ", ".join(str(run.seed) for run in records)
    lines = [
        f"{out}: README.md, submission.json, {packing.SCRIPT_NAME}, logs of seed {seeds}",
        f"{'script bytes':<14}{len(records[0].script):>12,}",
        f"{'total bytes':<14}{total_bytes:>12,}  of {_limit_bytes(records):,}",
        f"{'val bpb':<14}{_format_mean(records, 'val_bpb'):>12}",
    ]
    if total_bytes > _limit_bytes(records):
        lines.append("The script and the model together are over compress.limit_bytes: set compress.count: bundle.")
    return "\n".join(lines)


def _limit_bytes(records: list[RunRecord]) -> int:
    return int(records[0].settings["compress"]["limit_bytes"])


def _make_submission(records: list[RunRecord], author: Author) -> dict[str, Any]:
    """The claims of submission.json; null for what was not measured."""
    is_record = all(run.metrics and run.metrics["verdict"].startswith(RECORD_ELIGIBLE) for run in records)
    scored = [run.metrics for run in records if run.metrics]
    is_scored = len(scored) == len(records)
    scores = [metrics["val_bpb"] for metrics in scored]
    return {
        "author": author.author,
        "github_id": author.github_id,
        "name": author.name,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "track": _RECORD_TRACK if is_record else _OTHER_TRACK,
        "val_bpb": round(statistics.mean(scores), 8) if is_scored else None,
        "val_loss": round(statistics.mean(metrics["val_loss"] for metrics in scored), 8) if is_scored else None,
        "val_bpb_std": round(statistics.stdev(scores), 8) if is_scored and len(scores) > 1 else None,
        "bytes_total": max(run.payload_bytes for run in records) + len(records[0].script),
        "bytes_code": len(records[0].script),
        "hardware": records[0].hardware,
        "seeds": [run.seed for run in records],
        "seed_results": {str(run.seed): _describe_seed(run, len(records[0].script)) for run in records},
        "checks": {check: [run.checks.get(check, NOT_RUN) for run in records] for check in records[0].checks},
    }


def _describe_seed(run: RunRecord, code_bytes: int) -> dict[str, Any]:
    return {
        "val_bpb": round(run.metrics["val_bpb"], 8) if run.metrics else None,
        "val_loss": round(run.metrics["val_loss"], 8) if run.metrics else None,
        "artifact_bytes": run.payload_bytes + code_bytes,
        "steps": run.n_steps,
        "train_time_s": run.training_s,
        "calibration_time_s": run.calibration_s,
        "eval_time_s": run.metrics["eval_seconds"] if run.metrics else None,
    }


def _iter_readme(records: list[RunRecord], author: Author) -> Iterator[str]:
    first, code_bytes = records[0], len(records[0].script)
    yield from [f"# {author.name}", ""]
    if not all(run.metrics for run in records):
        yield from [f"Score: {NOT_RUN} for some seeds; their artifacts were not evaluated.", ""]
    yield "| seed | val_bpb | val_loss | steps | train s | calibration s | eval s | bytes of model and code |"
    yield "|---|---|---|---|---|---|---|---|"
    for run in records:
        scores = [_format_metric(run, "val_bpb", ".8f"), _format_metric(run, "val_loss", ".8f"), f"{run.n_steps}"]
        seconds = [f"{run.training_s:.1f}", f"{run.calibration_s:.1f}", _format_metric(run, "eval_seconds", ".1f")]
        yield f"| {run.seed} | {' | '.join([*scores, *seconds])} | {run.payload_bytes + code_bytes} |"
    yield ""
    if len(records) > 1 and all(run.metrics for run in records):
        deviation = statistics.stdev(run.metrics["val_bpb"] for run in records)
        yield from [
            f"Mean val_bpb {_format_mean(records, 'val_bpb')}, standard deviation over seeds {deviation:.8f}.",
            "",
        ]
    yield f"Hardware: {first.hardware}. `{packing.SCRIPT_NAME}` has {code_bytes} bytes, which the totals include."
    yield f"The limit of the run is {_limit_bytes(records)} bytes, the contest's {_CONTEST_LIMIT_BYTES}."
    yield ""
    yield from _iter_evidence(records)
    yield from _iter_usage(first.settings, first.script, first.source)


def _iter_evidence(records: list[RunRecord]) -> Iterator[str]:
    """What the checks said, and which could not run."""
    yield from ["## What was checked", ""]
    for run in records:
        yield f"- Seed {run.seed}: {run.metrics.get('verdict', f'{NOT_RUN}: the artifact was not evaluated')}"
        if not_run := [check for check, status in run.checks.items() if status == NOT_RUN]:
            yield f"- Seed {run.seed}, {NOT_RUN}: {', '.join(not_run)}"
    if not all(run.metrics and run.metrics["comparable_with_fineweb"] for run in records):
        yield "- The text is not the contest's: these scores are not comparable with scores on FineWeb."
    yield "- The logs are written from the tables of golf's pipeline, in the lines that the script prints."
    yield ""


def _iter_usage(settings: Any, script: bytes, source: Mapping[str, Any] | None) -> Iterator[str]:
    """How to run the script. source: of fetch's manifest.json; None where no run has chosen a text."""
    seed, n_ranks = settings["train"]["seed"], settings["train"]["ranks"]
    data_path, tokenizer_path, description = _describe_text(source)
    command = f"torchrun --standalone --nproc_per_node={n_ranks} train_gpt.py" if n_ranks > 1 else _DEFAULT_COMMAND
    yield from [
        "## Run it",
        "",
        "```sh",
        f"pip install {' '.join(packing.list_packages(script))}",
        f"DATA_PATH={data_path} TOKENIZER_PATH={tokenizer_path} SEED={seed} {command}",
        "```",
        "",
        description,
        "",
        f"`{packing.SCRIPT_NAME}` is a zip archive that Python runs: its member `code` is LZMA-compressed source with",
        "the settings as JSON. It trains, averages, calibrates, quantizes, compresses, scores, and writes model.golf",
        f"with the log and the scores of each token. `python {packing.SCRIPT_NAME} --help` lists its options.",
        "",
    ]


def _describe_text(source: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """The folder of the shards, the tokenizer's file, and a sentence on them."""
    if source is None:
        return "SHARDS", "TOKENIZER", "SHARDS is the folder of the token shards, TOKENIZER the SentencePiece model."
    if source["kind"] == "hub":
        model_name = next(Path(path).name for path in source["files"] if path.endswith(".model"))
        text = f"The text is the variant {source['variant']} of {source['repo']} at commit {source['commit']}."
        return f"data/datasets/fineweb10B_{source['variant']}", f"data/tokenizers/{model_name}", text
    text = f"golf's stage fetch writes these files: `fetch.source: {source['kind']}`, text {source['sha256'][:12]}."
    return "artifacts/fetch", "artifacts/fetch/tokenizer.model", text


def _format_metric(run: RunRecord, key: str, spec: str) -> str:
    return format(run.metrics[key], spec) if run.metrics else NOT_RUN


def _format_mean(records: list[RunRecord], key: str) -> str:
    if not all(run.metrics for run in records):
        return NOT_RUN
    return f"{statistics.mean(run.metrics[key] for run in records):.8f}"
