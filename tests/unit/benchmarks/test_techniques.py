"""benchmarks/techniques.py: the list is that of docs/techniques.md, stages are kept, differences have intervals"""

import re
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from benchmarks import techniques, techniques_report
from benchmarks.techniques_list import BOS, DEFAULT, TECHNIQUES
from benchmarks.techniques_report import Measurement
from benchmarks.techniques_runs import StageError, StageRunner
from golf.artifacts import io
from golf.config import loader, validation
from golf.errors import InputError
from golf.evaluation.ledger import Ledger
from tests.helpers import doc_pages
from tests.helpers.tiny_corpus import ROOT

PROFILE = YAML(typ="safe", pure=True).load((ROOT / "profiles" / "laptop.yaml").read_text(encoding="utf-8"))
STAGE = """
import os, sys
from pathlib import Path
name = Path(__file__).stem
Path("artifacts", name).mkdir(parents=True, exist_ok=True)
with open({calls!r}, "a") as calls:
    calls.write(name + " ")
if name in Path({failing!r}).read_text():
    print(f"{{name}}: no such luck", file=sys.stderr)
    sys.exit(1)
"""
GRAPH = """
stages:
  first: {deps: [texts], params: [one.a]}
  second: {deps: [artifacts/first/x, "artifacts/${two.from}/y"], params: [two]}
"""


def list_documented_keys() -> dict[str, str]:
    """By the first cell of each row: the group that its heading names, "model" for "Of the model"."""
    keys, group = {}, ""
    for line in doc_pages.read_page("docs/techniques.md").splitlines():
        if line.startswith("## "):
            group = line.split()[-1] if line.startswith("## Of ") else ""
        if group and (match := re.match(r"\| (`.*?) \|", line)):
            keys[match[1].replace("`", "")] = group
    return keys


def test_the_techniques_are_those_of_the_page():
    assert {technique.key: technique.group for technique in TECHNIQUES} == list_documented_keys()
    assert len({technique.key for technique in TECHNIQUES}) == len(TECHNIQUES)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: technique.key)
def test_each_changes_a_valid_configuration_into_another(technique):
    base = techniques.with_settings(PROFILE, techniques.scale_to_steps(150))
    for attempt in technique.attempts:
        own = {key: 1 if value is BOS else value for key, value in (technique.settings | attempt).items()}
        changed = techniques.with_settings(base, own)
        assert changed != base
        assert validation.from_mapping(loader.Config, changed, "")[1] == []
    assert any(key.startswith(technique.key.split(":")[0].split(",")[0]) for key in technique.settings)


def test_the_profile_s_time_constants_shrink_with_the_steps_and_stay_at_its_own():
    own = techniques.scale_to_steps(1500)
    assert all(
        own[key] == PROFILE[key.split(".")[0]][key.split(".")[1]]
        for key in ("train.ema_decays", "ema.decay", "train.muon_momentum_warmup_steps", "train.context_warmup_steps")
    )
    assert techniques.scale_to_steps(150)["ema.decay"] == 0.8


def test_a_key_that_the_profile_lacks_and_a_technique_that_is_none_are_named():
    with pytest.raises(InputError, match=r"ttt\.rate: the profile has no such key"):
        techniques.with_settings(PROFILE, {"ttt.rate": 1})
    with pytest.raises(InputError, match=r"--only: no\.such: no such technique"):
        list(techniques.list_techniques(["no.such"]))
    assert [technique.key for technique in techniques.list_techniques(["ema.share"])] == ["default", "ema.share"]


