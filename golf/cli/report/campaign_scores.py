"""Sections on a campaign's scores: the mean, each seed, the scoring modes, the documents, the tests, the verdicts."""

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from golf.cli.campaign import table
from golf.cli.figures import format_figure
from golf.cli.report import page, score_sections, svg
from golf.cli.report.campaign_files import CampaignFiles, DocumentSums
from golf.cli.report.page import PageSection
from golf.cli.report.svg import Axis, Series
from golf.compliance.check_result import NOT_RUN
from golf.compliance.verdict import INVALID
from golf.evaluation.scoring_loop import MODES
from golf.pipeline.progress import format_count

__all__ = [
    "compute_running_bpb",
    "render_baseline_section",
    "render_documents_section",
    "render_modes_section",
    "render_result_section",
    "render_seeds_section",
    "render_verdicts_section",
]

_MAX_TICK_CHARS = 40  # of all seeds below a chart
_LEAST_RANGE_BPB = 2e-4  # a chart shows at least this much on both sides of the mean, or noise would look large
_MAX_POINTS = 100  # of a line over documents
_DISPUTED = "disputed: "  # in a verdict's words, before the method on which there is no ruling


def render_result_section(files: CampaignFiles) -> PageSection:
    """Return the headline's mean and standard deviation, what it compares with, and which seeds are missing."""
    report = files.report
    stats, metrics = report["statistics"]["bpb"], files.campaign.runs[0]["metrics"]
    n_seeds, headline = stats["n"], report["headline"]
    deviation = "" if stats["sd"] is None else f" ± {stats['sd']:.6f}"
    labels = _label(any(_is_invalid(files, run, headline) for run in files.runs))
    labels += ' <span class="unruled">disputed</span>' * any(_DISPUTED in run["verdict"] for run in files.runs)
    verdicts = Counter(run["verdict"].partition(":")[0] for run in files.runs)
    words = "; ".join(f"{word} ({format_count(count, 'seed')})" for word, count in verdicts.items())
    counted = f"{n_seeds} of {len(report['seeds'])} seeds"
    name = score_sections.MODE_NAMES.get(headline, headline)
    parts = [
        f'<p class="score">{stats["mean"]:.6f} bpb{deviation}{labels}</p>',
        page.render_paragraph(
            f"Campaign {report['name']}: the mean over {counted} of the bits per byte of val in the mode {name}, which "
            "was named before anything was scored; ± is the standard deviation (n - 1) over seeds. Lower is better."
        ),
        page.render_paragraph(f"Verdicts: {words}."),
        page.render_paragraph(score_sections.describe_comparison(metrics)),
    ]
    if stats["sd"] is None:
        parts.append(page.render_not_run("the standard deviation over seeds", "it needs two seeds with a score"))
    if missing := report["missing_seeds"]:
        seeds = " ".join(map(str, report["seeds"]))
        hint = f"run them with: golf campaign --name {report['name']} --seeds {seeds}"
        parts.append(page.render_not_run(f"no score yet: {', '.join(map(str, missing))}", hint))
    parts += [page.render_paragraph(f"Note: {note}.") for note in report["notes"]]
    return PageSection("result", "Result", "".join(parts))


def _is_invalid(files: CampaignFiles, run: dict[str, Any], mode: str) -> bool:
    """Whether the verdict of a run forbids its score in a mode."""
    invalid_modes = files.read_metrics(run["seed"]).get("invalid_modes", "").split(", ")
    return run["verdict"].startswith(INVALID) or mode in invalid_modes


def _label(is_invalid: bool) -> str:
    """HTML that stands behind a score that its verdict forbids."""
    return f' <span class="fail">{INVALID}</span>' * is_invalid


def render_seeds_section(files: CampaignFiles) -> PageSection:
    """Return a row for each seed with its scores, bytes, seconds and machine, and rows of mean and deviation."""
    header = ("seed", "order", "bpb of val", "nats per token", "bytes", "train, s", "eval, s", "machine")
    by_seed = {run["seed"]: run for run in files.runs}
    rows = [_describe_seed(files, seed, by_seed.get(seed)) for seed in files.report["seeds"]]
    stats = [files.report["statistics"][key] for key in ("bpb", "loss")]
    for title, key in (("mean", "mean"), ("standard deviation (n - 1)", "sd")):
        cells = [format_figure(side[key], ".6f") for side in stats]
        rows.append([f"<strong>{title}</strong>", "", *cells, "", "", "", ""])
    limits = sorted({run["limit_bytes"] for run in files.runs})
    text = page.render_paragraph(
        f"Order is that in which the seeds ended. Bytes are of model and code, of at most "
        f"{' and '.join(f'{limit:,}' for limit in limits)}. Seconds compare on one machine alone."
    )
    return PageSection(
        "seeds", "Seeds", text + page.render_table(header, rows, numbers=(1, 2, 3, 4, 5, 6), stacks=True)
    )


