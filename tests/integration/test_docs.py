"""docs/legality.md: every check has its place, and the method that it shows can be judged as it stands"""

import re

import numpy as np
from safetensors.numpy import save_file

from golf.artifacts import io
from golf.compliance.registry import CHECKS
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT

PAGE = (ROOT / "docs" / "legality.md").read_text(encoding="utf-8")


def test_every_check_of_the_verdict_links_to_a_place_on_the_page():
    anchors = re.findall(r'<a id="([^"]+)"></a>', PAGE)
    assert anchors == [rule.docs_link(check).partition("#")[2] for check, rule in CHECKS.items()]
    assert all(rule.docs_link(check).startswith("docs/legality.md#") for check, rule in CHECKS.items())


def test_the_ten_lines_of_the_page_are_judged_and_not_accused(finished_run, tmp_path, monkeypatch):
    project = tiny_project.copy_project(finished_run, tmp_path / "project")
    monkeypatch.chdir(project)
    code = re.search(r"```python\n# (mine/bigram\.py)\n(.*?)```", PAGE, re.DOTALL)
    (project / "mine").mkdir()
    (project / code[1]).write_text(code[2], encoding="utf-8")
    counts = np.random.default_rng(0).random((320, 320), dtype=np.float32)
    table = np.log(counts / counts.sum(axis=1, keepdims=True, dtype=np.float32))
    save_file({"logp": table}, "mine/bigram.safetensors")
    chosen = {"method": "mine.bigram:Bigram", "artifact": "mine/bigram.safetensors", "headline": "sliding"}
    tiny_project.set_params(project, {f"evaluate.{key}": value for key, value in chosen.items()})
    tiny_project.set_params(project, {"compress.limit_bytes": 1_000_000})

    tiny_project.run_stage_process("evaluate", project)

    found = io.read_json("artifacts/evaluate/verdict.json")
    assert [row["check"] for row in found["checks"] if row["status"] in ("FAIL", "UNRULED")] == []
    assert found["verdict"].startswith("NOT-RUN: nothing that was looked at fails, but C1-e, C3-f were not: of unknown")
    assert found["track"].startswith("A")
