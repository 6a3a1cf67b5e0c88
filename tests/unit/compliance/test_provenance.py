"""golf/compliance/provenance.py: what the files around an artifact say, and each of them damaged"""

import dataclasses
import re

import pytest
import torch

from golf.artifacts import io, json_records, lineage
from golf.compliance import provenance
from golf.compliance.provenance import ArtifactProvenance, Origin, TrainingTime
from golf.compression import writer
from golf.config import loader
from golf.config.adaptation import TTTPlan
from golf.errors import ArtifactError
from tests.helpers.lineage_files import BUNDLE, CODE, GOLF, SIZES, VAL, write_run
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG

LAPTOP = loader.load_config(ROOT / "profiles" / "laptop.yaml")
TTT = TTTPlan.from_sections(
    dataclasses.replace(LAPTOP.ttt, chunk_tokens=64, batch_tokens=32), LAPTOP.lora, LAPTOP.phased
)
MEMORY = LAPTOP.memory
PLAN, TRAIN_TIMING, OTHER_TIMING = (
    "artifacts/ttt/plan.json",
    "artifacts/train/timing.json",
    "artifacts/calibrate/timing.json",
)


@pytest.fixture(params=["dev"])
def stream(request, tmp_path, monkeypatch) -> str:
    """A small run in the current folder, whose plan was tried on this split."""
    monkeypatch.chdir(tmp_path)
    write_run(request.param)
    write_plan({"stream": f"artifacts/fetch/{request.param}"})
    json_records.write_sealed(
        TRAIN_TIMING, {"train_seconds": 100.5, "limit_seconds": 120.0, "hardware": "2 × CPU core"}
    )
    json_records.write_sealed(OTHER_TIMING, {"train_seconds": 4.25})
    json_records.write_sealed(SIZES, io.read_json(SIZES))
    return request.param


def write_plan(inputs: dict) -> None:
    origin = lineage.make_lineage("ttt", inputs, TTT, MEMORY)
    plan = {"ttt": dataclasses.asdict(TTT), "memory": dataclasses.asdict(MEMORY)}
    io.write_json(PLAN, plan | {"splits_seen": origin["splits_seen"], "lineage": origin})


def read_own() -> ArtifactProvenance:
    return ArtifactProvenance.from_pipeline(GOLF, CODE, BUNDLE, SIZES, PLAN, 32, TRAIN_TIMING, OTHER_TIMING)


def test_the_pipelines_artifact_has_an_origin_a_plan_and_a_training_time(stream):
    artifact = read_own()
    assert (artifact.ttt_cfg, artifact.memory_cfg) == (TTT, MEMORY)
    assert artifact.origin == Origin(("train", "dev"), (), (42,), ())
    assert artifact.plan_origin.splits == ("dev",)
    assert artifact.training_time == TrainingTime(104.75, 120.0, "2 × CPU core")
    assert artifact.disclaimer("ttt") == artifact.disclaimer("plain") == ""


@pytest.mark.parametrize("stream", ["val"], indirect=True)
def test_where_val_is_upstream_its_path_is_known_and_every_score_has_a_disclaimer(stream):
    artifact = read_own()
    assert artifact.origin.splits == ("train", "val")
    assert artifact.origin.path_from_val[0] == VAL
    assert artifact.origin.path_from_val[-1] == GOLF
    for mode in ("plain", "sliding", "ttt"):
        assert artifact.disclaimer(mode) == "invalid: val is upstream of the artifact"


def test_a_plan_that_was_tried_on_val_gives_the_ttt_score_a_disclaimer(stream):
    write_plan({"stream": VAL})
    artifact = read_own()
    assert artifact.plan_origin.path_from_val == (VAL, PLAN)
    assert artifact.disclaimer("ttt") == "invalid: the plan was tried on val"
    assert artifact.disclaimer("sliding") == ""


@pytest.mark.parametrize("stream", ["val"], indirect=True)
def test_a_split_that_lineage_leaves_out_is_found_in_its_inputs(stream):
    path = "artifacts/ttt/model.safetensors"
    tensors, meta = io.load_tensors(path)
    meta["lineage"] = lineage.with_digest(meta["lineage"] | {"splits_seen": ["train"]})
    io.save_tensors(path, tensors, kind="weights", meta=meta)

    origin = Origin.from_file(path)
    assert origin.splits == ("train", "val")
    assert origin.underreported == (path,)
    assert origin.path_from_val == (VAL, path)


def test_a_file_without_lineage_is_of_unknown_origin(stream):
    io.write_bytes("external.bin", b"weights")
    assert Origin.from_file("external.bin") == Origin(("unknown",))
    artifact = ArtifactProvenance.from_external("external.bin", "nowhere/plan.json", (TTT, MEMORY), 32)
    assert (artifact.ttt_cfg, artifact.origin, artifact.plan_origin, artifact.training_time) == (
        TTT,
        Origin(("unknown",)),
        Origin(("unknown",)),
        None,
    )


@pytest.mark.parametrize("seen", [("train", "dev"), ("train", "val")])
def test_a_copied_golf_file_has_the_splits_of_its_header_beside_unknown(stream, seen):
    packed = writer.pack(
        {"w": torch.ones(2)}, TINY_MODEL_CONFIG, upstream_splits=seen, codec="brotli", brotli_quality=5
    )
    io.write_bytes("external.golf", packed)
    artifact = ArtifactProvenance.from_external("external.golf", PLAN, (TTT, MEMORY), 32)
    assert artifact.origin == Origin((*seen, "unknown"))
    disclaimer = "invalid: val is upstream of the artifact" if "val" in seen else ""
    assert [artifact.disclaimer(mode) for mode in ("plain", "sliding", "ttt")] == [disclaimer] * 3


