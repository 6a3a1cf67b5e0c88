import io
import os
import tarfile

import pytest

from golf.closure import bundle, closure, code_bytes
from golf.ground.errors import BadInput

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
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_closure_holds_what_importing_reaches_and_nothing_else(root):
    assert closure("pkg/main.py", root=root) == sorted(
        set(TREE) - {"pkg/unused.py", "pkg/sub/other.py", "json_like.py"}
    )


def test_a_module_without_imports_of_ours_is_its_own_closure(root):
    assert closure("pkg/sub/leaf.py", root=root) == ["pkg/sub/leaf.py"]


def test_several_files_give_the_union(root):
    both = closure("pkg/sub/other.py", "json_like.py", root=root)
    assert both == ["json_like.py", "pkg/sub/other.py"]


def test_the_start_file_must_exist_and_parse(root):
    with pytest.raises(BadInput, match=r"method\.py: not found"):
        closure("pkg/method.py", root=root)
    (root / "pkg/b.py").write_text("def (:\n")
    with pytest.raises(BadInput, match=r"b\.py: does not parse \(line 1"):
        closure("pkg/main.py", root=root)


def test_the_bundle_holds_the_files_as_they_are(root):
    files = closure("pkg/main.py", root=root)
    with tarfile.open(fileobj=io.BytesIO(bundle(files, root)), mode="r:xz") as tar:
        assert tar.getnames() == files
        assert all(tar.extractfile(name).read().decode() == TREE[name] for name in files)


def test_the_bundles_bytes_depend_on_names_and_content_alone(root):
    files = closure("pkg/main.py", root=root)
    first = bundle(files, root)
    for name in files:
        os.utime(root / name, (1, 1))
        (root / name).chmod(0o600)
    assert bundle(files[::-1], root) == first
    assert code_bytes(files, root) == len(first)
    (root / "pkg/a.py").write_text(TREE["pkg/a.py"] + "\n# a reason\n")
    assert bundle(files, root) != first
