"""golf/evaluation/sandbox/stripped_import.py"""

import sys

from golf.evaluation.sandbox.stripped_import import import_without_docstrings


def test_a_package_works_without_its_docstrings_even_if_its_bytecode_has_them(tmp_path, monkeypatch):
    package = tmp_path / "documented_package"
    package.mkdir()
    (package / "__init__.py").write_text('"""val"""\nfrom documented_package.inner import three\n')
    (package / "inner.py").write_text('def three():\n    """val"""\n    return 3\n')
    monkeypatch.syspath_prepend(tmp_path)
    import documented_package

    assert documented_package.three.__doc__ == "val", "and now there is bytecode"
    for name in ("documented_package", "documented_package.inner"):
        monkeypatch.delitem(sys.modules, name)
    import_without_docstrings("documented_package")
    stripped = sys.modules["documented_package"]
    assert stripped.three() == 3
    assert stripped.__doc__ is stripped.three.__doc__ is None
    assert "val" not in stripped.three.__code__.co_consts


def test_a_package_that_is_not_installed_is_no_error():
    import_without_docstrings("no_such_package_at_all")
