"""The structure of the code: layers, sizes, private names and import effects; each test lists every offender."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import golf
from golf.artifacts.source_deps import find_import_closure, parse_imports
from tests.helpers.programs import import_modules
from tests.helpers.tiny_corpus import ROOT

MAX_MODULE_LINES, MAX_STAGE_LINES, MAX_PACKAGE_MODULES = 320, 70, 16
MAX_TEST_NAME_CHARS = 90
ROOT_MODULES = {"__init__.py", "__main__.py", "errors.py"}
PRIVATE_NAMES_IN_TESTS = {  # this list may only shrink
    "tests/helpers/programs/try_escapes.py: fence_restrictions._unshare",
    "tests/integration/test_sandbox_fence.py: host._read_own_source",
    "tests/unit/cli/doctor/test_checks.py: project_checks._read_pins",
    "tests/unit/compliance/test_registry.py: registry._registered",
    "tests/unit/data/hub/test_contamination.py: contamination._align",
    "tests/unit/data/test_normalize.py: normalize._SPACES",
    "tests/unit/data/test_normalize.py: normalize._normalize_piece",
    "tests/unit/data/test_normalize.py: normalize._normalizer",
    "tests/unit/data/test_normalize.py: normalize._stands_alone",
    "tests/unit/data/tokenization/test_trainer.py: trainer._sample",
    "tests/unit/quantization/test_trellis.py: solver._MAX_TRELLIS_CODE",
    "tests/unit/quantization/test_trellis.py: trellis_coding._load_kernel",
}


def list_sources(folder: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py"))


FILES, STAGES = list_sources("golf"), list_sources("stages")
TOOLS, TESTS = list_sources("tools") + list_sources("benchmarks"), list_sources("tests")
MODULES = [file for file in FILES if not file.endswith("__init__.py")]


def read_text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def parse(file: str) -> ast.Module:
    return ast.parse(read_text(file))


def package_of(file: str) -> str:
    """golf/data/hub/client.py -> data, golf/errors.py -> errors."""
    return Path(file).parts[1].removesuffix(".py")


def list_imports(file: str) -> set[str]:
    """The source files that a file imports directly."""
    candidates = {name.replace(".", "/") + ".py" for name in parse_imports(ROOT, file)}
    return {name for name in candidates if (ROOT / name).is_file()}


def read_layers() -> dict[str, int]:
    """The layer of each package, from the table in docs/architecture.md."""
    rows = re.findall(r"(?m)^\| (\d+) \| (.+?) \|", read_text("docs/architecture.md"))
    return {name: int(layer) for layer, cell in rows for name in re.findall(r"`(\w+)`", cell)}


def test_a_module_imports_only_its_own_package_and_lower_layers():
    layers = read_layers()
    assert layers.keys() == {package_of(file) for file in MODULES} - {"__main__"}
    layers["__main__"] = max(layers.values()) + 1
    offenders = [
        f"{file} imports {imported}"
        for file in MODULES
        for imported in sorted(list_imports(file) - {"golf/__init__.py"})
        if imported.startswith("golf/")
        and package_of(imported) != package_of(file)
        and layers[package_of(imported)] >= layers[package_of(file)]
    ]
    assert offenders == []


def test_golf_imports_neither_stages_nor_development_code():
    outside = ("stages/", "tools/", "benchmarks/", "tests/")
    assert [f"{file}: {name}" for file in FILES for name in list_imports(file) if name.startswith(outside)] == []
    assert [f"{file}: {name}" for file in STAGES for name in list_imports(file) if name.startswith(outside)] == []


def test_no_modules_import_each_other_in_a_circle():
    tuple(TopologicalSorter({file: list_imports(file) for file in MODULES}).static_order())  # raises CycleError


def test_modules_and_packages_are_small():
    sizes = {file: len(read_text(file).splitlines()) for file in FILES + STAGES}
    limits = {file: MAX_STAGE_LINES if file in STAGES else MAX_MODULE_LINES for file in sizes}
    assert {file: size for file, size in sizes.items() if size > limits[file]} == {}
    folders = {Path(file).parent for file in MODULES}
    counts = {folder.as_posix(): sum(Path(file).parent == folder for file in MODULES) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MAX_PACKAGE_MODULES} == {}
    assert {Path(file).name for file in FILES if len(Path(file).parts) == 2} <= ROOT_MODULES


def test_files_of_tests_tools_and_benchmarks_are_small_too():
    sizes = {file: len(read_text(file).splitlines()) for file in TESTS + TOOLS}
    assert {file: size for file, size in sizes.items() if size > MAX_MODULE_LINES} == {}


def test_the_name_of_a_test_has_at_most_90_characters():
    names = [name for file in TESTS for name in re.findall(r"(?m)^def (test_\w+)", read_text(file))]
    assert len(names) > 500
    assert [name for name in names if len(name) > MAX_TEST_NAME_CHARS] == []


def test_every_module_has_a_docstring_and_no_package_init_below_golf_has_code():
    assert [file for file in MODULES + STAGES if not ast.get_docstring(parse(file))] == []
    inits = [file for file in FILES if file.endswith("__init__.py") and file != "golf/__init__.py"]
    assert [file for file in inits if len(parse(file).body) > bool(ast.get_docstring(parse(file)))] == []


def test_golf_itself_holds_one_function_that_imports_on_demand_what_its_stub_declares():
    _docstring, function = parse("golf/__init__.py").body
    assert (ast.get_docstring(parse("golf/__init__.py")) is not None, function.name) == (True, "__getattr__")
    assert parse_imports(ROOT, "golf/__init__.py") == {"importlib"}, "an import of golf's would be weighed"
    stub = ast.parse(read_text("golf/__init__.pyi"))
    declared = [alias.asname for node in stub.body for alias in node.names]
    assert declared == ["LoadedModel", "load"]
    assert all(callable(getattr(golf, name)) for name in declared)
    with pytest.raises(AttributeError, match="module 'golf' has no attribute 'lod'"):
        golf.lod  # noqa: B018


def private_uses(file: str) -> Iterator[str]:
    """Uses of another module's underscore names: imports of them, and attributes of imported modules."""
    own_packages = ("golf", "stages", "tools", "benchmarks")
    modules: set[str] = set()
    tree = parse(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in own_packages:
            modules |= {alias.asname or alias.name for alias in node.names}
            yield from (f"{file}: {node.module}.{alias.name}" for alias in node.names if is_private(alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and is_private(node.attr):
            yield from [f"{file}: {node.value.id}.{node.attr}"] if node.value.id in modules else []


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_module_uses_the_private_names_of_another():
    assert [use for file in FILES + STAGES + TOOLS for use in private_uses(file)] == []
    assert {use for file in TESTS for use in private_uses(file)} == PRIVATE_NAMES_IN_TESTS, "mend the use, or the list"


def public_names(tree: ast.Module) -> set[str]:
    """The public functions, classes and constants that a module defines."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def declared_names(tree: ast.Module) -> list[str]:
    """What ``__all__`` lists; nothing where a module has none."""
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    declared = [node.value for node in assignments if getattr(node.targets[0], "id", "") == "__all__"]
    return [name for value in declared for name in ast.literal_eval(value)]


def test_all_lists_exactly_what_is_public():
    """Every module of golf/ has it; of benchmarks/ and tools/, those that others import."""
    trees = {file: parse(file) for file in FILES + TOOLS}
    declared = {file: sorted(declared_names(tree)) for file, tree in trees.items()}
    offenders = [
        file
        for file, tree in trees.items()
        if (file in FILES or declared[file]) and declared[file] != sorted(public_names(tree))
    ]
    assert offenders == []


def test_no_test_file_imports_another():
    """What several share is in tests/helpers."""
    imports = [(file, name) for file in TESTS for name in sorted(list_imports(file))]
    assert [f"{file} imports {name}" for file, name in imports if Path(name).name.startswith("test_")] == []


def test_no_unit_test_needs_a_whole_run():
    fixtures = ("finished_run", "gallery_run", "gallery_dir")
    offenders = [
        f"{file}: {argument.arg}"
        for file in list_sources("tests/unit")
        for node in ast.walk(parse(file))
        if isinstance(node, ast.FunctionDef)
        for argument in node.args.args
        if argument.arg in fixtures
    ]
    assert offenders == []


def test_the_evaluator_and_the_predictor_contain_no_training_and_no_quantization():
    evaluators = [file for file in MODULES if package_of(file) in ("evaluation", "compliance")]
    reached = {package_of(file) for file in find_import_closure(*evaluators, root=ROOT) if file != "golf/__init__.py"}
    assert reached.isdisjoint({"training", "quantization", "submission", "cli"})
    shipped = {package_of(file) for file in find_import_closure("golf/inference/predictor.py", root=ROOT)}
    assert shipped.isdisjoint({"training", "quantization", "data", "evaluation", "compliance", "artifacts", "pipeline"})


def test_importing_any_module_or_stage_has_no_effect(tmp_path):
    files = [file for file in FILES + STAGES if file != "golf/__main__.py"]
    names = [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-B", import_modules.__file__, *names]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
