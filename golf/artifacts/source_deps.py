"""Find the source files that a file or a stage depends on by importing.

Imports are read from the syntax tree; nothing is imported or run. Imports inside functions count, importlib calls do
not.
"""

import ast
from collections.abc import Collection, Mapping
from pathlib import Path

from golf.errors import InputError

__all__ = ["COPIED_ROOTS", "EXTRA_ROOTS", "NON_SEMANTIC", "find_import_closure", "list_stage_sources", "parse_imports"]

NON_SEMANTIC: Mapping[str, str] = {  # files that cannot change a stage's outputs, with the reason
    "golf/__init__.py": "holds golf.load alone, which no stage uses",
    "golf/errors.py": "holds error classes",
    "golf/config/loader.py": "reads and checks values that DVC tracks",
    "golf/config/renamed_keys.py": "holds hints for error messages",
    "golf/config/sections.py": "declares values that DVC tracks",
    "golf/config/validation.py": "checks values that DVC tracks",
    "golf/config/value_types.py": "declares values that DVC tracks",
    "golf/config/yaml_reader.py": "reads values that DVC tracks",
    "golf/distributed/consistency.py": "only accepts or rejects a run",
    "golf/distributed/launcher.py": "starts processes and prints their messages",
    "golf/pipeline/lock.py": "only accepts or rejects a run",
    "golf/pipeline/os_errors.py": "describes errors",
    "golf/pipeline/progress.py": "prints",
    "golf/pipeline/run_record.py": "writes run.json, which no stage reads, and names the commit in the evaluation log",
    "golf/pipeline/runner.py": "starts and ends a stage",
    "golf/pipeline/signals.py": "decides when a process ends",
    "golf/pipeline/text_streams.py": "prints",
}
_READ_GUARD = "golf/pipeline/read_guard.py"
_DEVICE = "golf/distributed/device.py"
EXTRA_ROOTS: Mapping[str, tuple[str, ...]] = {  # files that a stage uses without importing them, by way of the runner
    "train": (_READ_GUARD, _DEVICE),  # device resolves ``auto``
    "ema": (_READ_GUARD, _DEVICE),
    "ttt": (_READ_GUARD, _DEVICE),
    "calibrate": (_READ_GUARD, _DEVICE),
    "quantize": (_READ_GUARD,),
    "compress": (_READ_GUARD,),
}
COPIED_ROOTS: Mapping[str, tuple[str, ...]] = {  # files whose whole import closure a stage packs, or copies to run it
    "compress": ("golf/inference/predictor.py", "golf/submission/bundle/driver.py"),
    "evaluate": (
        "golf/inference/predictor.py",
        "golf/evaluation/sandbox/worker.py",
        "golf/evaluation/sandbox/predictor_server.py",
    ),
}


def find_import_closure(*files: str, root: Path | str = ".", excluded: Collection[str] = ()) -> list[str]:
    """Return every source file below ``root`` that importing ``files`` reaches, sorted, with ``files`` and packages.

    files: paths relative to ``root``, as are the results. excluded: files to leave out, with what only they reach.
    Raises InputError if one of ``files`` does not exist or a file does not parse.
    """
    root = Path(root)
    reached: set[str] = set()
    pending = [Path(file).as_posix() for file in files]
    while pending:
        file = pending.pop()
        if file in reached or file in excluded:
            continue
        reached.add(file)
        pending += (source for module in parse_imports(root, file) for source in _resolve_module(root, module))
    return sorted(reached)


def list_stage_sources(stage: str, root: Path | str = ".") -> list[str]:
    """Return the source files that can change a stage's outputs; dvc.yaml lists them, lineage holds their sha256.

    These are the import closure of stages/<stage>.py and its EXTRA_ROOTS without NON_SEMANTIC files and package
    __init__ files, and the full import closure of its COPIED_ROOTS.
    """
    roots = [f"stages/{stage}.py", *EXTRA_ROOTS.get(stage, ())]
    semantic = {
        path for path in find_import_closure(*roots, root=root, excluded=NON_SEMANTIC) if not _is_package_init(path)
    }
    return sorted(semantic | set(find_import_closure(*COPIED_ROOTS.get(stage, ()), root=root)))


def _is_package_init(path: str) -> bool:
    """Package __init__ files hold no code that a stage runs; tests/unit/test_architecture.py checks that."""
    return path.endswith("__init__.py")


def parse_imports(root: Path, file: str) -> set[str]:
    """Return the dotted names that a file imports; for ``from a import b`` both a and a.b, since b may be a module."""
    try:
        tree = ast.parse((root / file).read_bytes(), filename=file)
    except FileNotFoundError:
        raise InputError(f"{root / file}: not found; restore the file with: git checkout {file}") from None
    except SyntaxError as error:
        raise InputError(f"{root / file}: does not parse (line {error.lineno}: {error.msg}); correct it") from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = Path(file).parent.parts
            parts = [*package[: len(package) + 1 - node.level]] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def _resolve_module(root: Path, module: str) -> list[str]:
    """The files that importing a dotted name runs: the packages above it and the module; none if it is not ours."""
    parts = module.split(".")
    files = []
    for depth in range(1, len(parts) + 1):
        module_path = Path(*parts[:depth])
        candidates = (module_path / "__init__.py", module_path.with_suffix(".py"))
        files += [path.as_posix() for path in candidates if (root / path).is_file()]
    return files
