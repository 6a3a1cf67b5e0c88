"""Every case of the gallery by the name of its module: the violations and the compliant predictors."""

import importlib
import pkgutil

import gallery
from gallery.case import Compliant, Violation

_NOT_CASES = {"case", "cases", "harness", "markdown_table", "test_gallery"}
CASES = {
    name: module.CASE
    for _, name, _ in pkgutil.iter_modules(gallery.__path__)
    if name not in _NOT_CASES and hasattr(module := importlib.import_module(f"gallery.{name}"), "CASE")
}
VIOLATIONS = {name: case for name, case in CASES.items() if isinstance(case, Violation)}
COMPLIANT = {name: case for name, case in CASES.items() if isinstance(case, Compliant)}


def choose_representatives() -> list[str]:
    """Few violations that together show every check that any violation shows: each time the one that adds most."""
    missing = {check for case in VIOLATIONS.values() for check in case.expected_checks}
    chosen: list[str] = []
    while missing:
        name = max(sorted(VIOLATIONS), key=lambda name: len(missing & {*VIOLATIONS[name].expected_checks}))
        chosen.append(name)
        missing -= {*VIOLATIONS[name].expected_checks}
    return chosen
