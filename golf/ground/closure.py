"""Which of our own source files a file reaches by importing.

Read from the syntax tree, so nothing is imported or run. Imports inside functions count; importlib calls do not.
"""

import ast
from pathlib import Path

from golf.ground.errors import BadInput

INERT = {  # files that a stage may import undeclared, and why they can't change a result
    "golf/__init__.py": "a docstring",
    "golf/ground/errors.py": "messages",
    "golf/ground/lock.py": "lets one process work at a time",
    "golf/ground/meeting.py": "refuses or lets pass",
    "golf/ground/params.py": "DVC tracks the values themselves",
    "golf/ground/progress.py": "prints",
    "golf/ground/sections.py": "DVC tracks the values themselves",
    "golf/ground/schema.py": "checks of values that DVC tracks",
    "golf/ground/ranks.py": "starts processes and prints what they said",
    "golf/ground/signals.py": "when a process ends",
    "golf/ground/stage.py": "entry, exit and run.json, on which nothing depends",
}
CHOSEN = dict.fromkeys(("train", "ema", "ttt", "calibrate"), "golf/ground/machine.py")  # what their ``auto`` becomes
USED = {  # files that a stage weighs or starts elsewhere, with all that they reach, and does not import
    "compress": ("golf/method.py",),
    "evaluate": ("golf/method.py", "golf/room/worker.py"),
}


def closure(*files: str, root=".", passive=()) -> list[str]:
    """Paths under ``root``, sorted, of every source file reachable from ``files``, these and packages' own included.

    passive: files that are left out, with what is reached through them alone.
    Raises BadInput for a start file that does not exist or a file that does not parse.
    """
    root = Path(root)
    reached, waiting = set(), [Path(file).as_posix() for file in files]
    while waiting:
        file = waiting.pop()
        if file in reached or file in passive:
            continue
        reached.add(file)
        waiting += (found for module in imported(root, file) for found in sources(root, module))
    return sorted(reached)


def of_stage(stage: str, root=".") -> list[str]:
    """The files that can change what a stage makes: what stages/<stage>.py reaches by importing, less the inert ones,
    and those of CHOSEN and USED. dvc.yaml lists them; lineage holds their sha256.
    """
    entered = [f"stages/{stage}.py", *([CHOSEN[stage]] if stage in CHOSEN else [])]
    reached = {path for path in closure(*entered, root=root, passive=INERT) if not empty(path)}
    return sorted(reached | set(closure(*USED.get(stage, ()), root=root)))


def empty(path: str) -> bool:
    """A package's __init__.py, which holds a docstring and no code; a test sees to that."""
    return path.endswith("__init__.py")


def imported(root: Path, file: str) -> set[str]:
    """Dotted names that a file imports; of ``from a import b`` both a and a.b, as b may be a module."""
    try:
        tree = ast.parse((root / file).read_bytes(), filename=file)
    except FileNotFoundError:
        raise BadInput(f"{root / file}: not found; restore the file: git checkout {file}") from None
    except SyntaxError as error:
        raise BadInput(f"{root / file}: does not parse (line {error.lineno}: {error.msg}); mend it") from None
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = list(Path(file).parent.parts)[: len(Path(file).parent.parts) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def sources(root: Path, module: str) -> list[str]:
    """Files that importing a dotted name runs: the packages on the way and the module; none when it isn't ours."""
    parts = module.split(".")
    found = []
    for depth in range(1, len(parts) + 1):
        place = Path(*parts[:depth])
        found += [
            path.as_posix() for path in (place / "__init__.py", place.with_suffix(".py")) if (root / path).is_file()
        ]
    return found
