"""DVC over the thimble: what a change reruns and what it leaves alone, how a mistake is undone, what one can see."""

import json
import os
import signal
import subprocess

import pytest
import thimble as project
from conftest import ROOT

from golf.ground import store
from golf.looking import ci

STAGES = project.STAGES


@pytest.fixture(scope="module")
def project_folder(finished_run, tmp_path_factory):
    """A Git repository whose dvc.lock takes the finished run for its own, as if dvc repro had made it."""
    folder = project.copy(finished_run, tmp_path_factory.mktemp("dvc") / "project")
    project.git(folder, "init", "--quiet")
    project.dvc(folder, "commit", "--force")
    project.git(folder, "add", "--all")
    project.git(folder, "commit", "--quiet", "--message", "the finished run")
    return folder


@pytest.fixture
def place(project_folder, tmp_path):
    return project.copy(project_folder, tmp_path / "place")


def ran(said: str) -> list[str]:
    """The stages that DVC says it ran, in order."""
    return [name for name in STAGES if f"Running stage '{name}'" in said]


def changed(folder, *targets: str) -> list[str]:
    """The stages that dvc status finds changed."""
    return list(json.loads(project.dvc(folder, "status", "--json", *targets)))


def test_only_metrics_are_uncached_else_dvc_would_keep_no_run_to_return_to():
    for name, tree in ci.read_yaml(ROOT / "dvc.yaml")["stages"].items():
        assert all(isinstance(out, str) for out in tree["outs"]), name


def test_repro_of_what_is_up_to_date_reruns_nothing_and_leaves_git_clean(place):
    said = project.dvc(place, "repro")
    assert ran(said) == []
    assert "Data and pipelines are up to date." in said
    assert project.git(place, "status", "--porcelain") == ""


def test_another_ttt_rate_reruns_ttt_and_evaluate_and_nothing_before_them(place):
    artifact = (place / "artifacts/compress/model.golf").read_bytes()
    said = project.dvc(place, "exp", "run", "-S", "ttt.lr=0.0005")
    assert ran(said) == ["ttt", "evaluate"]
    assert store.read_json(place / "artifacts/ttt/plan.json")["ttt"]["lr"] == 0.0005
    assert (place / "artifacts/compress/model.golf").read_bytes() == artifact
    shown = [row["data"] for row in json.loads(project.dvc(place, "exp", "show", "--json"))]
    assert {row["params"]["params.yaml"]["data"]["ttt"]["lr"] for row in shown} == {0.0005, 0.01}
    assert len({row["metrics"]["artifacts/evaluate/metrics.json"]["data"]["val_bpb"] for row in shown}) == 2


def test_another_clip_reruns_from_quantize_on_and_ttt_stays(place):
    said = project.dvc(place, "exp", "run", "-S", "quantize.matrix_clip=20.0")
    assert ran(said) == ["quantize", "compress", "evaluate"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("golf/score/scorer.py", ["ema", "ttt", "compress", "evaluate"]),
        ("golf/quant/gptq.py", ["quantize"]),
        ("golf/judge.py", ["ema", "ttt", "evaluate"]),
        ("golf/looking/results.py", []),
        ("texts/07.txt", ["fetch"]),
        ("texts/new.txt", ["fetch"]),
    ],
)
def test_an_edited_file_reruns_the_stages_that_read_it_and_no_training_without_need(place, file, expected):
    with open(place / file, "a", encoding="utf-8") as out:
        out.write("\n# a remark\n")
    assert changed(place) == expected


def test_a_user_text_edited_between_two_repros_is_fetched_again(place):
    (place / "texts/07.txt").write_text("Now it says something else.", encoding="utf-8")
    before = store.read_json(place / "artifacts/fetch/manifest.json")["source"]["files"]
    said = project.dvc(place, "repro", "--single-item", "fetch")
    after = store.read_json(place / "artifacts/fetch/manifest.json")["source"]["files"]
    assert ran(said) == ["fetch"]
    assert {name for name in before if before[name] != after[name]} == {"07.txt"}


def test_a_mistyped_value_is_named_and_the_artifact_that_dvc_cleared_comes_back(place):
    weights = place / "artifacts/ttt/model.safetensors"
    before = weights.read_bytes()
    said = project.dvc(place, "exp", "run", "-S", "ttt.lr=abc", code=255)
    assert "ttt.lr: must be a number, got 'abc'" in said
    assert "dvc checkout ttt" in said
    assert "Traceback" not in said
    assert not weights.exists()
    project.git(place, "checkout", "params.yaml")
    project.dvc(place, "checkout", "ttt")
    assert weights.read_bytes() == before


CURVE = [
    {"run": "artifacts", "recipe": recipe, "bytes": size, "ideal": size - 10, "lost": 3.0 / size}
    for recipe in ("record", "columns, rows")
    for size in (400, 600)
]


