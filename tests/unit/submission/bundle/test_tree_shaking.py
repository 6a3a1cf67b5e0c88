"""golf/submission/bundle/tree_shaking.py: what is kept of small modules, and that what is kept still runs"""

import sys
import types

import pytest

from golf.submission.bundle.tree_shaking import shake_sources

SOURCES = {
    "p.main": "from p import tools\nfrom p.shapes import Circle\nimport math\nimport json\n"
    "def run():\n    return tools.double(Circle(2).area()) + math.floor(0.5)\n",
    "p.tools": "import json\nfrom p.late import unused\nFACTOR = 2\nOTHER = 3\n"
    "def double(x):\n    return FACTOR * x\ndef triple(x):\n    return OTHER * unused(x)\n",
    "p.shapes": "from p.base import Base, NAMES\nclass Circle:\n    sides = 0\n"
    "    def __init__(self, r):\n        self.r = r\n"
    "    def area(self):\n        return self._square() * 3\n    def _square(self):\n        return self.r ** 2\n"
    "    def draw(self):\n        return NAMES\nclass Square(Base):\n    pass\n",
    "p.base": "NAMES = []\nclass Base:\n    pass\n",
    "p.late": "def unused(x):\n    return x\n",
}


def run_main(sources: dict[str, str]) -> object:
    """The result of p.main.run of sources in the order given, each executed once."""
    modules = {"p": types.ModuleType("p")} | {name: types.ModuleType(name) for name in sources}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        for name, source in sources.items():
            exec(source, modules[name].__dict__)
        return modules["p.main"].run()


def shake(**changed: str) -> dict[str, str]:
    return shake_sources(SOURCES | {f"p.{name}": source for name, source in changed.items()}, "p.main")


def test_what_the_root_does_not_reach_is_left_out_and_the_rest_still_runs():
    shaken = shake()
    assert run_main(shaken) == 24
    assert list(shaken) == ["p.shapes", "p.tools", "p.main"]
    assert "triple" not in shaken["p.tools"]
    assert "OTHER" not in shaken["p.tools"]
    assert "import" not in shaken["p.tools"]
    assert "Square" not in shaken["p.shapes"]


def test_the_root_stays_whole_without_the_imports_that_nothing_uses():
    assert "import math" in shake()["p.main"]
    assert "json" not in shake()["p.main"]


def test_a_method_of_a_class_without_a_base_stays_if_anything_says_its_name():
    assert "draw" not in shake()["p.shapes"]
    assert "_square" in shake()["p.shapes"]
    assert "NAMES" in shake(main=SOURCES["p.main"] + "def paint(shape):\n    shape.draw()\n")["p.base"]
    by_string = shake(main=SOURCES["p.main"] + "def paint(shape):\n    getattr(shape, 'draw')()\n")
    assert "draw" in by_string["p.shapes"]


def test_a_class_with_a_base_keeps_all_methods_because_the_base_may_call_them():
    shapes = "class Circle(dict):\n    def __init__(self, r):\n        pass\n    def area(self):\n        return 3\n"
    assert "hidden" in shake(shapes=shapes + "    def hidden(self):\n        pass\n")["p.shapes"]


def test_an_excluded_method_goes_although_its_name_is_used():
    sources = SOURCES | {"p.main": SOURCES["p.main"] + "def paint(shape):\n    shape.draw()\n"}
    shaken = shake_sources(sources, "p.main", excluded=["p.shapes.Circle.draw"])
    assert "draw" not in shaken["p.shapes"]
    assert "p.base" not in shaken


def test_excluded_modules_and_functions_go_with_their_imports_and_what_only_they_use():
    tools = SOURCES["p.tools"].replace("def triple", "import p.late as late\ndef triple")
    main = "from p.tools import double, triple\nfrom p import late\nfrom p.late import unused\n"
    main += "def run():\n    return double(2)\ndef never():\n    return triple(unused(late))\n"
    sources = SOURCES | {"p.main": main, "p.tools": tools}
    assert "p.late" in shake_sources(sources, "p.main")
    shaken = shake_sources(sources, "p.main", excluded=["p.late", "p.tools.triple"])
    assert run_main(shaken) == 4
    assert list(shaken) == ["p.tools", "p.main"]
    assert "import double\n" in shaken["p.main"]
    assert "late" not in shaken["p.tools"]
    assert "OTHER" not in shaken["p.tools"]


def test_a_module_used_as_a_value_stays_whole():
    shaken = shake(main="from p import tools\ndef run():\n    return vars(tools)\n")
    assert "triple" in shaken["p.tools"]
    assert "p.late" in shaken


def test_an_import_inside_a_function_counts_and_comes_before_its_user():
    main = "def run():\n    from p.tools import double\n    return double(4)\n"
    shaken = shake(main=main)
    assert list(shaken) == ["p.tools", "p.main"]
    assert run_main(shaken) == 8


def test_a_name_that_another_module_only_passes_on_is_followed():
    shaken = shake(
        main="from p.tools import double\ndef run():\n    return double(1)\n",
        tools="from p.late import double\nOTHER = 1\n",
        late="def double(x):\n    return x + x\ndef unused(x):\n    return x\n",
    )
    assert run_main(shaken) == 2
    assert "OTHER" not in shaken["p.tools"]
    assert "unused" not in shaken["p.late"]


def test_statements_that_define_nothing_stay_with_what_they_use():
    base = "NAMES = []\ndef fill():\n    NAMES.append(1)\nfill()\nclass Base:\n    pass\n"
    shapes = SOURCES["p.shapes"] + "Circle.names = NAMES\n"
    shaken = shake(base=base, shapes=shapes)
    assert "fill()" in shaken["p.base"]
    assert "class Base" not in shaken["p.base"]
