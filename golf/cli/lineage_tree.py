"""``golf lineage PATH``: the lineage graph of an artifact as a tree of 80 columns, with the path of val into it."""

import textwrap
from pathlib import Path

from golf.artifacts import io, lineage_graph
from golf.artifacts.lineage_graph import LineageNode
from golf.config import loader
from golf.data import split_reader
from golf.errors import GolfError
from golf.pipeline.progress import format_count

__all__ = ["WIDTH", "render_tree"]

WIDTH = 80
_MARKED_SPLIT = "val"  # the split whose path into an artifact is marked
_VAL_MARK = " <- val"
_MAX_INDENT = 24  # of a description in the tree of the deepest pipeline


def render_tree(path: Path | str) -> str:
    """Return the tree as text, and which source files have changed since.

    Raises ArtifactError if there is no artifact at ``path``, if a file is damaged or its lineage was edited.
    """
    path = Path(path)
    top_node = lineage_graph.load_graph(path)
    _require_whole(path)
    root = lineage_graph.find_artifact_root(path)
    lines = [*_format_node(top_node, root, "", "", set()), ""]
    if val_chain := lineage_graph.find_path_from_split(_MARKED_SPLIT, top_node):
        lines += _wrap(f"{_MARKED_SPLIT} is upstream:", " -> ".join(val_chain).split(" "))
    lines += [
        f"{artifact}: its lineage omits a split of its inputs"
        for artifact in lineage_graph.find_underreported_splits(top_node)
    ]
    return "\n".join([*lines, *_format_code_changes(top_node)])


def _require_whole(path: Path) -> None:
    """Raises ArtifactError where a file's header is intact and the rest is not: its digest is of what is left."""
    if path.suffix == ".safetensors":
        io.load_tensors(path)


def _find_damage(folder: Path, root: Path) -> list[str]:
    """Lines that name the first file of a split that is not the one in its index; none where all are."""
    try:
        index = split_reader.read_index(folder)
        split_reader.open_split(folder, hub_root=loader.load_config().hub.root if "root" in index else None)
    except GolfError as error:
        message = str(error).replace(f"{root.as_posix()}/", "")
        return textwrap.wrap(f"damaged: {message}", WIDTH - _MAX_INDENT, subsequent_indent="  ")
    return []


def _format_node(node: LineageNode, root: Path, first_prefix: str, rest_prefix: str, shown_ids: set[int]) -> list[str]:
    """The lines of a node and of its inputs, with a prefix for its first line and one for the rest."""
    mark = _VAL_MARK if _MARKED_SPLIT in node.upstream_splits else ""
    lines = [first_prefix + _truncate_left(node.path, WIDTH - len(first_prefix) - len(mark)) + mark]
    if id(node) in shown_ids:
        return [*lines, f"{rest_prefix}as above"]
    shown_ids.add(id(node))
    indent = rest_prefix + ("│  " if node.inputs else "   ")
    lines += [indent + line for line in _describe_node(node, root)]
    for child in node.inputs:
        is_last = child is node.inputs[-1]
        lines += _format_node(
            child,
            root,
            rest_prefix + ("└─ " if is_last else "├─ "),
            rest_prefix + ("   " if is_last else "│  "),
            shown_ids,
        )
    return lines


def _describe_node(node: LineageNode, root: Path) -> list[str]:
    """Short lines that describe one artifact or split."""
    digest = f"sha256 {node.sha256[:12]}"
    if node.state != "unchanged":
        return [f"{digest}, {node.state}" + (f": split {node.split}" if node.split else ", its inputs are unknown")]
    if node.split:
        if damage := _find_damage(root / node.path, root):
            return [digest, *damage]
        index = split_reader.read_index(root / node.path)
        n_documents = format_count(split_reader.count_documents(index), "document")
        return [f"{digest}, {n_documents}, {format_count(index['tokens'], 'token')}"]
    if node.lineage is None:
        return [f"{digest}, unknown origin: no lineage"]
    record = node.lineage
    ranks_text = format_count(record["ranks"], "rank")
    seed_text = "no seed" if record["seed"] is None else f"seed {record['seed']}"
    dtype_text = f"{record['dtype']}, " if "dtype" in record else ""
    splits_text = f"upstream {', '.join(record['splits_seen']) or 'no split'}"
    return [
        f"{digest}, by {record['stage']}; {splits_text}",
        f"{seed_text}, {ranks_text}, {dtype_text}parameters {record['parameters'][:12]}",
    ]


def _format_code_changes(top_node: LineageNode) -> list[str]:
    """Whether the source files in this checkout are those that made the artifacts."""
    changed_files, n_files = lineage_graph.find_modified_sources(top_node)
    if not n_files:
        return ["no source files are recorded"]
    if not changed_files:
        return [f"all {n_files} source files are unchanged in this checkout"]
    names = ", ".join(changed_files).split(" ")
    return _wrap(f"{len(changed_files)} of {n_files} source files differ in this checkout:", names)


def _wrap(heading: str, words: list[str]) -> list[str]:
    """Lines of at most WIDTH columns without broken words; all but the first are indented."""
    lines = [heading]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}"
    return lines


def _truncate_left(path: str, width: int) -> str:
    """A path in ``width`` columns, cut on the left if it is longer."""
    return path if len(path) <= width else f"…{path[1 - width :]}"
