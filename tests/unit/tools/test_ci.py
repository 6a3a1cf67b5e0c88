"""tools/ci.py: the resolved graph of dvc.yaml, the files a clone pulls, and the comparison of two metrics.json."""

import pytest

from golf.artifacts import io
from golf.errors import GolfError, InputError
from tests.helpers.tiny_corpus import ROOT
from tools import ci

STAGES = ("fetch", "train", "ema", "ttt", "calibrate", "quantize", "compress", "evaluate")
VAL = "artifacts/fetch/val"
EVALUATE_INPUTS = {
    "artifacts/compress/model.golf",
    "artifacts/compress/code.tar.xz",
    "artifacts/compress/bundle.pyz",
    "artifacts/compress/sizes.json",
    "artifacts/fetch/train/index.json",
    "artifacts/fetch/dev/index.json",
    "artifacts/fetch/val",
    "artifacts/fetch/tokenizer.model",
    "artifacts/fetch/manifest.json",
    "artifacts/ttt/plan.json",
    "artifacts/ttt/timing.json",
    "artifacts/train/timing.json",
    "artifacts/calibrate/timing.json",
    "artifacts/quantize/timing.json",
}
METRICS = {
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


def load_laptop_stages(**overrides):
    """The stages of dvc.yaml with the laptop profile. overrides: values by dotted key, dots as ``__``."""
    params = ci.read_yaml(ROOT / "profiles/laptop.yaml")
    for key, value in overrides.items():
        section, name = key.split("__")
        params[section][name] = value
    return ci.resolve_stages(ci.read_yaml(ROOT / "dvc.yaml"), params)


def test_stages_are_in_the_order_in_which_they_run():
    stages = load_laptop_stages()
    assert tuple(stages) == STAGES
    for name, stage in stages.items():
        produced = {out for earlier in STAGES[: STAGES.index(name)] for out in stages[earlier].outs}
        for path in stage.deps:
            if path.startswith("artifacts/"):
                assert any(ci.is_within(path, out) for out in produced), f"{name} reads {path} before it is written"


def test_only_metrics_are_uncached_so_that_dvc_keeps_every_run():
    for name, stage in ci.read_yaml(ROOT / "dvc.yaml")["stages"].items():
        assert all(isinstance(out, str) for out in stage["outs"]), name


def test_no_val_byte_can_reach_the_artifact():
    stages = load_laptop_stages()
    assert VAL in ci.collect_upstream(stages, "evaluate")
    for name in STAGES[1:-1]:
        assert VAL not in ci.collect_upstream(stages, name), name
    assert "artifacts/fetch/manifest.json" not in ci.collect_upstream(stages, "compress")


@pytest.mark.parametrize(("stream", "reaches"), [("val", True), ("dev", False)])
def test_graph_shows_when_val_is_upstream_of_the_artifact(stream, reaches):
    stages = load_laptop_stages(quantize__weights="ttt", ttt__stream=stream)
    assert (VAL in ci.collect_upstream(stages, "compress")) is reaches


def test_a_clone_pulls_evaluates_inputs_and_the_remote_also_holds_ledger_and_weights():
    stages = load_laptop_stages()
    assert {*ci.list_deps_to_pull(stages, "evaluate")} == EVALUATE_INPUTS
    assert {*ci.list_paths_to_push(stages)} == EVALUATE_INPUTS | {ci.PLAIN_LEDGER, ci.AVERAGED_WEIGHTS}


def test_what_git_holds_is_not_pulled():
    deps = ("a/metrics.json", "a/big", "a/whole/part.bin", "a.py")
    reader = ci.DvcStage(deps=deps, outs=(), uncached_outs=(), params=())
    writer = ci.DvcStage(
        deps=(), outs=("a/metrics.json", "a/big", "a/whole"), uncached_outs=("a/metrics.json",), params=()
    )
    assert ci.list_deps_to_pull({"writer": writer, "reader": reader}, "reader") == ["a/big", "a/whole/part.bin"]


def test_unknown_stages_keys_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"evaluat: no such stage; dvc\.yaml has fetch, train"):
        ci.list_deps_to_pull(load_laptop_stages(), "evaluat")
    (tmp_path / "params.yaml").write_text("a: {b: 1}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {x: {deps: ['${a.c}'], outs: [y]}}\n")
    with pytest.raises(InputError, match=r"\$\{a\.c\} is not in params\.yaml"):
        ci.load_stages(tmp_path)
    with pytest.raises(InputError, match="not found"):
        ci.load_stages(tmp_path / "nowhere")


def compare(tmp_path, changes: dict) -> str:
    io.write_json(tmp_path / "before.json", METRICS)
    io.write_json(tmp_path / "after.json", {k: v for k, v in (METRICS | changes).items() if v != "absent"})
    return ci.compare_metrics(tmp_path / "before.json", tmp_path / "after.json")


@pytest.mark.parametrize("changes", [{}, {"eval_seconds": 99.0}, {"val_bpb": 1.5005}, {"implied_bytes": 40 + 1e-12}])
def test_seconds_and_rounding_are_no_difference(tmp_path, changes):
    assert "8 figures agree" in compare(tmp_path, changes)


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
        ({"val_loss": "absent"}, "val_loss: missing in the file after"),
        ({"val_bpb_new": 1.0}, "val_bpb_new: missing in the file before"),
    ],
)
def test_every_score_and_byte_count_that_differs_is_named_with_its_difference(tmp_path, changes, words):
    with pytest.raises(GolfError, match=words):
        compare(tmp_path, changes)


def test_files_without_scores_are_refused(tmp_path, capsys):
    io.write_json(tmp_path / "a.json", {"loss": 1.0})
    assert ci.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    assert "neither holds a val_bpb" in capsys.readouterr().err
