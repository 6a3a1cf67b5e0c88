import pytest

from golf.artifacts.source_deps import COPIED_ROOTS, EXTRA_ROOTS, NON_SEMANTIC, find_import_closure, list_stage_sources
from golf.errors import InputError
from tests.helpers.file_tree import write_files
from tests.helpers.tiny_corpus import ROOT

TREE = {
    "pkg/__init__.py": "",
    "pkg/main.py": "import json\nfrom pkg.a import thing\nfrom pkg.sub import leaf\nimport pkg.b\n",
    "pkg/a.py": "def thing():\n    from pkg import late\n    return late\n",
    "pkg/b.py": "import pkg.main\n",
    "pkg/late.py": "from . import near\n",
    "pkg/near.py": "from .sub.deep import x\n",
    "pkg/unused.py": "import pkg.a\n",
    "pkg/sub/__init__.py": "from pkg import by_init\n",
    "pkg/by_init.py": "",
    "pkg/sub/leaf.py": "",
    "pkg/sub/deep.py": "x = 1\n",
    "pkg/sub/other.py": "",
    "json_like.py": "",
}


@pytest.fixture
def root(tmp_path):
    return write_files(tmp_path, TREE)


def test_the_closure_is_exactly_what_importing_reaches(root):
    assert find_import_closure("pkg/main.py", root=root) == sorted(
        set(TREE) - {"pkg/unused.py", "pkg/sub/other.py", "json_like.py"}
    )


def test_a_module_that_imports_none_of_our_files_is_its_own_closure(root):
    assert find_import_closure("pkg/sub/leaf.py", root=root) == ["pkg/sub/leaf.py"]


def test_several_files_give_the_union(root):
    both = find_import_closure("pkg/sub/other.py", "json_like.py", root=root)
    assert both == ["json_like.py", "pkg/sub/other.py"]


def test_an_excluded_file_is_left_out_with_what_only_it_reaches(root):
    assert find_import_closure("pkg/main.py", root=root, excluded=["pkg/a.py"]) == find_import_closure(
        "pkg/b.py", "pkg/sub/leaf.py", root=root, excluded=["pkg/a.py"]
    )


def test_stage_sources_omit_non_semantic_files_and_package_inits(root):
    for name, text in {
        "stages/quantize.py": "from golf import errors\nfrom golf.artifacts import io\nimport golf.loop\n",
        "golf/__init__.py": "",
        "golf/loop.py": "",
        "golf/artifacts/__init__.py": "",
        "golf/pipeline/read_guard.py": "",
        "golf/errors.py": "import pkg.near\n",
        "golf/artifacts/io.py": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    expected = ["golf/artifacts/io.py", "golf/loop.py", "golf/pipeline/read_guard.py", "stages/quantize.py"]
    assert list_stage_sources("quantize", root) == expected


def test_a_stage_that_packs_code_depends_on_all_of_it():
    packed = find_import_closure(*COPIED_ROOTS["compress"], root=ROOT)
    assert "golf/errors.py" in packed
    assert set(packed) <= set(list_stage_sources("compress", ROOT))
    assert "golf/errors.py" not in list_stage_sources("quantize", ROOT)


def test_every_listed_file_exists():
    listed = [*NON_SEMANTIC, *sum((*EXTRA_ROOTS.values(), *COPIED_ROOTS.values()), ())]
    assert [file for file in listed if not (ROOT / file).is_file()] == []


def test_a_stage_depends_on_the_read_guard_and_on_what_writes_its_timing():
    for stage in ("train", "calibrate", "quantize", "ttt"):
        assert {"golf/pipeline/read_guard.py", "golf/pipeline/timing.py"} <= set(list_stage_sources(stage, ROOT))
    assert "golf/pipeline/timing.py" in list_stage_sources("evaluate", ROOT)


def test_the_start_file_must_exist_and_parse(root):
    with pytest.raises(InputError, match=r"method\.py: not found"):
        find_import_closure("pkg/method.py", root=root)
    (root / "pkg/b.py").write_text("def (:\n")
    with pytest.raises(InputError, match=r"b\.py: does not parse \(line 1"):
        find_import_closure("pkg/main.py", root=root)
