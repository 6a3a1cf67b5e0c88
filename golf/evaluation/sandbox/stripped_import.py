"""Import a package without its docstrings, for a compiler that needs a package whose docstrings are val."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

__all__ = ["import_without_docstrings"]


class _StrippingLoader(SourceFileLoader):
    """Compiles each source anew, as bytecode files hold docstrings."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = compile(self.get_data(path), path, "exec", dont_inherit=True, optimize=2)
        return code


class _StrippingFinder:
    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != self._package:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.origin is not None:
            spec.loader = _StrippingLoader(name, spec.origin)
        return spec


def import_without_docstrings(package: str) -> None:
    """Import ``package`` and all that it imports of itself; no docstring of it is in this process then.

    A package that is not installed is no error.
    """
    finder = _StrippingFinder(package)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        pass
    finally:
        sys.meta_path.remove(finder)
