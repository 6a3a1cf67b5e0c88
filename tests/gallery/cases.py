"""Every case of the gallery by the name of its file: the cheats by family, the innocents by name."""

import importlib
import pkgutil

import gallery
from gallery.case import Compliant, Violation

CASES = {
    name: module.CASE
    for _, name, _ in pkgutil.iter_modules(gallery.__path__)
    if name not in ("cases", "table") and hasattr(module := importlib.import_module(f"gallery.{name}"), "CASE")
}
VIOLATIONS = {name: case for name, case in CASES.items() if isinstance(case, Violation)}
COMPLIANT = {name: case for name, case in CASES.items() if isinstance(case, Compliant)}