def test_an_external_artifact_follows_the_local_plan(stream):
    io.write_bytes("external.bin", b"weights")
    artifact = ArtifactProvenance.from_external("external.bin", PLAN, (dataclasses.replace(TTT, lr=9.0), MEMORY), 32)
    assert (artifact.ttt_cfg, artifact.plan_origin.splits) == (TTT, ("dev",))


def test_a_missing_file_is_named(stream):
    with pytest.raises(ArtifactError, match=r"nowhere\.golf: not found: it must be an artifact or a split folder"):
        Origin.from_file("nowhere.golf")


def test_a_file_that_is_not_the_one_weighed_is_refused(stream):
    io.write_bytes(GOLF, b"other")
    with pytest.raises(ArtifactError, match=r"model\.golf: is not the file that compress weighed: 5 bytes of another"):
        read_own()


def test_code_that_is_not_what_was_weighed_is_refused(stream):
    io.write_bytes(CODE, b"other")
    with pytest.raises(
        ArtifactError, match=r"code\.tar\.xz: is not the file that compress weighed: 5 bytes of another"
    ):
        read_own()


def test_an_edited_lineage_is_refused(stream):
    tree = io.read_json(SIZES)
    tree["lineage"]["splits_seen"] = ["train"]
    json_records.write_sealed(SIZES, tree)
    with pytest.raises(ArtifactError, match=r"sizes\.json: the lineage does not match its digest"):
        read_own()


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        (SIZES, {"payload_sha256": 3}, r"sizes\.json: payload_sha256: must be text, got 3"),
        (
            TRAIN_TIMING,
            {"train_seconds": "long"},
            r"train/timing\.json: train_seconds: must be a number, got 'long'",
        ),
        (TRAIN_TIMING, {"train_seconds": None}, r"train/timing\.json: train_seconds: must be a number, got nothing"),
        (TRAIN_TIMING, {"hardware": None}, r"train/timing\.json: hardware: must be text, got nothing"),
        (OTHER_TIMING, {"train_seconds": []}, r"calibrate/timing\.json: train_seconds: must be a number, got \[\]"),
        (TRAIN_TIMING, {"train_seconds": -9000.0}, r"train_seconds: must be at least 0 and at most .*, got -9000\.0"),
        (OTHER_TIMING, {"train_seconds": 1e308}, r"train_seconds: must be at least 0 and at most .*, got 1e\+308"),
        (OTHER_TIMING, {"train_seconds": True}, r"train_seconds: must be a number, got True"),
        (TRAIN_TIMING, {"limit_seconds": -1}, r"limit_seconds: must be at least 0 .*, got -1"),
        (PLAN, {"more": 1}, r"plan\.json: more: unknown key"),
        (PLAN, {"ttt": {"lr": "high"}}, r"plan\.json: .*ttt\.lr: must be a number"),
        (PLAN, {"lineage": []}, r"plan\.json: lineage: must be an object, got \[\]"),
    ],
)
def test_a_file_with_a_mistyped_key_is_named_with_it(stream, path, change, words):
    write = io.write_json if path == PLAN else json_records.write_sealed
    write(path, io.read_json(path) | change)
    with pytest.raises(ArtifactError, match=words):
        read_own()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (SIZES, "payload_sha256"),
        (SIZES, "code_sha256"),
        (SIZES, "bundle_sha256"),
        (TRAIN_TIMING, "limit_seconds"),
        (OTHER_TIMING, "train_seconds"),
        (PLAN, "lineage"),
    ],
)
def test_a_file_that_lacks_a_key_is_named_with_it(stream, path, key):
    io.write_json(path, {name: value for name, value in io.read_json(path).items() if name != key})
    with pytest.raises(ArtifactError, match=re.escape(path) + f": .*{key}"):
        read_own()


@pytest.mark.parametrize("path", [TRAIN_TIMING, OTHER_TIMING, SIZES])
def test_a_file_whose_values_were_edited_within_their_range_does_not_match_its_digest(stream, path):
    edited = {"train_seconds": 4.5} if "timing" in path else {"payload_sha256": "0" * 64}
    io.write_json(path, io.read_json(path) | edited)
    with pytest.raises(ArtifactError, match=re.escape(path) + ": does not match its digest: it was edited; restore it"):
        read_own()


@pytest.mark.parametrize(("section", "change"), [("ttt", {"lr": 0.05}), ("memory", {"max_successors": 9})])
def test_a_plan_whose_parameters_are_not_those_of_its_lineage_is_refused(stream, section, change):
    plan = io.read_json(PLAN)
    assert change.items().isdisjoint(plan[section].items())
    io.write_json(PLAN, plan | {section: plan[section] | change})
    words = r"plan\.json: ttt and memory are not the parameters that its lineage .*; set ttt and memory in params\.yaml"
    with pytest.raises(ArtifactError, match=words):
        read_own()


def test_training_without_a_limit_has_none(stream):
    json_records.write_sealed(TRAIN_TIMING, io.read_json(TRAIN_TIMING) | {"limit_seconds": None})
    assert read_own().training_time.limit_s is None


def test_a_plan_for_windows_of_another_length_is_refused(stream):
    with pytest.raises(ArtifactError, match=r"its chunk_tokens is 64, no multiple of model\.context_length 48"):
        provenance.read_plan(PLAN, 48)
