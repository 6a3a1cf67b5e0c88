"""DVC over a tiny project: what a change reruns, how a mistake is undone, and which metrics and plots it shows."""

import json
import os
import shutil
import signal
import subprocess

import pytest

from golf.artifacts import io
from tests.helpers import tiny_project
from tests.helpers.tiny_corpus import ROOT
from tools import ci

STAGES = tiny_project.STAGES


@pytest.fixture(scope="module")
def project_folder(finished_run, tmp_path_factory):
    """A Git repository with the finished run in its dvc.lock, as if dvc repro had made it."""
    folder = tiny_project.copy_project(finished_run, tmp_path_factory.mktemp("dvc") / "project")
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.dvc(folder, "commit", "--force")
    tiny_project.git(folder, "add", "--all")
    tiny_project.git(folder, "commit", "--quiet", "--message", "the finished run")
    return folder


@pytest.fixture
def project_dir(project_folder, tmp_path):
    return tiny_project.copy_project(project_folder, tmp_path / "project")


def list_run_stages(output: str) -> list[str]:
    """The stages that DVC reports as run, in order."""
    return [name for name in STAGES if f"Running stage '{name}'" in output]


def list_changed_stages(folder, *targets: str) -> list[str]:
    """The stages that dvc status reports as changed."""
    return list(json.loads(tiny_project.dvc(folder, "status", "--json", *targets)))


def test_repro_of_an_unchanged_project_runs_nothing_and_leaves_git_clean(project_dir):
    output = tiny_project.dvc(project_dir, "repro")
    assert list_run_stages(output) == []
    assert "Data and pipelines are up to date." in output
    assert tiny_project.git(project_dir, "status", "--porcelain") == ""


def test_new_ttt_rate_reruns_no_training_and_keeps_the_artifact(project_dir):
    artifact = (project_dir / "artifacts/compress/model.golf").read_bytes()
    output = tiny_project.dvc(project_dir, "exp", "run", "-S", "ttt.lr=0.0005")
    assert list_run_stages(output) == ["ttt", "compress", "evaluate"], "compress's bundle holds all parameters"
    assert io.read_json(project_dir / "artifacts/ttt/plan.json")["ttt"]["lr"] == 0.0005
    assert (project_dir / "artifacts/compress/model.golf").read_bytes() == artifact
    shown = [row["data"] for row in json.loads(tiny_project.dvc(project_dir, "exp", "show", "--json"))]
    assert {row["params"]["params.yaml"]["data"]["ttt"]["lr"] for row in shown} == {0.0005, 0.01}
    assert len({row["metrics"]["artifacts/evaluate/metrics.json"]["data"]["val_bpb"] for row in shown}) == 2


def test_new_clip_reruns_quantize_compress_and_evaluate_only(project_dir):
    output = tiny_project.dvc(project_dir, "exp", "run", "-S", "quantize.matrix_clip=20.0")
    assert list_run_stages(output) == ["quantize", "compress", "evaluate"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("golf/inference/scorer.py", ["ttt", "compress", "evaluate"]),
        ("golf/quantization/gptq.py", ["quantize", "compress"]),
        ("golf/evaluation/scoring_loop.py", ["ttt", "compress", "evaluate"]),
        ("golf/cli/results.py", []),
        ("texts/07.txt", ["fetch"]),
        ("texts/new.txt", ["fetch"]),
    ],
)
def test_edited_file_changes_the_stages_that_read_it(project_dir, file, expected):
    with open(project_dir / file, "a", encoding="utf-8") as out:
        out.write("\n# a remark\n")
    assert list_changed_stages(project_dir) == expected


def test_edited_text_is_fetched_again(project_dir):
    (project_dir / "texts/07.txt").write_text("Now it says something else.", encoding="utf-8")
    before = io.read_json(project_dir / "artifacts/fetch/manifest.json")["source"]["files"]
    output = tiny_project.dvc(project_dir, "repro", "--single-item", "fetch")
    after = io.read_json(project_dir / "artifacts/fetch/manifest.json")["source"]["files"]
    assert list_run_stages(output) == ["fetch"]
    assert {name for name in before if before[name] != after[name]} == {"07.txt"}