class Project:
    """Two stages, the second of which reads the first; ``calls`` holds what ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls_path, self.failing = folder, folder / "calls", folder / "failing"
        (folder / "source/stages").mkdir(parents=True)
        (folder / "source/dvc.yaml").write_text(GRAPH, encoding="utf-8")
        code = STAGE.format(calls=str(self.calls_path), failing=str(self.failing))
        for name in ("first", "second"):
            (folder / f"source/stages/{name}.py").write_text(code, encoding="utf-8")
        self.failing.write_text("", encoding="utf-8")

    def run(self, a=1, b=2, corpus="x", stage="second") -> str:
        """What ran for it."""
        self.calls_path.write_text("", encoding="utf-8")
        runner = StageRunner(self.folder, self.folder / "source", corpus={"sha256": corpus}, links={})
        runner.run(stage, {"one": {"a": a}, "two": {"from": "first", "b": b}})
        return self.calls_path.read_text(encoding="utf-8").strip()


def test_a_stage_runs_again_only_where_its_keys_its_code_or_its_inputs_differ(tmp_path):
    project = Project(tmp_path)
    assert project.run() == "first second"
    assert project.run() == ""
    assert project.run(b=3) == "second"
    assert project.run(a=5, b=3) == "first second"
    assert project.run() == "", "what was measured before is still there"
    with open(tmp_path / "source/stages/second.py", "a", encoding="utf-8") as file:
        file.write("# another line\n")
    assert project.run() == "second"


def test_a_stage_that_fails_says_why_keeps_its_folder_and_runs_again(tmp_path):
    project = Project(tmp_path)
    project.failing.write_text("second", encoding="utf-8")
    with pytest.raises(StageError, match=r"^second: no such luck$"):
        project.run()
    assert len(list((tmp_path / "work").iterdir())) == 1
    project.failing.write_text("", encoding="utf-8")
    assert project.run() == "second"
    assert list((tmp_path / "work").iterdir()) == []


def measure(folder: Path, key: str, seed: int, bits: list[float], **changes) -> Measurement:
    """A measurement whose documents of 100 bytes take so many bits."""
    path = folder / f"{key}{seed}"
    ledger = Ledger("ttt", 1)
    tokens = np.tile([1, 7], len(bits)).astype(np.uint16)
    nll = np.repeat(bits, 2)[1:] * np.log(2)
    nll[1:] /= 2
    ledger.append(tokens, nll, np.array([100, 0] * len(bits))[:-1], is_last=True)
    ledger.save(path / "ledger.safetensors")
    io.write_json(path / "score.json", {"bpb": sum(bits) / 100 / len(bits), "seconds": 2.0})
    values = {"folders": {"ttt": path}, "model_bytes": 900, "code_bytes": 50, "train_s": 9.0}
    return Measurement(key=key, text="docs", seed=seed, **values | changes)


@pytest.fixture
def rows(tmp_path) -> list[Measurement]:
    better, noisy = [98.0, 97.9, 98.1], [100.5, 99.0, 100.4]
    return [
        *(measure(tmp_path, DEFAULT.key, seed, [100.0 + seed, 100.0, 100.0]) for seed in (0, 1)),
        measure(tmp_path, "ema.share", 0, better, code_bytes=60),
        measure(tmp_path, "ema.share", 1, [better[0] + 1.01, *better[1:]], code_bytes=60),
        measure(tmp_path, "ttt.method: none", 0, noisy),
        Measurement(key="ttt.method: lora", text="docs", seed=0, reason="ttt: lr | too high"),
    ]


def test_differences_are_paired_by_document_and_by_seed_and_noise_is_called_so(rows, tmp_path):
    facts = {"steps": 150, "profile": "laptop", "machine": "a CPU", "threads": 2}
    io.write_json(tmp_path / techniques_report.RESULTS_FILE, techniques_report.summarize(facts, rows))
    table = techniques_report.render_table(tmp_path)
    (better,) = re.findall(r"(?m)^\| `ema\.share` \|.*$", table)
    (noisy,) = re.findall(r"(?m)^\| `ttt\.method: none` \|.*$", table)
    assert re.search(r"\| -0\.0200 ± 0\.00\d\d, ± 0\.00\d\d \| the same \| 2 \| 900 \| \+10 \| 9 \| 2 \|", better)
    assert "within noise | the same | 1 |" in noisy
    assert f"| `ttt.method: lora` | {' | '.join(['NOT-RUN'] * 6)} | ttt: lr / too high |" in table
    assert "| `model.attn_gate: dense` | NOT-RUN |" in table
    assert "Text `docs`, dev of 300 bytes in 3 documents" in table


def test_a_line_of_progress_has_the_difference_to_the_default_of_its_seed(rows):
    assert "difference -0.0200" in techniques_report.format_line(rows[2], rows)
    assert "NOT-RUN: ttt: lr | too high" in techniques_report.format_line(rows[-1], rows)
    assert "difference" not in techniques_report.format_line(rows[0], rows)


def test_without_results_the_table_says_not_run(tmp_path):
    assert techniques_report.render_table(tmp_path) == "What each technique is worth: NOT-RUN.\n"
