"""Check that the class of evaluate.predictor exists, without importing it."""

import ast
from pathlib import Path

from golf.errors import InputError, PredictorError

__all__ = ["require_predictor"]

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
    module, _, class_name = predictor.partition(":")
    file = f"{module.replace('.', '/')}.py"
    is_valid_name = all(part.isidentifier() for part in (*module.split("."), class_name))
    path = next((root / file for root in (Path(), _PROJECT_ROOT) if (root / file).is_file()), None)
    if not is_valid_name or path is None or not _may_bind(_parse(path, file), class_name):
        raise PredictorError(
            f"evaluate.predictor: {predictor}: no class of that name in {file} below this folder; "
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