def test_mistyped_value_is_named_and_dvc_checkout_restores_the_artifact(project_dir):
    weights = project_dir / "artifacts/ttt/model.safetensors"
    before = weights.read_bytes()
    output = tiny_project.dvc(project_dir, "exp", "run", "-S", "ttt.lr=abc", exit_code=255)
    assert "ttt.lr: must be a number, got 'abc'" in output
    assert "dvc checkout ttt" in output
    assert "Traceback" not in output
    assert not weights.exists()
    tiny_project.git(project_dir, "checkout", "params.yaml")
    tiny_project.dvc(project_dir, "checkout", "ttt")
    assert weights.read_bytes() == before


CURVE = [
    {"run": "artifacts", "recipe": recipe, "bytes": size, "order_0_bytes": size - 10, "bpb_increase": 3.0 / size}
    for recipe in ("baseline", "column grid")
    for size in (400, 600)
]


def test_metrics_and_plots_show_every_declared_figure(project_dir):
    io.write_csv(project_dir / "benchmarks/results/rate_distortion.csv", CURVE)
    shown = json.loads(tiny_project.dvc(project_dir, "metrics", "show", "--json"))[""]["data"]
    figures = {path.split("/")[1]: entry["data"] for path, entry in shown.items()}
    assert figures["train"].keys() >= {"loss", "dev_loss", "tokens_per_second"}
    assert figures["ema"].keys() >= {"dev_bpb_raw", "dev_bpb", "gain"}
    assert figures["ttt"].keys() >= {"bpb_sliding", "bpb_ttt", "gain"}
    assert figures["quantize"].keys() >= {"bits_per_weight", "error_vs_rtn", "clipped_frac"}
    assert figures["evaluate"].keys() >= {"val_bpb", "artifact_bytes", "limit_bytes", "verdict"}
    plots = json.loads(tiny_project.dvc(project_dir, "plots", "show", "--json"))
    assert plots.get("errors", []) == []
    drawn = {name: list_points(plot) for name, plot in plots["data"].items()}
    assert {"loss", "dev_loss"} <= {key for point in drawn["Training loss"] for key in point}
    assert [point["step"] for point in drawn["Checkpoints"]][:2] == ["10", "20"]
    assert {point["field"] for point in drawn["Adaptation on dev"]} == {"sliding", "ttt"}
    assert {point["field"] for point in drawn["Running score"]} == {"plain", "sliding", "ttt"}
    assert {point["field"] for point in drawn["Loss by position"]} == {"plain", "sliding", "ttt"}
    tensors = {point["tensor"] for point in drawn["Bits per tensor"]}
    assert {"tok_emb.weight", "blocks.0.attn.c_q.weight"} <= tensors
    assert {point["tensor"] for point in drawn["Output error per tensor"]} == tensors
    columns = drawn["Bits by column"]
    assert {point["tensor"] for point in columns} == tensors
    assert {point["kind"] for point in columns} == {"matrix", "embed"}
    assert {int(point["group"]) for point in columns} == set(range(1, 17))
    assert [{key: point[key] for key in CURVE[0]} for point in drawn["Rate–distortion"]] == [
        {key: str(value) for key, value in row.items()} for row in CURVE
    ]
    assert "<DVC" not in json.dumps([plots["data"][name] for name in ("Bits by column", "Rate–distortion")])
    budget = {point["part"]: int(point["bytes"]) for point in drawn["Size budget"]}
    assert {"code", "headroom", "header"} <= budget.keys()
    assert sum(budget.values()) == figures["evaluate"]["limit_bytes"]


def list_points(plot: list[dict]) -> list[dict]:
    """The data points of a plot."""
    return [point for part in plot for point in part["content"]["data"]["values"]]


