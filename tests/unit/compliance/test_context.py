"""golf/compliance/context.py: what the files around an artifact say, and each of them damaged"""

import dataclasses
import re

import pytest
import torch

from golf.artifacts import io, lineage
from golf.compliance import context
from golf.compliance.context import ArtifactContext, Origin, TrainingTime
from golf.compression import writer
from golf.config import loader
from golf.errors import ArtifactError, InputError
from tests.helpers.tiny_corpus import ROOT, TINY_MODEL_CONFIG
from tests.unit.artifacts.test_lineage_graph import CODE, GOLF, SIZES, VAL, run

TTT = dataclasses.replace(loader.load_config(ROOT / "profiles" / "laptop.yaml").ttt, chunk_tokens=64, batch_tokens=32)
PLAN, CLOCK, OTHER = "artifacts/ttt/plan.json", "artifacts/train/clock.json", "artifacts/calibrate/clock.json"


@pytest.fixture(params=["dev"])
def stream(request, tmp_path, monkeypatch) -> str:
    """A run in small in the current folder, its plan tried on this split."""
    monkeypatch.chdir(tmp_path)
    run(request.param)
    write_plan({"stream": f"artifacts/fetch/{request.param}"})
    io.write_json(CLOCK, {"train_seconds": 100.5, "limit_seconds": 120.0, "hardware": "2 × CPU core"})
    io.write_json(OTHER, {"train_seconds": 4.25})
    return request.param


def write_plan(inputs: dict, **changes) -> None:
    origin = lineage.make_lineage("ttt", inputs)
    tree = {"ttt": dataclasses.asdict(TTT), "splits_seen": origin["splits_seen"], "lineage": origin}
    io.write_json(PLAN, tree | changes)


def own() -> ArtifactContext:
    return ArtifactContext.from_pipeline(GOLF, CODE, SIZES, PLAN, 32, CLOCK, OTHER)


def test_an_artifact_of_the_pipeline_brings_its_origin_its_plan_and_its_clock(stream):
    case = own()
    assert case.ttt_cfg == TTT
    assert case.origin == Origin(("train", "dev"), (), (42,), ())
    assert case.plan_origin.splits == ("dev",)
    assert case.training_time == TrainingTime(104.75, 120.0, "2 × CPU core")
    assert case.disclaimer("ttt") == case.disclaimer("plain") == ""


@pytest.mark.parametrize("stream", ["val"], indirect=True)
def test_where_val_is_upstream_the_way_is_told_and_stands_beside_every_score(stream):
    case = own()
    assert case.origin.splits == ("train", "val")
    assert case.origin.path_from_val[0] == VAL
    assert case.origin.path_from_val[-1] == GOLF
    for way in ("plain", "sliding", "ttt"):
        assert case.disclaimer(way) == " (invalid: val is upstream of the artifact)"


def test_a_plan_that_was_tried_on_val_stands_beside_the_score_that_follows_it(stream):
    write_plan({"stream": VAL})
    case = own()
    assert case.plan_origin.path_from_val == (VAL, PLAN)
    assert case.disclaimer("ttt") == " (invalid: the plan was tried on val)"
    assert case.disclaimer("sliding") == ""


@pytest.mark.parametrize("stream", ["val"], indirect=True)
def test_a_split_that_lineage_leaves_out_is_seen_all_the_same(stream):
    path = "artifacts/ttt/model.safetensors"
    tensors, meta = io.load_tensors(path)
    meta["lineage"] = lineage.with_digest(meta["lineage"] | {"splits_seen": ["train"]})
    io.save_tensors(path, tensors, kind="weights", meta=meta)

    told = Origin.from_file(path)
    assert told.splits == ("train", "val")
    assert told.underreported == (path,)
    assert told.path_from_val == (VAL, path)


def test_a_file_without_lineage_is_of_unknown_origin(stream):
    io.write_bytes("theirs.bin", b"weights")
    assert Origin.from_file("theirs.bin") == Origin(("unknown",))
    case = ArtifactContext.from_external("theirs.bin", "nowhere/plan.json", TTT, 32)
    assert (case.ttt_cfg, case.origin, case.plan_origin, case.training_time) == (
        TTT,
        Origin(("unknown",)),
        Origin(("unknown",)),
        None,
    )