def _describe_seed(files: CampaignFiles, seed: int, run: dict[str, Any] | None) -> list[str]:
    """The cells of a seed's row; run: None for a seed without a score."""
    if run is None:
        return [str(seed), *[NOT_RUN] * 7]
    return [
        str(seed),
        table.describe_order(run),
        f"{run['bpb']:.6f}{_label(_is_invalid(files, run, files.report['headline']))}",
        f"{run['loss']:.6f}",
        f"{run['artifact_bytes']:,}",
        format_figure(run["train_seconds"], ",.1f"),
        f"{run['eval_seconds']:,.1f}",
        escape(table.describe_machine(run)),
    ]


def render_modes_section(files: CampaignFiles) -> PageSection:
    """Return the mean and deviation of each scoring mode, and a chart of the seeds around the mean of each."""
    statistics, rows, figures = files.report["statistics"], [], []
    for mode in MODES:
        stats = statistics[f"bpb_{mode}"]
        is_headline = mode == files.report["headline"]
        name = escape(score_sections.MODE_NAMES[mode]) + " <strong>(headline)</strong>" * is_headline
        name += _label(any(_is_invalid(files, run, mode) for run in files.runs))
        rows.append([name, f"{stats['mean']:.6f}", format_figure(stats["sd"], ".6f"), f"{stats['n']}"])
        figures.append(_draw_seeds(files, mode, stats["mean"]))
    header = ("scoring mode", "mean bpb of val", "standard deviation (n - 1)", "seeds")
    body = page.render_table(header, rows, numbers=(1, 2, 3)) + f'<div class="charts">{"".join(figures)}</div>'
    return PageSection("modes", "Scoring modes", body)


def _draw_seeds(files: CampaignFiles, mode: str, mean: float) -> str:
    """A dot for each seed over its place in --seeds, and a line at the mean."""
    runs = files.runs
    seeds = [run["seed"] for run in runs]
    lines = [
        Series(f"seed {run['seed']}", ((float(place), run[f"bpb_{mode}"]),), has_marks=True)
        for place, run in enumerate(runs)
    ]
    low, high = -0.5, len(runs) - 0.5
    lines.append(Series("mean", ((low, mean), (high, mean))))
    values = [run[f"bpb_{mode}"] for run in runs]
    x = Axis("seed, in the order of --seeds", low, high, _make_seed_ticks(seeds))
    y = svg.make_linear_axis("bpb of val", [*values, mean - _LEAST_RANGE_BPB, mean + _LEAST_RANGE_BPB])
    title = f"Seeds, {score_sections.MODE_NAMES[mode]}"
    chart = svg.draw_line_chart(f"seeds-{mode}", title, x, y, lines)
    caption = f"The line is the mean. From the lowest to the highest: {max(values) - min(values):.6f} bpb."
    return page.render_figure(title, chart, caption)


def _make_seed_ticks(seeds: Sequence[int]) -> tuple[tuple[float, str], ...]:
    """Each seed at its place, or every second, third, … where not all of them fit."""
    step = math.ceil(len(seeds) * max(len(str(seed)) + 1 for seed in seeds) / _MAX_TICK_CHARS)
    return tuple((float(place), str(seed)) for place, seed in enumerate(seeds) if place % step == 0)


def render_documents_section(files: CampaignFiles) -> PageSection:
    """Return bits per byte so far over val's documents, by mode and seed, and each seed's distance from the mean."""
    sums = {run["seed"]: files.read_documents(run["seed"]) for run in files.runs}
    by_seed = {seed: document_sums for seed, document_sums in sums.items() if document_sums is not None}
    notes = [
        page.render_not_run(
            f"{files.name_documents_file(seed)} is missing from the campaign's folder",
            "copy the whole folder, with the sums over documents of each seed",
        )
        for seed in sums.keys() - by_seed.keys()
    ]
    notes.append(
        page.render_not_run(
            "bpb by position in the document",
            "a campaign keeps sums over documents, no ledgers; of one seed: dvc exp apply EXPERIMENT, golf report",
        )
    )
    if not by_seed:
        return PageSection("documents", "Scores over documents", "".join(notes))
    figures = [_draw_documents(by_seed, mode) for mode in MODES]
    if len(by_seed) > 1:
        figures.append(_draw_distances(by_seed, files.report["headline"]))
    body = f'<div class="charts">{"".join(figures)}</div>{"".join(notes)}'
    return PageSection("documents", "Scores over documents", body)


def _draw_documents(by_seed: dict[int, dict[str, DocumentSums]], mode: str) -> str:
    lines = [Series(f"seed {seed}", compute_running_bpb(*sums[mode])) for seed, sums in by_seed.items()]
    title = f"Bits per byte so far, {score_sections.MODE_NAMES[mode]}"
    caption = "Bits over bytes of all documents up to here; each line ends at the seed's score."
    return _draw_over_documents(f"documents-{mode}", title, "bpb so far", lines, caption)


