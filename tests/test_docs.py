"""docs/legality.md: every check has its place, and the method that it shows can be judged as it stands"""

import re
from pathlib import Path

import numpy as np
import thimble
from safetensors.numpy import save_file

from golf.ground import store
from golf.rules.catalogue import RULES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "legality.md").read_text(encoding="utf-8")


def test_every_check_of_the_verdict_links_to_a_place_on_the_page():
    anchors = re.findall(r'<a id="([^"]+)"></a>', PAGE)
    assert anchors == [rule.link(check).partition("#")[2] for check, rule in RULES.items()]
    assert all(rule.link(check).startswith("docs/legality.md#") for check, rule in RULES.items())


def test_the_ten_lines_of_the_page_are_judged_and_not_accused(finished_run, tmp_path, monkeypatch):
    project = thimble.copy(finished_run, tmp_path / "project")
    monkeypatch.chdir(project)
    code = re.search(r"```python\n# (mine/bigram\.py)\n(.*?)```", PAGE, re.DOTALL)
    (project / "mine").mkdir()
    (project / code[1]).write_text(code[2], encoding="utf-8")
    counts = np.random.default_rng(0).random((320, 320), dtype=np.float32)
    table = np.log(counts / counts.sum(axis=1, keepdims=True, dtype=np.float32))
    save_file({"logp": table}, "mine/bigram.safetensors")
    chosen = {"method": "mine.bigram:Bigram", "artifact": "mine/bigram.safetensors", "headline": "sliding"}
    thimble.turn(project, {f"evaluate.{key}": value for key, value in chosen.items()})
    thimble.turn(project, {"compress.limit_bytes": 1_000_000})

    thimble.run("evaluate", project)

    found = store.read_json("artifacts/evaluate/verdict.json")
    assert [row["check"] for row in found["checks"] if row["status"] in ("FAIL", "UNRULED")] == []
    assert found["verdict"].startswith("NOT-RUN: nothing that was looked at fails, but C1-e, C3-f were not: of unknown")
    assert found["track"].startswith("A")
