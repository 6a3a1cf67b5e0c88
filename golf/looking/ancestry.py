"""``golf lineage PATH``: the whole ancestry of an artifact as a tree of 80 columns, and how val got in where it did."""

from pathlib import Path

from golf.data import shards
from golf.ground import ancestry
from golf.ground.ancestry import HERE, Node

WIDTH = 80
CAUTION = "val"  # the split whose way into an artifact is marked
MARK = " <- val"


def tree(path) -> str:
    """Raises BadInput when nothing is at ``path``, BadArtifact when a file is damaged or its lineage was edited."""
    top = ancestry.walk(path)
    root = ancestry.home(Path(path))
    lines = [*lines_of(top, root, "", "", set()), ""]
    if found := ancestry.chain(CAUTION, top):
        lines += wrapped(f"{CAUTION} got in:", " -> ".join(found).split(" "))
    lines += [f"{made}: its lineage leaves out a split of its inputs" for made in ancestry.understated(top)]
    return "\n".join([*lines, *code_lines(top)])


def lines_of(node: Node, root: Path, first: str, rest: str, told: set[int]) -> list[str]:
    """A node's lines and its inputs'. first, rest: what stands before its first line and before those that follow."""
    mark = MARK if CAUTION in node.seen else ""
    lines = [first + fitted(node.path, WIDTH - len(first) - len(mark)) + mark]
    if id(node) in told:
        return [*lines, f"{rest}as above"]
    told.add(id(node))
    below = rest + ("│  " if node.inputs else "   ")
    lines += [below + line for line in about(node, root)]
    for each in node.inputs:
        last = each is node.inputs[-1]
        lines += lines_of(each, root, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), told)
    return lines


def about(node: Node, root: Path) -> list[str]:
    """What there is to say of one artifact or split, in short lines."""
    digest = f"sha256 {node.sha256[:12]}"
    if node.state != HERE:
        return [f"{digest}, {node.state}" + (f": split {node.split}" if node.split else ", nothing known before it")]
    if node.split:
        index = shards.read_index(root / node.path)
        return [f"{digest}, {shards.count(index):,} documents, {index['tokens']:,} tokens"]
    if node.lineage is None:
        return [f"{digest}, no lineage: of unknown origin"]
    found = node.lineage
    ranks = f"{found['ranks']} rank{'s' * (found['ranks'] != 1)}"
    seed = "no seed" if found["seed"] is None else f"seed {found['seed']}"
    seen = f"saw {', '.join(found['splits_seen']) or 'no split'}"
    return [f"{digest}, by {found['stage']}; {seen}", f"{seed}, {ranks}, parameters {found['parameters'][:12]}"]


def code_lines(top: Node) -> list[str]:
    """Whether the code that made all this is the code that is here now."""
    changed, total = ancestry.changed_code(top)
    if not total:
        return ["no code files are recorded"]
    if not changed:
        return [f"all {total} code files are as in this checkout"]
    names = ", ".join(changed).split(" ")
    return wrapped(f"{len(changed)} of {total} code files differ from this checkout:", names)


def wrapped(start: str, words: list[str]) -> list[str]:
    """Words in lines of at most WIDTH, never cut; those after the first are indented."""
    lines = [start]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" ")
        lines[-1] += f" {word}"
    return lines


def fitted(path: str, width: int) -> str:
    """A path in ``width`` columns, cut on its left where it must be."""
    return path if len(path) <= width else f"…{path[1 - width :]}"
