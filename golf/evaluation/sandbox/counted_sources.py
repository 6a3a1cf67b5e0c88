"""The files that the predictor imports: the code that counts."""

from pathlib import Path

from golf.artifacts.source_deps import find_import_closure
from golf.pipeline.predictor_file import find_predictor_file

__all__ = ["list_counted_sources", "make_module_name"]


def list_counted_sources(predictor: str, root: str | Path = ".") -> list[str]:
    """List the files below ``root`` that "package.module:Class" imports, directly or not: the code that counts.

    Raises PredictorError for a name of another form or a module that is not there.
    """
    file = find_predictor_file(predictor, root).relative_to(root)
    package_inits = [parent / "__init__.py" for parent in file.parents if parent != Path(".")]
    files = [file, *(path for path in package_inits if (root / path).is_file())]
    return find_import_closure(*map(str, files), root=root)


def make_module_name(file: str) -> str:
    """Return a module's name from a file's path: golf/inference/scorer.py -> golf.inference.scorer."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