def test_metrics_and_plots_show_every_figure_that_was_promised(place):
    store.write_table(place / "benchmarks/results/rate_distortion.csv", CURVE)
    shown = json.loads(project.dvc(place, "metrics", "show", "--json"))[""]["data"]
    figures = {path.split("/")[1]: found["data"] for path, found in shown.items()}
    assert figures["train"].keys() >= {"loss", "dev_loss", "tokens_per_second"}
    assert figures["ema"].keys() >= {"dev_bpb_raw", "dev_bpb", "gain"}
    assert figures["ttt"].keys() >= {"bpb_sliding", "bpb_ttt", "gain"}
    assert figures["quantize"].keys() >= {"bits", "error_ratio", "clipped"}
    assert figures["evaluate"].keys() >= {"val_bpb", "artifact_bytes", "limit_bytes", "verdict"}
    plots = json.loads(project.dvc(place, "plots", "show", "--json"))
    assert plots.get("errors", []) == []
    drawn = {name: points(found) for name, found in plots["data"].items()}
    assert {"loss", "dev_loss"} <= {key for point in drawn["Training loss"] for key in point}
    assert [point["step"] for point in drawn["Checkpoints"]][:2] == ["10", "20"]
    assert {point["field"] for point in drawn["Adaptation on dev"]} == {"sliding", "ttt"}
    assert {point["field"] for point in drawn["Score so far"]} == {"plain", "sliding", "ttt"}
    assert {point["field"] for point in drawn["Loss by position"]} == {"plain", "sliding", "ttt"}
    tensors = {point["name"] for point in drawn["Bits per tensor"]}
    assert {"tok_emb.weight", "blocks.0.attn.c_q.weight"} <= tensors
    assert {point["name"] for point in drawn["Output error per tensor"]} == tensors
    columns = drawn["Bits by column"]
    assert {point["tensor"] for point in columns} == tensors
    assert {point["class"] for point in columns} == {"matrix", "embed"}
    assert {int(point["group"]) for point in columns} == set(range(1, 17))
    assert [{key: point[key] for key in CURVE[0]} for point in drawn["Rate–distortion"]] == [
        {key: str(value) for key, value in row.items()} for row in CURVE
    ]
    assert "<DVC" not in json.dumps([plots["data"][name] for name in ("Bits by column", "Rate–distortion")])
    budget = {point["part"]: int(point["bytes"]) for point in drawn["Size budget"]}
    assert {"code", "headroom", "header"} <= budget.keys()
    assert sum(budget.values()) == figures["evaluate"]["limit_bytes"]


def points(found: list[dict]) -> list[dict]:
    """The data points of a plot."""
    return [point for each in found for point in each["content"]["data"]["values"]]


@pytest.mark.soak
def test_a_pipeline_from_nothing_reruns_nothing_the_second_time_and_returns_from_its_cache(tmp_path):
    place = project.lay_out(tmp_path / "place")
    project.git(place, "init", "--quiet")
    assert ran(project.dvc(place, "repro")) == list(STAGES)
    assert ran(project.dvc(place, "repro")) == []
    project.git(place, "add", "--all")
    project.git(place, "commit", "--quiet", "--message", "done")
    artifact = (place / "artifacts/compress/model.golf").read_bytes()
    project.turn(place, {"quantize.embed_clip": 30.0})
    assert ran(project.dvc(place, "repro")) == ["quantize", "compress", "evaluate"]
    project.turn(place, {"quantize.embed_clip": 20.0})
    assert ran(project.dvc(place, "repro")) == []
    assert (place / "artifacts/compress/model.golf").read_bytes() == artifact


@pytest.mark.soak
def test_the_disputed_order_is_two_settings_away_and_drawn_by_dvc_itself(place):
    project.turn(place, {"ttt.stream": "val", "quantize.weights": "ttt"})
    said = project.dvc(place, "dag", "--dot", "compress")
    assert '"ttt" -> "calibrate"' in said
    assert ran(project.dvc(place, "repro")) == ["ttt", "calibrate", "quantize", "compress", "evaluate"]
    assert store.read_json(place / "artifacts/evaluate/metrics.json")["verdict"].startswith("invalid")


STOP = '''"""Ctrl-C on the terminal as soon as an artifact is half-written: SIGINT to the whole process group."""
import os, signal, sys

def stop(event, arguments):
    if event == "tempfile.mkstemp" and ".partial" in str(arguments[0]) and "/stages/" in sys.argv[0]:
        os.killpg(0, signal.SIGINT)

sys.addaudithook(stop)
'''


@pytest.mark.soak
@pytest.mark.parametrize("name", STAGES)
def test_ctrl_c_under_dvc_ends_with_one_message_and_the_command_in_it_brings_everything_back(place, name, tmp_path):
    (tmp_path / "stop").mkdir()
    (tmp_path / "stop" / "sitecustomize.py").write_text(STOP, encoding="utf-8")
    cached = [out for out in ci.graph(place)[name].outs if out not in ci.graph(place)[name].uncached]
    before = {out: snapshot(place / out) for out in cached}
    command = [project.DVC, "repro", "--force", "--single-item", name]
    ended = subprocess.run(
        command,
        cwd=place,
        env=project.environment(place) | {"PYTHONPATH": str(tmp_path / "stop")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert ended.returncode != 0
    assert f"\n{name}: interrupted\n" in ended.stdout
    assert f"dvc checkout {name}" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert not list(place.rglob("*.partial"))
    project.dvc(place, "checkout", name)
    assert {out: snapshot(place / out) for out in cached} == before


def snapshot(path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {name: (path / name).read_bytes() for name in project.files(path)}


@pytest.mark.soak
def test_a_killed_stage_leaves_no_lock_behind_and_the_next_repro_goes_on(place):
    project.turn(place, {"train.steps": 100_000})
    command = [project.DVC, "repro", "train"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(
        command, cwd=place, env=project.environment(place), start_new_session=True, **pipes
    ) as running:
        assert any("tok/s" in line for line in running.stdout)
        os.killpg(running.pid, signal.SIGKILL)
    project.turn(place, {"train.steps": 20})
    project.dvc(place, "repro", "--single-item", "train")
    assert store.read_json(place / "artifacts/train/metrics.json")["steps"] == 20
