"""Section on lineage: the artifact's inputs, their inputs, and so on up to the splits of the text."""

import dataclasses
from html import escape

from golf.artifacts import lineage_graph
from golf.artifacts.lineage_graph import LineageNode
from golf.cli.report import page
from golf.cli.report.page import PageSection
from golf.cli.report.run_files import RunFiles
from golf.data import split_reader
from golf.pipeline.progress import format_count

__all__ = ["render_lineage_section"]


def render_lineage_section(run: RunFiles) -> PageSection:
    """Return the tree of model.golf, with the path of val into it where there is one."""
    anchor, heading = "lineage", "Lineage"
    artifact = run.folder / "compress/model.golf"
    if not artifact.is_file():
        return PageSection(
            anchor,
            heading,
            page.render_not_run(f"{run.name('compress/model.golf')} is missing", "make it with: dvc repro compress"),
        )
    top = lineage_graph.load_graph(artifact)
    top = dataclasses.replace(top, path=run.name("compress/model.golf"))
    chain = lineage_graph.find_path_from_split("val", top)
    changed, n_files = lineage_graph.find_modified_sources(top)
    if chain:
        val_text = f"val is upstream of the artifact: {' → '.join(chain)}."
    else:
        val_text = "No recorded input leads from val to the artifact."
    omitted = lineage_graph.find_underreported_splits(top)
    parts = [
        page.render_paragraph(
            "What made the artifact. Each entry is a file as it was recorded, with the first digits of its sha256; its "
            "inputs stand below it. A file that has changed since is named so and not followed."
        ),
        page.render_paragraph(val_text, "fail" if chain else ""),
        *(page.render_paragraph(f"{path}: its lineage omits a split of its inputs", "fail") for path in omitted),
        page.render_paragraph(
            f"{len(changed)} of {n_files} recorded source files differ from the code that made this page."
            if n_files
            else "No source files are recorded."
        ),
        f'<ul class="tree">{_render_node(top, run, set())}</ul>',
    ]
    return PageSection(anchor, heading, "".join(parts))


def _render_node(node: LineageNode, run: RunFiles, shown: set[int]) -> str:
    """A list item for a node and, the first time that it is met, its inputs."""
    head = f"<code>{escape(node.path)}</code> {node.sha256[:12]}"
    if id(node) in shown:
        return f'<li>{head} <span class="muted">as above</span></li>'
    shown.add(id(node))
    inputs = "".join(_render_node(child, run, shown) for child in node.inputs)
    nested = f'<ul class="tree">{inputs}</ul>' if inputs else ""
    return f'<li>{head}<br /><span class="muted">{escape(_describe(node, run))}</span>{nested}</li>'


def _describe(node: LineageNode, run: RunFiles) -> str:
    if node.state != "unchanged":
        return f"{node.state}: split {node.split}" if node.split else f"{node.state}, so its inputs are unknown"
    if node.split:
        index = split_reader.read_index(
            lineage_graph.find_artifact_root(run.folder / "compress/model.golf") / node.path
        )
        n_documents = format_count(split_reader.count_documents(index), "document")
        return f"split {node.split}: {n_documents}, {format_count(index['tokens'], 'token')}"
    if node.lineage is None:
        return "unknown origin: no lineage"
    record = node.lineage
    seed = "no seed" if record["seed"] is None else f"seed {record['seed']}"
    ranks = format_count(record["ranks"], "rank")
    splits = ", ".join(record["splits_seen"]) or "none"
    dtype = f", {record['dtype']}" if "dtype" in record else ""
    return f"by {record['stage']}; {seed}, {ranks}{dtype}; splits upstream: {splits}"
