"""Sections on how the run went: its stages, its losses, and the averages of its weights."""

from html import escape

from golf.artifacts.io import parse_finite_float, parse_non_negative_float
from golf.cli.report import page, svg
from golf.cli.report.page import PageSection
from golf.cli.report.run_files import RunFiles
from golf.cli.report.svg import Bar, Series
from golf.compliance.check_result import NOT_RUN
from golf.pipeline.stage_names import STAGES

__all__ = ["render_averages_section", "render_pipeline_section", "render_training_section"]

_READS = {
    "fetch": "a corpus of text",
    "train": "train; dev, whose loss it watches",
    "ema": "train's weight averages; dev",
    "ttt": "ema's weights; the split that ttt.stream names",
    "calibrate": "ema's weights; train",
    "quantize": "weights, Hessians",
    "compress": "integer codes",
    "evaluate": "model.golf and its code; the evaluator alone: val",
}


def render_pipeline_section(run: RunFiles) -> PageSection:
    """Return the stages: what they read, their seconds, the size of what they wrote, and the hardware."""
    rows, seconds, sizes = [], [], []
    for stage in STAGES:
        record, n_bytes = run.read_stage(stage), run.measure_outputs(stage)
        cells = [f"<strong>{stage}</strong>", escape(_READS[stage])]
        cells.append(NOT_RUN if record is None else f"{record['seconds']:,.1f}")
        cells.append(NOT_RUN if n_bytes is None else f"{n_bytes:,}")
        cells.append(NOT_RUN if record is None else escape(record["hardware"]))
        rows.append(cells)
        if record is not None:
            seconds.append(Bar(stage, record["seconds"], f"{record['seconds']:,.0f} s"))
        if n_bytes is not None:
            sizes.append(Bar(stage, n_bytes / 1e6, f"{n_bytes / 1e6:,.2f} MB", style=1))
    flow = page.render_paragraph(
        "text → fetch → train → ema → calibrate → quantize → compress → evaluate; ttt rehearses on ema's weights and "
        "hands evaluate its settings. In the default order evaluate alone reads val; Lineage shows what this run did."
    )
    charts = []
    for chart_id, heading, label, bars in (
        ("stage-seconds", "Seconds by stage", "seconds from the start of the process to its end", seconds),
        ("stage-bytes", "Size of the outputs by stage", "MB (10⁶ bytes) on disk", sizes),
    ):
        if bars:
            axis = svg.make_linear_axis(label, [bar.value for bar in bars], from_zero=True)
            charts.append(page.render_figure(heading, svg.draw_bar_chart(chart_id, heading, axis, bars), ""))
    if not charts:
        hint = "run the pipeline with: dvc repro"
        return PageSection("pipeline", "Pipeline", flow + page.render_not_run("no stage has outputs", hint))
    caption = page.render_paragraph(
        "Seconds count imports and checks too; those that count against a limit stand under Result.", "muted"
    )
    header = ("stage", "reads", "seconds", "bytes written", "hardware")
    body = (
        flow
        + page.render_table(header, rows, numbers=(2, 3), stacks=True)
        + f'<div class="charts">{"".join(charts)}</div>'
        + caption
    )
    return PageSection("pipeline", "Pipeline", body)