def _draw_distances(by_seed: dict[int, dict[str, DocumentSums]], mode: str) -> str:
    """Each seed's running bpb minus that of the mean over the seeds."""
    all_bits = [sums[mode][0] for sums in by_seed.values()]
    mean = compute_running_bpb(np.mean(all_bits, axis=0), next(iter(by_seed.values()))[mode][1])
    lines = []
    for seed, sums in by_seed.items():
        points = zip(compute_running_bpb(*sums[mode]), mean, strict=True)
        lines.append(Series(f"seed {seed}", tuple((x, y - mean_y) for (x, y), (_, mean_y) in points)))
    title = f"Distance from the mean so far, {score_sections.MODE_NAMES.get(mode, mode)}"
    caption = "The lines of the headline's chart minus their mean: whether the seeds differ everywhere alike."
    return _draw_over_documents("documents-distance", title, "bpb so far, minus the mean", lines, caption)


def _draw_over_documents(chart_id: str, title: str, label: str, lines: Sequence[Series], caption: str) -> str:
    x = svg.make_linear_axis("documents of val, in its order", [x for x, _ in lines[0].points], from_zero=True)
    y = svg.make_linear_axis(label, [value for line in lines for _, value in line.points])
    chart = svg.draw_line_chart(chart_id, title, x, y, lines)
    return page.render_figure(title, chart, caption, page.render_legend([line.name for line in lines]))


def compute_running_bpb(bits: np.ndarray, n_bytes: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return (number of documents, Σ bits / Σ bytes up to there) at no more than 100 evenly spaced documents.

    bits, n_bytes: [D]. The last point is the score. Documents before the first byte are left out.
    """
    total_bits, total_bytes = np.cumsum(bits), np.cumsum(n_bytes)
    indices = np.unique(np.linspace(0, len(bits) - 1, min(len(bits), _MAX_POINTS)).astype(int))
    return tuple((float(i + 1), float(total_bits[i] / total_bytes[i])) for i in indices if total_bytes[i] > 0)


def render_baseline_section(files: CampaignFiles) -> PageSection:
    """Return the baseline's statistics and every test that the two sides allow."""
    anchor, heading, baseline = "baseline", "Tests against a baseline", files.report["baseline"]
    if baseline is None:
        return PageSection(
            anchor, heading, page.render_not_run("no baseline was named", "name one with --baseline OTHER")
        )
    stats = baseline["bpb"]
    seeds = f" ({', '.join(map(str, baseline['seeds']))})" if baseline["seeds"] else ""
    parts = [
        page.render_paragraph(
            f"Baseline {baseline['source']}, a {baseline['kind']}: mean {stats['mean']:.6f} bpb, standard deviation "
            f"{format_figure(stats['sd'], '.6f')} over {format_count(stats['n'], 'seed')}{seeds}."
        ),
        page.render_paragraph(
            "A gain is the baseline's mean minus the campaign's, in nats. The tests are one-sided, of a gain above 0 "
            "and of one above 0.005 nats, the challenge's margin, which was read as per byte and as per token."
        ),
    ]
    header = ("test", "gain, nats", "standard error", "t", "df", "p, above 0", "p, above 0.005")
    rows = [[escape(title), *_format_test(baseline[key])] for key, title in table.TEST_TITLES.items()]
    parts.append(page.render_table(header, rows, numbers=(1, 2, 3, 4, 5, 6)))
    if baseline["documents"] is None:
        reason = "both sides need the same seeds, val and headline, and valid scores"
        parts.append(page.render_not_run("the difference paired over documents", reason))
    else:
        parts.append(page.render_paragraph(f"The headline, {table.describe_documents(baseline['documents'])}."))
    if shared := baseline["shared_stages"]:
        parts.append(page.render_paragraph(f"The same files as the baseline's, seed by seed: {', '.join(shared)}."))
    return PageSection(anchor, heading, "".join(parts))


def _format_test(test: dict[str, Any] | None) -> list[str]:
    return [NOT_RUN, *[""] * 5] if test is None else list(table.format_test(test))


def render_verdicts_section(files: CampaignFiles) -> PageSection:
    """Return the verdict of each seed, in its words."""
    by_seed = {run["seed"]: run["verdict"] for run in files.runs}
    rows = [[str(seed), _mark_verdict(by_seed.get(seed, NOT_RUN))] for seed in files.report["seeds"]]
    text = page.render_paragraph(
        "The checks one by one stand in verdict.json of each seed's experiment: dvc exp apply EXPERIMENT, then "
        "golf verdict --all."
    )
    return PageSection("verdicts", "Verdicts", page.render_table(("seed", "verdict"), rows, stacks=True) + text)


def _mark_verdict(text: str) -> str:
    """HTML of a verdict, whose first word stands out where it is "invalid"."""
    if not text.startswith(INVALID):
        return escape(text)
    return f'<span class="fail">{INVALID}</span>{escape(text.removeprefix(INVALID))}'
