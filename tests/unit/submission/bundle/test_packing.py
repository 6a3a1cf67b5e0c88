"""golf/submission/bundle/packing.py: what is in a bundle's file, and that Python runs it"""

import ast
import dataclasses
import subprocess
import sys

import pytest

from golf.cli import inspect
from golf.config import loader
from golf.errors import ArtifactError
from golf.submission.bundle import packing, unused_code
from tests.helpers.file_tree import write_files
from tests.helpers.tiny_corpus import ROOT

ALLOWED_PACKAGES = {"torch", "numpy", "sentencepiece", "brotli", "constriction", "numba"}  # numba: for the trellis
LAPTOP, RECORD = (
    dataclasses.asdict(loader.load_config(ROOT / "profiles" / f"{name}.yaml")) for name in ("laptop", "record")
)
TREE = {
    packing.DRIVER: "import json\nimport sys\nfrom golf.a import greet, unused\n"
    "def main(settings):\n    print(greet(json.loads(settings)['model']['n_layers']), sys.argv[1:])\n",
    "golf/a.py": '"""Documented."""\ndef greet(n):\n    """Greet."""\n'
    '    return f"hello {n}"\ndef unused():\n    pass\n',
}


@pytest.fixture(scope="module")
def laptop_bundle() -> bytes:
    return packing.pack_bundle(LAPTOP, ROOT)


def test_python_runs_the_file_with_its_arguments_and_settings(tmp_path):
    root = write_files(tmp_path / "root", TREE)
    script = tmp_path / packing.SCRIPT_NAME
    script.write_bytes(packing.pack_bundle(LAPTOP, root))
    command = [sys.executable, "-I", str(script), "--seed", "7"]
    completed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (completed.stdout, completed.stderr) == (f"hello {LAPTOP['model']['n_layers']} ['--seed', '7']\n", "")


@pytest.mark.parametrize(
    ("given", "spin_count"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_openmps_threads_soon_sleep_from_before_any_module_is_imported_unless_the_user_decides(
    tmp_path, given, spin_count
):
    tree = {
        packing.DRIVER: "import os\nSPIN = os.environ.get('GOMP_SPINCOUNT')\ndef main(settings):\n    print(SPIN)\n"
    }
    script = tmp_path / packing.SCRIPT_NAME
    script.write_bytes(packing.pack_bundle(LAPTOP, write_files(tmp_path / "root", tree)))
    completed = subprocess.run([sys.executable, "-I", script], env=given, capture_output=True, text=True, check=True)
    assert completed.stdout == f"{spin_count}\n"


def test_equal_sources_and_settings_give_equal_bytes(tmp_path):
    first, second = (write_files(tmp_path / name, TREE) for name in ("a", "b"))
    assert packing.pack_bundle(LAPTOP, first) == packing.pack_bundle(LAPTOP, second)
    changed = LAPTOP | {"train": LAPTOP["train"] | {"seed": 7}}
    assert packing.pack_bundle(changed, first) != packing.pack_bundle(LAPTOP, first)


def test_the_settings_inside_are_those_of_the_sections_that_a_run_needs(laptop_bundle):
    settings = packing.read_settings(laptop_bundle)
    assert tuple(settings) == packing.SECTIONS
    assert all(settings[name].keys() == LAPTOP[name].keys() for name in settings)
    assert settings["memory"]["orders"] == list(LAPTOP["memory"]["orders"])


def test_a_bundle_imports_nothing_but_what_the_contests_machine_has_and_numba(laptop_bundle):
    assert set(packing.list_packages(laptop_bundle)) == ALLOWED_PACKAGES
    record_packages = packing.list_packages(packing.pack_bundle(RECORD, ROOT))
    assert set(record_packages) == ALLOWED_PACKAGES - {"constriction", "numba"}, "Brotli needs no coder, and no trellis"


@pytest.mark.parametrize("profile", [LAPTOP, RECORD], ids=["laptop", "record"])
def test_every_module_that_a_bundle_imports_is_in_it_and_comes_first_or_is_never_used(profile):
    modules = packing.read_modules(packing.pack_bundle(profile, ROOT))
    unused = set(unused_code.list_unused_code(profile))
    assert unused.isdisjoint(modules)
    seen: set[str] = set()
    for name, source in modules.items():
        seen.add(name)
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("golf"):
                allowed = seen if node in tree.body else seen | unused  # a function that is never called may name those
                known = [f"{node.module}.{alias.name}" in allowed or node.module in allowed for alias in node.names]
                assert all(known), f"{name}: {ast.unparse(node)}"


def test_inspect_lists_the_modules_and_names_a_damaged_file(laptop_bundle, tmp_path):
    path = tmp_path / "bundle.pyz"
    path.write_bytes(laptop_bundle)
    text = " ".join(inspect.describe(path).split())
    assert f"{len(laptop_bundle):,} bytes; {len(packing.read_modules(laptop_bundle))} minified modules" in text
    for damaged in (b"", laptop_bundle[:-30], laptop_bundle[:9000] + b"\0" * 9 + laptop_bundle[9009:]):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"bundle\.pyz: not a bundle \(.*\)"):
            inspect.describe(path)


@pytest.mark.slow
def test_the_record_profiles_reserve_holds_its_bundle():
    assert RECORD["compress"]["count"] == "bundle"
    n_bytes, reserve_bytes = len(packing.pack_bundle(RECORD, ROOT)), RECORD["compress"]["code_reserve_bytes"]
    assert 0.8 * reserve_bytes < n_bytes <= reserve_bytes


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
def test_a_profile_reserves_as_many_bytes_as_the_bundle_takes_where_the_bundle_counts(profile):
    cfg = loader.load_config(ROOT / "profiles" / f"{profile}.yaml")
    if cfg.compress.count == "bundle":
        bundle = packing.pack_bundle(dataclasses.asdict(cfg), ROOT)
        assert len(bundle) <= cfg.compress.code_reserve_bytes