@pytest.mark.parametrize("seen", [("train", "dev"), ("train", "val")])
def test_a_copied_golf_file_shows_the_splits_of_its_header_beside_unknown_and_val_stands_beside_every_score(
    stream, seen
):
    packed = writer.pack(
        {"w": torch.ones(2)}, TINY_MODEL_CONFIG, upstream_splits=seen, codec="brotli", brotli_quality=5
    )
    io.write_bytes("theirs.golf", packed)
    case = ArtifactContext.from_external("theirs.golf", PLAN, TTT, 32)
    assert case.origin == Origin((*seen, "unknown"))
    said = " (invalid: val is upstream of the artifact)" if "val" in seen else ""
    assert [case.disclaimer(way) for way in ("plain", "sliding", "ttt")] == [said] * 3


def test_a_foreign_artifact_is_judged_by_the_plan_that_is_here(stream):
    io.write_bytes("theirs.bin", b"weights")
    case = ArtifactContext.from_external("theirs.bin", PLAN, dataclasses.replace(TTT, lr=9.0), 32)
    assert (case.ttt_cfg, case.plan_origin.splits) == (TTT, ("dev",))


def test_a_file_that_is_not_there_is_named(stream):
    with pytest.raises(InputError, match=r"nowhere\.golf: not found"):
        Origin.from_file("nowhere.golf")


def test_a_file_that_is_not_the_one_weighed_is_refused(stream):
    io.write_bytes(GOLF, b"other")
    with pytest.raises(ArtifactError, match=r"model\.golf: is not the file that compress weighed: 5 bytes of another"):
        own()


def test_code_that_is_not_what_was_weighed_is_refused(stream):
    io.write_bytes(CODE, b"other")
    with pytest.raises(
        ArtifactError, match=r"code\.tar\.xz: is not the file that compress weighed: 5 bytes of another"
    ):
        own()


def test_an_edited_lineage_is_refused(stream):
    tree = io.read_json(SIZES)
    tree["lineage"]["splits_seen"] = ["train"]
    io.write_json(SIZES, tree)
    with pytest.raises(ArtifactError, match=r"sizes\.json: its lineage does not fit its digest"):
        own()


@pytest.mark.parametrize(
    ("path", "harm", "words"),
    [
        (SIZES, {"payload_sha256": 3}, r"sizes\.json: payload_sha256: got 3"),
        (CLOCK, {"train_seconds": "long"}, r"train/clock\.json: train_seconds: got 'long'"),
        (CLOCK, {"train_seconds": None}, r"train/clock\.json: train_seconds: got None"),
        (CLOCK, {"hardware": None}, r"train/clock\.json: hardware: got None"),
        (OTHER, {"train_seconds": []}, r"calibrate/clock\.json: train_seconds: got \[\]"),
        (PLAN, {"more": 1}, r"plan\.json: more: unknown key"),
        (PLAN, {"ttt": {"lr": "high"}}, r"plan\.json: .*ttt\.lr: must be a number"),
        (PLAN, {"lineage": []}, r"plan\.json: lineage: got \[\]"),
    ],
)
def test_a_file_that_says_something_else_than_it_should_is_named_with_its_key(stream, path, harm, words):
    io.write_json(path, io.read_json(path) | harm)
    with pytest.raises(ArtifactError, match=words):
        own()


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (SIZES, "payload_sha256"),
        (SIZES, "code_sha256"),
        (CLOCK, "limit_seconds"),
        (OTHER, "train_seconds"),
        (PLAN, "lineage"),
    ],
)
def test_a_file_that_lacks_a_key_is_named_with_it(stream, path, key):
    io.write_json(path, {name: value for name, value in io.read_json(path).items() if name != key})
    with pytest.raises(ArtifactError, match=re.escape(path) + f": .*{key}"):
        own()


def test_training_without_a_limit_is_told_as_that(stream):
    io.write_json(CLOCK, io.read_json(CLOCK) | {"limit_seconds": None})
    assert own().training_time.limit_s is None


def test_a_plan_for_windows_of_another_length_is_refused(stream):
    with pytest.raises(ArtifactError, match=r"model\.context_length 48 does not divide its chunk_tokens"):
        context.read_plan(PLAN, 48)
