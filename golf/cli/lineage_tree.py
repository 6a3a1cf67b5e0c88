"""``golf lineage PATH``: the whole ancestry of an artifact as a tree of 80 columns, and how val got in where it did."""

from pathlib import Path

from golf.artifacts import lineage_graph
from golf.artifacts.lineage_graph import UNCHANGED, LineageNode
from golf.data import split_reader

WIDTH = 80
_MARKED_SPLIT = "val"  # the split whose way into an artifact is marked
_VAL_MARK = " <- val"


def render_tree(path) -> str:
    """Raises BadInput when nothing is at ``path``, BadArtifact when a file is damaged or its lineage was edited."""
    top_node = lineage_graph.load_graph(path)
    root = lineage_graph.artifact_root(Path(path))
    lines = [*_format_node(top_node, root, "", "", set()), ""]
    if val_chain := lineage_graph.path_from_split(_MARKED_SPLIT, top_node):
        lines += _wrap(f"{_MARKED_SPLIT} got in:", " -> ".join(val_chain).split(" "))
    lines += [
        f"{artifact}: its lineage leaves out a split of its inputs"
        for artifact in lineage_graph.underreported_splits(top_node)
    ]
    return "\n".join([*lines, *_format_code_changes(top_node)])


def _format_node(node: LineageNode, root: Path, first_prefix: str, rest_prefix: str, shown_ids: set[int]) -> list[str]:
    """A node's lines and its inputs'. first, rest: what stands before its first line and before those that follow."""
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
    """What there is to say of one artifact or split, in short lines."""
    digest = f"sha256 {node.sha256[:12]}"
    if node.state != UNCHANGED:
        return [f"{digest}, {node.state}" + (f": split {node.split}" if node.split else ", nothing known before it")]
    if node.split:
        index = split_reader.read_index(root / node.path)
        return [f"{digest}, {split_reader.count_documents(index):,} documents, {index['tokens']:,} tokens"]
    if node.lineage is None:
        return [f"{digest}, no lineage: of unknown origin"]
    record = node.lineage
    ranks_text = f"{record['ranks']} rank{'s' * (record['ranks'] != 1)}"
    seed_text = "no seed" if record["seed"] is None else f"seed {record['seed']}"
    splits_text = f"saw {', '.join(record['splits_seen']) or 'no split'}"
    return [
        f"{digest}, by {record['stage']}; {splits_text}",
        f"{seed_text}, {ranks_text}, parameters {record['parameters'][:12]}",
    ]


def _format_code_changes(top_node: LineageNode) -> list[str]:
    """Whether the code that made all this is the code that is here now."""
    changed_files, n_files = lineage_graph.modified_sources(top_node)
    if not n_files:
        return ["no code files are recorded"]
    if not changed_files:
        return [f"all {n_files} code files are as in this checkout"]
    names = ", ".join(changed_files).split(" ")
    return _wrap(f"{len(changed_files)} of {n_files} code files differ from this checkout:", names)


def _wrap(heading: str, words: list[str]) -> list[str]:
    """Words in lines of at most WIDTH, never cut; those after the first are indented."""
    lines = [heading]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}"
    return lines


def _truncate_left(path: str, width: int) -> str:
    """A path in ``width`` columns, cut on its left where it must be."""
    return path if len(path) <= width else f"…{path[1 - width :]}"
