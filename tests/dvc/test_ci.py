"""What CI does in a fresh clone, step by step from the workflow's own text, on the thimble; and what it compares."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.cli.main import main
from golf.errors import GolfError, InputError
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT
from tools import ci

WORKFLOW = ROOT / ".github/workflows/ci.yml"
METRICS = "artifacts/evaluate/metrics.json"
PULLED = [
    "artifacts/compress/model.golf",
    "artifacts/compress/code.tar.xz",
    "artifacts/compress/sizes.json",
    "artifacts/fetch/train/index.json",
    "artifacts/fetch/dev/index.json",
    "artifacts/fetch/val",
    "artifacts/fetch/tokenizer.model",
    "artifacts/fetch/manifest.json",
    "artifacts/ttt/plan.json",
    "artifacts/ttt/clock.json",
    "artifacts/train/clock.json",
    "artifacts/calibrate/clock.json",
    "artifacts/quantize/clock.json",
]


def steps(job: str) -> list[str]:
    """The shell commands of a job of the workflow, installation left out: the tests run with what is installed."""
    tree = YAML(typ="safe").load(WORKFLOW)
    commands = [step["run"] for step in tree["jobs"][job]["steps"] if "run" in step]
    return [command for command in commands if "make .venv/.ready" not in command]


def test_the_gate_in_ci_is_the_gate_of_the_makefile():
    assert steps("test") == ["make test"]


def test_what_ci_pulls_is_listed_from_the_graph():
    assert sorted(ci.format_deps_to_pull().split()) == sorted(PULLED)


def test_what_git_holds_and_code_are_not_pulled():
    stages = ci.load_stages(ROOT)
    assert [path for path in ci.list_deps_to_pull(stages, "evaluate") if path.endswith(".py")] == []
    judged = ci.DvcStage(deps=("a/metrics.json", "a/big", "a/whole/part.bin"), outs=(), uncached_outs=(), params=())
    made = ci.DvcStage(
        deps=(), outs=("a/metrics.json", "a/big", "a/whole"), uncached_outs=("a/metrics.json",), params=()
    )
    assert ci.list_deps_to_pull({"made": made, "judged": judged}, "judged") == ["a/big", "a/whole/part.bin"]


def test_an_unknown_stage_and_an_unknown_key_are_named(tmp_path, capsys):
    with pytest.raises(InputError, match=r"evaluat: no such stage; dvc\.yaml has fetch, train"):
        ci.format_deps_to_pull("evaluat")
    (tmp_path / "params.yaml").write_text("a: {b: 1}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {x: {deps: ['${a.c}'], outs: [y]}}\n")
    with pytest.raises(InputError, match=r"\$\{a\.c\} is not in params\.yaml"):
        ci.load_stages(tmp_path)
    with pytest.raises(InputError, match="not found"):
        ci.load_stages(tmp_path / "nowhere")


def test_a_fresh_clone_evaluates_the_committed_artifact_without_training_and_gets_the_same_figures(
    finished_run, tmp_path
):
    origin = tiny_project.copy_project(finished_run, tmp_path / "origin")
    tiny_project.git(origin, "init", "--quiet")
    tiny_project.dvc(origin, "commit", "--force")
    tiny_project.dvc(origin, "push", "--remote", "ci", *ci.list_deps_to_pull(ci.load_stages(origin), "evaluate"))
    tiny_project.git(origin, "add", "--all")
    tiny_project.git(origin, "commit", "--quiet", "--message", "the finished run")
    tiny_project.git(tmp_path, "clone", "--quiet", str(origin), "clone")
    clone, runner = tmp_path / "clone", tmp_path / "runner"
    runner.mkdir()
    assert not (clone / "artifacts/fetch/train").exists()
    commands = steps("evaluate")
    said = [
        tiny_project.run_command(clone, "bash", "-e", "-c", command, RUNNER_TEMP=str(runner)).stdout
        for command in commands
    ]
    assert "figures agree" in said[-2]
    assert " 0 FAIL, " in said[-1]
    assert tiny_project.list_files(clone / "artifacts/fetch/train") == ["index.json"]
    assert not (clone / "artifacts/train/model.safetensors").exists()
    found = io.read_json(clone / METRICS)
    io.write_json(clone / METRICS, found | {"val_bpb_plain": found["val_bpb_plain"] + 0.01})
    said = tiny_project.run_command(
        clone, "bash", "-e", "-c", commands[-2], exit_code=1, RUNNER_TEMP=str(runner)
    ).stdout
    assert "val_bpb_plain" in said
    assert "+0.01" in said


GOOD = {
    "headline": "ttt",
    "val_bpb": 1.5,
    "val_bpb_plain_se": None,
    "val_loss": 3.1,
    "val_tokens": 10,
    "implied_bytes": 40.0,
    "artifact_bytes": 1000,
    "eval_seconds": 3.0,
    "verdict": "NOT-RUN",
}


def compared(tmp_path: Path, changes: dict) -> str:
    io.write_json(tmp_path / "before.json", GOOD)
    io.write_json(tmp_path / "after.json", {k: v for k, v in (GOOD | changes).items() if v != "gone"})
    return ci.compare_metrics(tmp_path / "before.json", tmp_path / "after.json")


@pytest.mark.parametrize("changes", [{}, {"eval_seconds": 99.0}, {"val_bpb": 1.5005}, {"implied_bytes": 40 + 1e-12}])
def test_seconds_and_rounding_are_no_difference(tmp_path, changes):
    assert "8 figures agree" in compared(tmp_path, changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val_bpb": 1.502}, r"val_bpb: 1\.5, now 1\.502, \+0\.002; 0\.001 is allowed"),
        ({"val_bpb": None}, r"val_bpb: 1\.5, now None"),
        ({"val_bpb_plain_se": 0.1}, r"val_bpb_plain_se: None, now 0\.1"),
        ({"artifact_bytes": 1001}, r"artifact_bytes: 1000, now 1001, \+1; must be equal"),
        ({"val_tokens": 11}, r"val_tokens: 10, now 11"),
        ({"implied_bytes": 40.01}, "implied_bytes"),
        ({"verdict": "invalid: x"}, "verdict: 'NOT-RUN', now 'invalid: x'"),
        ({"headline": "plain"}, "headline"),
        ({"val_loss": "gone"}, "val_loss: not in the file after"),
        ({"val_bpb_new": 1.0}, "val_bpb_new: not in the file before"),
    ],
)
def test_every_score_and_every_byte_that_differs_is_named_with_its_difference(tmp_path, changes, words):
    with pytest.raises(GolfError, match=words):
        compared(tmp_path, changes)


def test_files_without_scores_do_not_pass_for_equal(tmp_path, capsys):
    io.write_json(tmp_path / "a.json", {"loss": 1.0})
    assert main(["ci", "compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    assert "hold no val_bpb" in capsys.readouterr().err


def test_the_remote_inside_the_repository_holds_all_that_the_committed_lock_names():
    if not (ROOT / "dvc.lock").exists():
        pytest.skip("no run is committed yet: there is no dvc.lock")
    locked = ci.read_yaml(ROOT / "dvc.lock")["stages"]["evaluate"]["deps"]
    wanted = {
        row["path"]: row["md5"]
        for row in locked
        if row["path"] in ci.list_deps_to_pull(ci.load_stages(ROOT), "evaluate")
    }
    assert sorted(wanted) == sorted(PULLED)
    missing = {path: md5 for path, md5 in wanted.items() if not held(md5)}
    assert missing == {}, "run: dvc push -r ci $(python -m golf ci deps)"


def held(md5: str) -> bool:
    """Whether .ci/remote has an object, and of a folder every file."""
    path = ROOT / ".ci/remote/files/md5" / md5[:2] / md5[2:]
    if not path.is_file():
        return False
    if not md5.endswith(".dir"):
        return True
    return all(held(row["md5"]) for row in json.loads(path.read_text(encoding="utf-8")))


def test_the_remote_named_in_the_workflow_is_the_one_that_is_configured():
    config = (ROOT / ".dvc/config").read_text(encoding="utf-8")
    assert re.search(r"\['remote \"ci\"'\]\s+url = \.\./\.ci/remote\n", config)
    assert any("dvc pull -r ci" in command for command in steps("evaluate"))
