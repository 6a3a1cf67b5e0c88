"""The files that the predictor imports: the code that counts."""

from pathlib import Path

from golf.artifacts.source_deps import find_import_closure
from golf.errors import PredictorError

__all__ = ["list_counted_sources", "make_module_name", "make_source_path"]


def list_counted_sources(predictor: str, root: str | Path = ".") -> list[str]:
    """List the files below ``root`` that "package.module:Class" imports, directly or not: the code that counts.

    Raises PredictorError for a name of another form or a module that is not there.
    """
    module, _, class_name = predictor.partition(":")
    file = make_source_path(predictor)
    is_valid_name = all(part.isidentifier() for part in (*module.split("."), class_name))
    if not is_valid_name or not (Path(root) / file).is_file():
        raise PredictorError(
            f"evaluate.predictor: {predictor}: no class of that name in {file} below this folder; "
            f"give package.module:Class, such as golf.inference.predictor:GolfPredictor"
        )
    package_inits = [parent / "__init__.py" for parent in Path(file).parents if parent != Path(".")]
    return find_import_closure(
        file, *(path.as_posix() for path in package_inits if (Path(root) / path).is_file()), root=root
    )


def make_source_path(predictor: str) -> str:
    """Return a file's path from a class: golf.inference.scorer:Scorer -> golf/inference/scorer.py."""
    return f"{predictor.partition(':')[0].replace('.', '/')}.py"


def make_module_name(file: str) -> str:
    """Return a module's name from a file's path: golf/inference/scorer.py -> golf.inference.scorer."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
