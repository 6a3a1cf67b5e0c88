"""golf/pipeline/predictor_file.py: a class that no statement binds is refused, whatever else a module does is not"""

from pathlib import Path

import pytest

from golf.errors import InputError, PredictorError
from golf.pipeline import predictor_file

REFUSED = "no class of that name in own.py below this folder; give package.module:Class, such as golf.inference."


@pytest.fixture(autouse=True)
def work_dir(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "source",
    [
        "class Own: pass",
        "from elsewhere import Own",
        "from elsewhere import Other as Own",
        "import elsewhere as Own",
        "import Own.inner",
        "from elsewhere import *",
        "Own = make()",
        "Own: type = make()",
        "A, (B, Own) = make()",
        "def Own(): pass",
        "if fast:\n    class Own: pass\nelse:\n    Own = None",
        "try:\n    from elsewhere import Own\nexcept ImportError:\n    raise",
        "with guard() as Own: pass",
        "for Own in classes: pass",
        "match value:\n    case Own: pass",
        "(Own := make())",
        "def __getattr__(name): return make(name)",
        "globals()['Ow' + 'n'] = make()",
        "exec(text)",
        "import sys\nsetattr(sys.modules[__name__], 'Ow' + 'n', make())",
        "def define():\n    global Own\n    Own = make()\ndefine()",
    ],
)
def test_a_module_that_may_bind_the_class_passes_and_is_not_run(source):
    Path("own.py").write_text(f"raise RuntimeError\n{source}\n")
    predictor_file.require_predictor("own:Own")


@pytest.mark.parametrize("source", ["", "class Other: pass", "print(Own)", "Other.Own()", "'class Own: pass'"])
def test_a_module_that_cannot_bind_the_class_is_refused(source):
    Path("own.py").write_text(f"{source}\n")
    with pytest.raises(PredictorError, match=f"evaluate.predictor: own:Own: {REFUSED}"):
        predictor_file.require_predictor("own:Own")


@pytest.mark.parametrize(
    "name", ["own", "own:", ":Own", "own:Own.Inner", "own:Own:Own", "own-file:Own", "", "a..b:Own"]
)
def test_a_name_of_another_form_is_refused(name):
    Path("own.py").write_text("class Own: pass\n")
    with pytest.raises(PredictorError, match=r"no class of that name in \S*\.py below this folder"):
        predictor_file.require_predictor(name)


def test_a_module_in_folders_is_found_and_one_of_golf_from_any_folder():
    Path("mine/deep").mkdir(parents=True)
    Path("mine/deep/own.py").write_text("class Own: pass\n")
    predictor_file.require_predictor("mine.deep.own:Own")
    predictor_file.require_predictor("golf.inference.predictor:GolfPredictor")
    for missing in ("mine.own:Own", "mine.deep:Own", "golf.inference.predictor:Own"):
        with pytest.raises(PredictorError, match=f"evaluate.predictor: {missing}: no class"):
            predictor_file.require_predictor(missing)


def test_a_module_that_does_not_parse_is_named_with_its_line():
    Path("own.py").write_text("class Own:\n    def (\n")
    with pytest.raises(InputError, match=r"own\.py: does not parse \(line 2: .*\); correct it"):
        predictor_file.require_predictor("own:Own")
