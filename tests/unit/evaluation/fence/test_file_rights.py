"""golf/evaluation/fence: which files and packages a predictor may open"""

import sys
from pathlib import Path

import pytest

from golf.evaluation.fence import environment, file_rights
from golf.evaluation.fence.corpus_sources import CorpusSources, find_corpus_sources
from golf.evaluation.fence.packages import InstalledPackages, list_imports

SITE_PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
DOCS = find_corpus_sources({"kind": "docs", "packages": {"torch": {}, "numpy": {}, "sympy": {}, "scipy": {}}})


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_denied_file_takes_its_bytecode_with_it_and_leaves_the_rest_of_its_folder(tmp_path):
    write_files(tmp_path, "p/a.py", "p/val.py", "p/__pycache__/val.pyc", "p/q/b.py", "r/c.py")
    readable, listable = file_rights.subtract([str(tmp_path / "p"), str(tmp_path / "r")], [str(tmp_path / "p/val.py")])
    assert [path.removeprefix(f"{tmp_path}/") for path in readable] == ["p/a.py", "p/q", "r"]
    assert listable == [str(tmp_path / "p")]


def test_what_lies_below_a_denied_folder_is_denied_unless_it_is_excepted(tmp_path):
    write_files(tmp_path, "project/val.bin", "project/.venv/torch/a.py")
    torch_dir, val = (str(tmp_path / "project" / name) for name in (".venv/torch", "val.bin"))
    readable, _ = file_rights.subtract([torch_dir, val], [str(tmp_path / "project")], except_below=[torch_dir])
    assert readable == [torch_dir]


def test_a_predictor_gets_the_packages_that_it_imports_and_what_they_require():
    imports = list_imports({"own.py": b"import torch.nn\ndef f():\n    from brotli import x\n    from . import y\n"})
    assert imports == {"torch", "brotli"}
    installed = InstalledPackages(SITE_PACKAGES)
    names = {path.name.partition(".")[0] for path in installed.choose(imports, CorpusSources(), compiles=False)}
    assert names >= {"torch", "brotli", "_brotli", "typing_extensions", "sympy", "networkx"}
    assert names.isdisjoint({"scipy", "pytest", "dvc"})


def test_a_package_of_one_file_comes_with_its_bytecode(tmp_path):
    bytecode = f"__pycache__/one.{sys.implementation.cache_tag}.pyc"
    write_files(tmp_path, "one.py", "other.py", bytecode, f"__pycache__/other.{sys.implementation.cache_tag}.pyc")
    write_files(tmp_path, "one-1.0.dist-info/METADATA")
    (tmp_path / "one-1.0.dist-info/RECORD").write_text("one.py,,\n")
    chosen = InstalledPackages([str(tmp_path)]).choose({"one"}, CorpusSources(), compiles=False)
    assert chosen == {tmp_path / "one.py", tmp_path / bytecode}


@pytest.mark.parametrize("compiles", [False, True])
def test_packages_of_dev_and_val_are_never_there_and_others_of_the_corpus_if_imported(compiles):
    installed = InstalledPackages(SITE_PACKAGES)
    chosen = installed.choose({"torch", "numpy", "scipy", "networkx"}, DOCS, compiles=compiles)
    names = {path.name for path in chosen}
    assert names >= {"torch", "numpy"}
    assert names.isdisjoint({"scipy", "networkx"})
    assert ("sympy" in names) == compiles
    assert {"scipy", "networkx", "pytest"} <= {*installed.list_others(chosen)}


def test_the_corpus_of_a_manifest_is_its_files_its_packages_or_what_cannot_be_kept_away(tmp_path):
    files = find_corpus_sources({"kind": "files", "path": str(tmp_path), "files": {"a/b.txt": "sha256"}}).files
    assert files == (str(tmp_path.resolve() / "a/b.txt"),)
    assert DOCS.held_out_packages == {"scipy", "networkx"}
    assert "standard library" in find_corpus_sources({"kind": "stdlib"}).problem
    assert find_corpus_sources({"kind": "hub"}) == CorpusSources()


def test_only_allowed_variables_reach_the_sandbox_and_its_folders_are_its_own():
    secrets = {"AWS_SECRET_ACCESS_KEY": "a", "HF_TOKEN": "b", "GOLF_PROBE_SEED": "0a", "LD_PRELOAD": "/y"}
    given = {"PATH": "/bin", "LC_ALL": "C", "OMP_NUM_THREADS": "2", "RANK": "1", "HOME": "/root", **secrets}
    made = environment.make_environment("/tmp/s", given)
    assert {name for name in made if name in given} == {"PATH", "LC_ALL", "OMP_NUM_THREADS", "RANK", "HOME"}
    assert {made[name] for name in ("HOME", "TMPDIR")} == {"/tmp/s"}
    assert all(made[name].startswith("/tmp/s/") for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"))


@pytest.mark.parametrize(
    ("given", "spin_count"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_openmps_threads_soon_sleep_in_the_sandbox_unless_the_user_decides(given, spin_count):
    assert environment.make_environment("/tmp/s", given).get("GOMP_SPINCOUNT") == spin_count


def test_compilers_may_be_run_with_their_parts_and_nothing_else():
    rights = file_rights.list_compilers(["g++", "no-such-compiler"])
    if rights.executable:
        names = {Path(path).name for path in rights.executable}
        assert names.isdisjoint({"sh", "bash", "dash", "cp", "cat", "python3"})
