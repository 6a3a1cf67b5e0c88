"""Which of our own source files a file reaches by importing.

Read from the syntax tree, so nothing is imported or run. Imports inside functions count; importlib calls do not.
"""

import ast
from pathlib import Path

from golf.errors import InputError

NON_SEMANTIC = {  # files that a stage may import undeclared, and why they can't change a result
    "golf/__init__.py": "a docstring",
    "golf/errors.py": "messages",
    "golf/pipeline/lock.py": "lets one process work at a time",
    "golf/distributed/consistency.py": "refuses or lets pass",
    "golf/config/loader.py": "DVC tracks the values themselves",
    "golf/pipeline/progress.py": "prints",
    "golf/config/sections.py": "DVC tracks the values themselves",
    "golf/config/validation.py": "checks of values that DVC tracks",
    "golf/distributed/launcher.py": "starts processes and prints what they said",
    "golf/pipeline/signals.py": "when a process ends",
    "golf/pipeline/runner.py": "entry, exit and run.json, on which nothing depends",
}
_DEVICE_ROOTS = dict.fromkeys(
    ("train", "ema", "ttt", "calibrate"), "golf/distributed/device.py"
)  # what their ``auto`` becomes
EXTRA_ROOTS = {  # files that a stage weighs or starts elsewhere, with all that they reach, and does not import
    "compress": ("golf/inference/predictor.py",),
    "evaluate": ("golf/inference/predictor.py", "golf/evaluation/sandbox/worker.py"),
}


def import_closure(*files: str, root=".", excluded=()) -> list[str]:
    """Paths under ``root``, sorted, of every source file reachable from ``files``, these and packages' own included.

    passive: files that are left out, with what is reached through them alone.
    Raises BadInput for a start file that does not exist or a file that does not parse.
    """
    root = Path(root)
    reached, pending = set(), [Path(file).as_posix() for file in files]
    while pending:
        file = pending.pop()
        if file in reached or file in excluded:
            continue
        reached.add(file)
        pending += (source for module in parse_imports(root, file) for source in _resolve_module(root, module))
    return sorted(reached)


def stage_sources(stage: str, root=".") -> list[str]:
    """The files that can change what a stage makes: what stages/<stage>.py reaches by importing, less the inert ones,
    and those of CHOSEN and USED. dvc.yaml lists them; lineage holds their sha256.
    """
    entry_files = [f"stages/{stage}.py", *([_DEVICE_ROOTS[stage]] if stage in _DEVICE_ROOTS else [])]
    reached = {
        path for path in import_closure(*entry_files, root=root, excluded=NON_SEMANTIC) if not _is_package_init(path)
    }
    return sorted(reached | set(import_closure(*EXTRA_ROOTS.get(stage, ()), root=root)))


def _is_package_init(path: str) -> bool:
    """A package's __init__.py, which holds a docstring and no code; a test sees to that."""
    return path.endswith("__init__.py")


def parse_imports(root: Path, file: str) -> set[str]:
    """Dotted names that a file imports; of ``from a import b`` both a and a.b, as b may be a module."""
    try:
        tree = ast.parse((root / file).read_bytes(), filename=file)
    except FileNotFoundError:
        raise InputError(f"{root / file}: not found; restore the file: git checkout {file}") from None
    except SyntaxError as error:
        raise InputError(f"{root / file}: does not parse (line {error.lineno}: {error.msg}); mend it") from None
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package_parts = (
                list(Path(file).parent.parts)[: len(Path(file).parent.parts) + 1 - node.level] if node.level else []
            )
            base = ".".join([*package_parts, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def _resolve_module(root: Path, module: str) -> list[str]:
    """Files that importing a dotted name runs: the packages on the way and the module; none when it isn't ours."""
    parts = module.split(".")
    files = []
    for depth in range(1, len(parts) + 1):
        module_path = Path(*parts[:depth])
        files += [
            path.as_posix()
            for path in (module_path / "__init__.py", module_path.with_suffix(".py"))
            if (root / path).is_file()
        ]
    return files
