"""The table of a campaign, from the report that ``--json`` prints."""

import textwrap
from collections.abc import Sequence
from typing import Any

from golf.cli.figures import format_figure
from golf.compliance.check_result import NOT_RUN
from golf.evaluation.scoring_loop import MODES
from golf.evaluation.significance import CONFIDENCE_LEVEL
from golf.pipeline.progress import format_count

__all__ = ["TEST_TITLES", "describe_documents", "describe_machine", "describe_order", "format_test", "render_report"]

_WIDTH = 100
TEST_TITLES = {  # title by key of the report's baseline
    "per_byte": "per byte, Welch",
    "per_token": "per token, Welch",
    "per_byte_paired": "per byte, paired by seed",
    "per_token_paired": "per token, paired by seed",
}


def render_report(report: dict[str, Any]) -> str:
    """Return the table as text: each seed with its machine and order, the statistics, the tests, the notes."""
    n_runs, n_seeds = len(report["runs"]), len(report["seeds"])
    lines = [f"campaign {report['name']}: {n_runs} of {n_seeds} seeds have a score"]
    if report["overrides"]:
        lines.append("set: " + ", ".join(f"{key}={value}" for key, value in report["overrides"].items()))
    if report["runs"]:
        lines += ["", *_render_runs(report), "", *_render_modes(report)]
    if report["baseline"]:
        lines += ["", *_render_baseline(report["baseline"])]
    if report["notes"]:
        lines += ["", *(line for note in report["notes"] for line in _wrap(f"- {note}"))]
    return "\n".join(lines)


def _render_runs(report: dict[str, Any]) -> list[str]:
    """A row for each seed, in the order of --seeds, and those of the mean and the standard deviation."""
    heads = ("order", "val bpb", "nats/token", "bytes", "train s", "eval s")
    lines = [f"{'seed':<12}" + "".join(f"{head:>12}" for head in heads) + "  machine"]
    by_seed = {run["seed"]: run for run in report["runs"]}
    for run in (by_seed[seed] for seed in report["seeds"] if seed in by_seed):
        cells = (
            describe_order(run),
            f"{run['bpb']:.6f}",
            f"{run['loss']:.6f}",
            f"{run['artifact_bytes']:,}",
            format_figure(run["train_seconds"], ".1f"),
            f"{run['eval_seconds']:.1f}",
        )
        lines.append(f"{run['seed']:<12}" + "".join(f"{cell:>12}" for cell in cells) + f"  {describe_machine(run)}")
    stats = [report["statistics"][key] for key in ("bpb", "loss")]
    for title, key in (("mean", "mean"), ("sd (n - 1)", "sd")):
        lines.append(f"{title:<24}" + "".join(f"{format_figure(side[key], '.6f'):>12}" for side in stats))
    return lines


def describe_order(run: dict[str, Any]) -> str:
    """Return the place of a run of the report in the order in which the seeds ended, with the number of its tries."""
    return f"{run['order']}" + f" (try {run['attempts']})" * (run["attempts"] > 1)


def describe_machine(run: dict[str, Any]) -> str:
    """Return the hardware of a run of the report, and its host where that is known."""
    return str(run["hardware"]) + (f", {run['host']}" if run["host"] else "")


def _render_modes(report: dict[str, Any]) -> list[str]:
    lines = []
    for mode in MODES:
        stats = report["statistics"][f"bpb_{mode}"]
        mark = "  <- headline" * (mode == report["headline"])
        lines.append(f"{mode:<12}mean {stats['mean']:.6f} bpb, sd {format_figure(stats['sd'], '.6f')}{mark}")
    return lines


def _render_baseline(baseline: dict[str, Any]) -> list[str]:
    """The baseline's statistics and a row for each test that the two sides allow."""
    stats = baseline["bpb"]
    seeds = f" ({', '.join(map(str, baseline['seeds']))})" if baseline["seeds"] else ""
    lines = [
        f"baseline {baseline['source']}: mean {stats['mean']:.6f} bpb, sd {format_figure(stats['sd'], '.6f')}, "
        f"{format_count(stats['n'], 'seed')}{seeds}"
    ]
    heads = ("gain, nats", "s.e.", "t", "df", "p (> 0)", "p (> 0.005)")
    lines.append(f"{'':<28}" + "".join(f"{head:>12}" for head in heads))
    for key, title in TEST_TITLES.items():
        test = baseline[key]
        if test is not None:
            lines.append(f"{title:<28}" + "".join(f"{cell:>12}" for cell in format_test(test)))
        elif not key.endswith("_paired"):
            lines.append(f"{title:<28}{NOT_RUN:>12}")
    if (documents := baseline["documents"]) is not None:
        lines += _wrap(describe_documents(documents))
    if baseline["shared_stages"]:
        lines.append(f"the same files as the baseline's, seed by seed: {', '.join(baseline['shared_stages'])}")
    return lines


def format_test(test: dict[str, Any]) -> Sequence[str]:
    """Return the figures of a test: gain in nats, standard error, t, degrees of freedom, p above 0 and above 0.005."""
    return (
        f"{test['gain_nats']:+.6f}",
        f"{test['standard_error']:.6f}",
        f"{test['t']:.2f}",
        f"{test['df']:.2f}",
        f"{test['p_above_0']:.3g}",
        f"{test['p_above_0.005']:.3g}",
    )


def describe_documents(documents: dict[str, Any]) -> str:
    """Return the difference from the baseline, paired over documents, in words."""
    interval = (
        "no interval"
        if documents["half_width"] is None
        else f"± {documents['half_width']:.6f} ({CONFIDENCE_LEVEL:.0%} over documents)"
    )
    return (
        f"paired over {documents['n']:,} documents: {documents['bpb_difference']:+.6f} bpb {interval}; better on "
        f"{documents['improved_frac']:.1%} of them, with {documents['improved_bytes_frac']:.1%} of the bytes"
    )


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ")
