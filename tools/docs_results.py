"""The blocks with the figures of the committed run, from the metrics.json of its stages."""

import tempfile
import textwrap
from pathlib import Path
from typing import Any

from golf.artifacts import io
from golf.cli import results
from golf.config import loader

__all__ = ["Metrics", "render_details", "render_run_output", "render_summary"]

_MODE_NAMES = {
    "plain": "plain windows",
    "sliding": "sliding windows",
    "ttt": "score-first test-time training (TTT)",
}
Metrics = dict[str, dict[str, Any]]


def render_summary(metrics: Metrics) -> str:
    """Return README's paragraph of the scores, the bytes and the verdict."""
    run = metrics["evaluate"]
    others = [mode for mode in _MODE_NAMES if mode != run["headline"] and run.get(f"val_bpb_{mode}") is not None]
    rest = ", ".join(f"{run[f'val_bpb_{mode}']:.4f} with {_MODE_NAMES[mode]}" for mode in others)
    memory_cfg = loader.load_config().memory
    has_memory = run["headline"] == "ttt" and bool(memory_cfg.orders or memory_cfg.cache_tokens)
    memory = " and a memory of scored text" if has_memory else ""
    text = (
        f"**{run['val_bpb']:.4f} bpb** with {_MODE_NAMES[run['headline']]}{memory}, the headline; {rest}. "
        f"{run['artifact_bytes']:,} of {run['limit_bytes']:,} bytes: model {run['payload_bytes']:,}, code "
        f"{run['code_bytes']:,}. Training and calibration took {run['train_seconds']:.0f} s, evaluation "
        f"{run['eval_seconds']:.0f} s. Verdict: {run['verdict'].partition(':')[0]}."
    )
    return "\n".join([*textwrap.wrap(text, 120), ""])


def render_run_output(metrics: Metrics) -> str:
    """Return README's block of the figures that ``make run`` prints at its end, for the committed metrics."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.json"
        io.write_json(path, metrics["evaluate"])
        table, _, _hints = results.render_table(path).strip().rpartition("\n\n")
    return f"```text\n{table}\n```\n"


def render_details(metrics: Metrics) -> str:
    """Return docs/results.md: the scores, the text they are of, the training run, and the verdict in full."""
    run, train = metrics["evaluate"], metrics["train"]
    train_limit, eval_limit = (_format_limit(run[f"{phase}_limit_seconds"]) for phase in ("train", "eval"))
    return "\n".join(
        [
            *_tabulate_modes(run),
            "",
            *_tabulate_splits(metrics["fetch"]),
            "",
            f"Training ran {train['steps']:,} steps over {train['tokens']:,} tokens, at "
            f"{train['tokens_per_second']:,.0f} tokens/s.",
            f"Training and calibration took {run['train_seconds']:.1f} of {train_limit} s.",
            f"Evaluation took {run['eval_seconds']:.1f} of {eval_limit} s; "
            f"the proof took another {_format_seconds(run, 'proof_seconds')}, its learning "
            f"{_format_seconds(run, 'proof_replay_seconds')}, the probes {_format_seconds(run, 'probe_seconds')}.",
            f"The artifact has {run['artifact_bytes']:,} of {run['limit_bytes']:,} bytes: "
            f"model {run['payload_bytes']:,}, code {run['code_bytes']:,}.",
            "",
            f"Verdict: *{run['verdict']}*",
            "",
        ]
    )


def _format_seconds(run: dict[str, Any], key: str) -> str:
    return "NOT-RUN" if run.get(key) is None else f"{run[key]:.1f} s"


def _tabulate_modes(run: dict[str, Any]) -> list[str]:
    lines = ["| scoring mode | bpb of val | ± standard error over documents | seconds |", "|---|---|---|---|"]
    for mode, title in _MODE_NAMES.items():
        if run.get(f"val_bpb_{mode}") is None:
            continue
        name = f"**{title}, headline**" if mode == run["headline"] else title
        bpb, standard_error, seconds = (run[f"{key}"] for key in _mode_keys(mode))
        lines.append(f"| {name} | {bpb:.4f} | {standard_error:.4f} | {seconds:.1f} |")
    return lines


def _mode_keys(mode: str) -> tuple[str, str, str]:
    return f"val_bpb_{mode}", f"val_bpb_{mode}_se", f"seconds_{mode}"


def _tabulate_splits(splits: dict[str, Any]) -> list[str]:
    rows = [
        f"| {name} | {row['documents']:,} | {row['tokens']:,} | {row['bytes']:,} | {row['bytes_per_token']:.3f} |"
        for name, row in splits.items()
    ]
    return ["| split | documents | tokens | bytes | bytes per token |", "|---|---|---|---|---|", *rows]


def _format_limit(limit: float | None) -> str:
    return "unlimited" if limit is None else f"{limit:.0f}"