@pytest.mark.soak
def test_pipeline_runs_once_and_returns_from_its_cache(tmp_path):
    folder = tiny_project.create_project(tmp_path / "project")
    tiny_project.git(folder, "init", "--quiet")
    assert list_run_stages(tiny_project.dvc(folder, "repro")) == list(STAGES)
    assert list_run_stages(tiny_project.dvc(folder, "repro")) == []
    tiny_project.git(folder, "add", "--all")
    tiny_project.git(folder, "commit", "--quiet", "--message", "done")
    artifact = (folder / "artifacts/compress/model.golf").read_bytes()
    tiny_project.set_params(folder, {"quantize.embed_clip": 30.0})
    assert list_run_stages(tiny_project.dvc(folder, "repro")) == ["quantize", "compress", "evaluate"]
    tiny_project.set_params(folder, {"quantize.embed_clip": 20.0})
    assert list_run_stages(tiny_project.dvc(folder, "repro")) == []
    assert (folder / "artifacts/compress/model.golf").read_bytes() == artifact


@pytest.mark.soak
def test_disputed_order_is_two_settings_away_and_shown_by_dvc_dag(project_dir):
    tiny_project.set_params(project_dir, {"ttt.stream": "val", "quantize.weights": "ttt"})
    output = tiny_project.dvc(project_dir, "dag", "--dot", "compress")
    assert '"ttt" -> "calibrate"' in output
    assert list_run_stages(tiny_project.dvc(project_dir, "repro")) == [
        "ttt",
        "calibrate",
        "quantize",
        "compress",
        "evaluate",
    ]
    assert io.read_json(project_dir / "artifacts/evaluate/metrics.json")["verdict"].startswith("invalid")


@pytest.mark.soak
@pytest.mark.parametrize("name", STAGES)
def test_ctrl_c_under_dvc_gives_one_message_whose_command_restores_everything(project_dir, name, tmp_path):
    (tmp_path / "stop").mkdir()
    shutil.copy(ROOT / "tests/helpers/programs/interrupt_write.py", tmp_path / "stop" / "sitecustomize.py")
    cached = [
        out
        for out in ci.load_stages(project_dir)[name].outs
        if out not in ci.load_stages(project_dir)[name].uncached_outs
    ]
    before = {out: snapshot(project_dir / out) for out in cached}
    command = [tiny_project.DVC_EXECUTABLE, "repro", "--force", "--single-item", name]
    completed = subprocess.run(
        command,
        cwd=project_dir,
        env=tiny_project.isolated_env(project_dir) | {"PYTHONPATH": str(tmp_path / "stop")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert completed.returncode != 0
    assert f"\n{name}: interrupted\n" in completed.stdout
    assert f"dvc checkout {name}" in completed.stdout
    assert "Traceback" not in completed.stdout
    assert not list(project_dir.rglob("*.partial"))
    tiny_project.dvc(project_dir, "checkout", name)
    assert {out: snapshot(project_dir / out) for out in cached} == before


def snapshot(path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {name: (path / name).read_bytes() for name in tiny_project.list_files(path)}


@pytest.mark.soak
def test_killed_stage_leaves_no_lock_and_the_next_repro_works(project_dir):
    tiny_project.set_params(project_dir, {"train.steps": 100_000})
    command = [tiny_project.DVC_EXECUTABLE, "repro", "train"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(
        command, cwd=project_dir, env=tiny_project.isolated_env(project_dir), start_new_session=True, **pipes
    ) as running:
        assert any("tok/s" in line for line in running.stdout)
        os.killpg(running.pid, signal.SIGKILL)
    tiny_project.set_params(project_dir, {"train.steps": 20})
    tiny_project.dvc(project_dir, "repro", "--single-item", "train")
    assert io.read_json(project_dir / "artifacts/train/metrics.json")["steps"] == 20
