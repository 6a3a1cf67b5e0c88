"""benchmarks/preflight.py: the forecast of a step beside its measurement"""

import sys

from golf.artifacts import io
from tests.helpers.tiny_corpus import ROOT
from tests.helpers.tiny_profile import write_tiny_profile

sys.path.insert(0, str(ROOT / "benchmarks"))
import preflight


def test_the_script_measures_steps_and_prints_the_ratio(tiny_model_config, tmp_path, capsys):
    write_tiny_profile(tmp_path / "tiny.yaml", tiny_model_config)
    text = (tmp_path / "tiny.yaml").read_text(encoding="utf-8").replace("compile: auto", "compile: off")
    (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
    preflight.main(["--profile", str(tmp_path / "tiny.yaml"), "--steps", "1", "--json", str(tmp_path / "out.json")])
    rows = io.read_json(tmp_path / "out.json")["rows"]
    assert [row["recurrent"] for row in rows] == [False, True]
    assert all(row["predicted_ms"] > 0 and row["measured_ms"] > 0 for row in rows)
    assert capsys.readouterr().out.count("ratio") == 2
