"""Find the file of evaluate.predictor and check that it has the class, without importing it."""

import ast
from pathlib import Path

from golf.errors import InputError, PredictorError

__all__ = ["find_predictor_file", "make_source_path", "require_predictor"]

_PROJECT_ROOT = Path(__file__).parents[2]
_DYNAMIC_NAMES = {  # a module that mentions one may bind names that its syntax tree does not show
    "__dict__",
    "__getattr__",
    "eval",
    "exec",
    "globals",
    "locals",
    "modules",
    "vars",
}


def require_predictor(predictor: str) -> None:
    """Check that "package.module:Class" names a file below the current folder, or one of golf's own, with that class.

    Only a name that no statement of the file can bind is refused.
    Raises PredictorError for a class that is not there, InputError for a file that does not parse.
    """
    path = find_predictor_file(predictor, Path(), _PROJECT_ROOT)
    if not _may_bind(_parse(path, make_source_path(predictor)), predictor.partition(":")[2]):
        raise _make_not_found_error(predictor)


def find_predictor_file(predictor: str, *roots: str | Path) -> Path:
    """Return the file of "package.module:Class" below the first of ``roots`` that has it; the class may be missing.

    Raises PredictorError for a name of another form or a module that is not there.
    """
    module, _, class_name = predictor.partition(":")
    paths = (Path(root) / make_source_path(predictor) for root in roots)
    path = next((path for path in paths if path.is_file()), None)
    if path is None or not all(part.isidentifier() for part in (*module.split("."), class_name)):
        raise _make_not_found_error(predictor)
    return path


def make_source_path(predictor: str) -> str:
    """Return a file's path from a class: golf.inference.scorer:Scorer -> golf/inference/scorer.py."""
    return f"{predictor.partition(':')[0].replace('.', '/')}.py"


def _make_not_found_error(predictor: str) -> PredictorError:
    return PredictorError(
        f"evaluate.predictor: {predictor}: no class of that name in {make_source_path(predictor)} below this folder; "
        f"give package.module:Class, such as golf.inference.predictor:GolfPredictor"
    )


def _parse(path: Path, file: str) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=file)
    except SyntaxError as error:
        raise InputError(f"{file}: does not parse (line {error.lineno}: {error.msg}); correct it") from None


def _may_bind(tree: ast.Module, name: str) -> bool:
    """Whether a statement of the module, at any depth, binds ``name`` or may do so without showing it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            is_bound = (node.asname or node.name.partition(".")[0]) in (name, "*")
        elif isinstance(node, ast.Name):
            is_bound = node.id in _DYNAMIC_NAMES or (node.id == name and isinstance(node.ctx, ast.Store))
        elif isinstance(node, ast.Attribute):
            is_bound = node.attr in _DYNAMIC_NAMES
        else:  # classes, functions, and what a case or an except clause captures
            is_bound = getattr(node, "name", None) in (name, "__getattr__")
        if is_bound:
            return True
    return False
