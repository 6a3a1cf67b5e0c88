"""The embedded corpus: the docstrings of five packages that golf installs, the same on every machine.

One document for each module, parsed from its source file without importing it: 18.8 MB in 3,184 modules, and nothing is
downloaded or redistributed. dev and val are drawn from scipy and networkx alone, which the predictor's process does not
import. The wheels of one version hold the same docstrings for every platform and Python, except in the modules that the
build writes, which the manifest names with their sha256, and in numpy.distutils, which Python 3.12 ended. Both are left
out.
"""

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from golf.artifacts import io
from golf.config.sections import FetchConfig
from golf.data.sources.docstrings import read_docstrings
from golf.data.sources.interface import Corpus, SourceDocument
from golf.distributed.packages import get_installed_version
from golf.errors import InputError
from golf.pipeline.progress import Progress, format_count, log_line

__all__ = ["HELD_OUT_PACKAGES", "PACKAGES", "find_package", "iter_package", "read_corpus"]

# In this order, so that train's packages come first. pyproject.toml pins the same versions.
PACKAGES = {"torch": "2.13.0", "numpy": "2.4.6", "sympy": "1.14.0", "scipy": "1.17.1", "networkx": "3.6.1"}
HELD_OUT_PACKAGES = ("scipy", "networkx")  # dev and val are drawn from these
_TEST_DIRS = {"test", "tests", "testing", "_testing", "__pycache__"}
_TEST_PREFIX, _TEST_FILE = "test_", "conftest.py"
_OLD_PYTHON_DIRS = ("numpy/distutils/",)  # in the wheels for Python 3.11 alone
_BUILD_FILES = {  # written when a wheel is built
    "torch/version.py",
    *(f"{package}/{name}" for package in ("numpy", "scipy") for name in (
        "version.py", "__config__.py", "_distributor_init.py"
    )),
}  # fmt: skip
_PROGRESS_MODULES = 64  # between two updates of the progress line
_INSTALL_HINT = (
    "fetch.source: docs needs golf's own packages: pip install -e . (make run does it); "
    "or put your own texts into fetch.path and set fetch.source: files"
)


def read_corpus(fetch_cfg: FetchConfig) -> Corpus:
    """Return the docstrings of PACKAGES; uses no key of fetch.

    Prints which package has another version than the pinned one, because the corpus differs then. Raises InputError
    for a package that is missing, or naming a module that can't be parsed.
    """
    provenance: dict[str, Any] = {"packages": {}, "build_files": {}}
    roots = {name: find_package(name) for name in PACKAGES}
    return Corpus(_iter_corpus(roots, provenance), provenance)


def _iter_corpus(roots: dict[str, Path], provenance: dict[str, Any]) -> Iterator[SourceDocument]:
    """Every document; fills ``provenance`` on the way."""
    progress, n_read = Progress("fetch", None, "modules"), 0
    for package, root in roots.items():
        digests = []
        for document in iter_package(package, root):
            digests.append(hashlib.sha256(document.text.encode()).hexdigest())
            yield document
            n_read += 1
            if n_read % _PROGRESS_MODULES == 0:
                progress.update(n_read, reading=package)
        version = get_installed_version(package)
        if str(version).partition("+")[0] != PACKAGES[package]:
            log_line(
                "fetch",
                f"{package} {version or 'of no known version'} is installed, pyproject.toml pins {PACKAGES[package]}: "
                "this corpus may differ; compare scores only where source.sha256 in manifest.json is equal",
            )
        provenance["packages"][package] = {
            "version": version, "documents": len(digests), "sha256": io.sha256_json(digests),
        }  # fmt: skip
        provenance["build_files"] |= {
            name: io.sha256_file(root.parent / name)
            for name in sorted(_BUILD_FILES)
            if name.startswith(f"{package}/")
            if (root.parent / name).is_file()
        }
    progress.finish(f"{format_count(n_read, 'module')} of {', '.join(roots)}")


def find_package(name: str) -> Path:
    """Return the folder of an installed package, found without importing it. Raises InputError when there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise InputError(f"{name}: no such package with source files in this Python; {_INSTALL_HINT}")
    return Path(spec.origin).parent


def iter_package(package: str, root: Path) -> Iterator[SourceDocument]:
    """Yield one document for each module with docstrings below ``root``, sorted by path; no tests, no build files."""
    for name in _list_modules(package, root):
        if sections := read_docstrings(root / name, _INSTALL_HINT):
            yield SourceDocument.from_sections(
                f"{package}/{name}", sections, can_be_held_out=package in HELD_OUT_PACKAGES
            )


def _list_modules(package: str, root: Path) -> list[str]:
    """Paths below root, with forward slashes, sorted, of all modules that belong to the corpus."""
    return sorted(name for path in root.rglob("*.py") if _is_part(package, name := path.relative_to(root).as_posix()))


def _is_part(package: str, name: str) -> bool:
    """Whether a module is neither a test nor one that differs between wheels."""
    *folders, file = name.split("/")
    is_test = not _TEST_DIRS.isdisjoint(folders) or file.startswith(_TEST_PREFIX) or file == _TEST_FILE
    path = f"{package}/{name}"
    return not is_test and path not in _BUILD_FILES and not path.startswith(_OLD_PYTHON_DIRS)