def render_training_section(run: RunFiles) -> PageSection:
    """Return the loss of train's batches and of dev by step, the learning rate and the gradient's norm."""
    columns = {
        "step": parse_non_negative_float,
        "loss": parse_finite_float,
        "grad_norm": parse_non_negative_float,
        "lr_multiplier": parse_non_negative_float,
        "recurrent": parse_non_negative_float,
    }
    log = run.read_table("train/log.csv", columns)
    if log is None:
        hint = "write it with: dvc repro train"
        return PageSection("training", "Training", page.render_not_run(f"{run.name('train/log.csv')} is missing", hint))
    dev_columns = {"step": parse_non_negative_float, "dev_loss": parse_finite_float}
    dev = run.read_table("train/dev.csv", dev_columns)
    lines = [Series("train, one batch", tuple((row["step"], row["loss"]) for row in log))]
    if dev is not None:
        lines.append(Series("dev", tuple((row["step"], row["dev_loss"]) for row in dev), has_marks=True))
    steps = svg.make_linear_axis("training step", [row["step"] for row in log], from_zero=True)
    losses = svg.make_linear_axis("nats per token", [y for line in lines for _, y in line.points])
    title = "Loss by training step"
    whole = run.read_training()
    switch = next((row["step"] for row in log if row["recurrent"]), None)
    caption = (
        "The loss of train is that of the step's own batch. Both are of the weights in training, not of the average or "
        "the quantized model, and in nats per token: compare them within this tokenizer alone."
    )
    if whole is not None:
        caption = f"{whole['steps']:,} steps over {whole['tokens']:,} tokens in {whole['seconds']:,.0f} s. {caption}"
    if switch is not None:
        caption += f" Depth recurrence is on from step {switch:,.0f} at the latest."
    names = [line.name for line in lines]
    figures = [
        page.render_figure(
            title, svg.draw_line_chart("loss", title, steps, losses, lines), caption, page.render_legend(names)
        )
    ]
    scales = [
        Series("learning rate multiplier", tuple((row["step"], row["lr_multiplier"]) for row in log)),
        Series("gradient norm before clipping", tuple((row["step"], row["grad_norm"]) for row in log)),
    ]
    axis = svg.make_linear_axis("no unit", [y for line in scales for _, y in line.points], from_zero=True)
    title = "Learning rate and gradient"
    chart = svg.draw_line_chart("rates", title, steps, axis, scales)
    caption = "The multiplier scales every learning rate of params.yaml. The gradient's norm is over all weights."
    figures.append(page.render_figure(title, chart, caption, page.render_legend([line.name for line in scales])))
    missing = (
        ""
        if dev is not None
        else page.render_not_run("no loss of dev was measured", "set train.dev_every in params.yaml")
    )
    return PageSection("training", "Training", f'<div class="charts">{"".join(figures)}</div>{missing}')


def render_averages_section(run: RunFiles) -> PageSection:
    """Return the bits per byte of dev for the checkpoints, the last weights and their average."""
    anchor, heading = "averages", "Weight average (EMA)"
    record = run.read_ema()
    if record is None:
        hint = "write it with: dvc repro ema"
        return PageSection(anchor, heading, page.render_not_run(f"{run.name('ema/metrics.json')} is missing", hint))
    rows = [
        ["last weights", f"{record['dev_bpb_raw']:.4f}"],
        [f"average, decay {record['decay']:g}", f"{record['dev_bpb']:.4f}"],
        ["gain", f"{record['gain']:+.4f}"],
    ]
    text = page.render_paragraph(
        "Bits per byte (bpb) of dev in full precision and plain windows. Compare these with each other; they are not "
        "scores of the artifact."
    )
    body = text + page.render_table(("weights", "bpb of dev"), rows, numbers=(1,))
    columns = {"step": parse_non_negative_float, "dev_bpb": parse_finite_float}
    checkpoints = run.read_table("ema/checkpoints.csv", columns)
    if checkpoints is None:
        return PageSection(anchor, heading, body + page.render_not_run("no checkpoints", "set train.checkpoint_every"))
    line = Series("checkpoints", tuple((row["step"], row["dev_bpb"]) for row in checkpoints), has_marks=True)
    average = Series("average", ((checkpoints[-1]["step"], record["dev_bpb"]),), has_marks=True)
    steps = svg.make_linear_axis("training step", [row["step"] for row in checkpoints], from_zero=True)
    values = [y for series in (line, average) for _, y in series.points]
    title = "Dev by checkpoint"
    chart = svg.draw_line_chart("ema", title, steps, svg.make_linear_axis("bpb of dev", values), [line, average])
    caption = "Each checkpoint scored on dev; the single dot is the average that the next stages use."
    return PageSection(
        anchor,
        heading,
        body + page.render_figure(title, chart, caption, page.render_legend(["checkpoints", "average"])),
    )
