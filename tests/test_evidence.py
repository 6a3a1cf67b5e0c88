"""golf/rules/evidence.py: what the files around an artifact say, and each of them damaged"""

import dataclasses
import re

import pytest
import torch
from conftest import ROOT, TINY_SHAPE
from test_ancestry import CODE, GOLF, SIZES, VAL, run

from golf.codec import packing
from golf.ground import lineage, params, store
from golf.ground.errors import BadArtifact, BadInput
from golf.rules import evidence
from golf.rules.evidence import Case, Clock, Told

TTT = dataclasses.replace(params.read(ROOT / "profiles" / "laptop.yaml").ttt, chunk_tokens=64, batch_tokens=32)
PLAN, CLOCK, OTHER = "artifacts/ttt/plan.json", "artifacts/train/clock.json", "artifacts/calibrate/clock.json"


@pytest.fixture(params=["dev"])
def stream(request, tmp_path, monkeypatch) -> str:
    """A run in small in the current folder, its plan tried on this split."""
    monkeypatch.chdir(tmp_path)
    run(request.param)
    write_plan({"stream": f"artifacts/fetch/{request.param}"})
    store.write_json(CLOCK, {"train_seconds": 100.5, "limit_seconds": 120.0, "hardware": "2 × CPU core"})
    store.write_json(OTHER, {"train_seconds": 4.25})
    return request.param


def write_plan(inputs: dict, **changes) -> None:
    origin = lineage.of("ttt", inputs)
    tree = {"ttt": dataclasses.asdict(TTT), "splits_seen": origin["splits_seen"], "lineage": origin}
    store.write_json(PLAN, tree | changes)


def own() -> Case:
    return Case.own(GOLF, CODE, SIZES, PLAN, 32, CLOCK, OTHER)


def test_an_artifact_of_the_pipeline_brings_its_origin_its_plan_and_its_clock(stream):
    case = own()
    assert case.plan == TTT
    assert case.origin == Told(("train", "dev"), (), (42,), ())
    assert case.tried.splits == ("dev",)
    assert case.clock == Clock(104.75, 120.0, "2 × CPU core")
    assert case.caveat("ttt") == case.caveat("plain") == ""


@pytest.mark.parametrize("stream", ["val"], indirect=True)
def test_where_val_is_upstream_the_way_is_told_and_stands_beside_every_score(stream):
    case = own()
    assert case.origin.splits == ("train", "val")
    assert case.origin.chain[0] == VAL
    assert case.origin.chain[-1] == GOLF
    for way in ("plain", "sliding", "ttt"):
        assert case.caveat(way) == " (invalid: val is upstream of the artifact)"


def test_a_plan_that_was_tried_on_val_stands_beside_the_score_that_follows_it(stream):
    write_plan({"stream": VAL})
    case = own()
    assert case.tried.chain == (VAL, PLAN)
    assert case.caveat("ttt") == " (invalid: the plan was tried on val)"
    assert case.caveat("sliding") == ""


@pytest.mark.parametrize("stream", ["val"], indirect=True)
def test_a_split_that_lineage_leaves_out_is_seen_all_the_same(stream):
    path = "artifacts/ttt/model.safetensors"
    tensors, meta = store.load_tensors(path)
    meta["lineage"] = lineage.sealed(meta["lineage"] | {"splits_seen": ["train"]})
    store.save_tensors(path, tensors, kind="weights", meta=meta)

    told = Told.of(path)
    assert told.splits == ("train", "val")
    assert told.understated == (path,)
    assert told.chain == (VAL, path)


def test_a_file_without_lineage_is_of_unknown_origin(stream):
    store.write_bytes("theirs.bin", b"weights")
    assert Told.of("theirs.bin") == Told(("unknown",))
    case = Case.foreign("theirs.bin", "nowhere/plan.json", TTT, 32)
    assert (case.plan, case.origin, case.tried, case.clock) == (TTT, Told(("unknown",)), Told(("unknown",)), None)


@pytest.mark.parametrize("seen", [("train", "dev"), ("train", "val")])
def test_a_copied_golf_file_shows_the_splits_of_its_header_beside_unknown_and_val_stands_beside_every_score(
    stream, seen
):
    packed = packing.pack({"w": torch.ones(2)}, TINY_SHAPE, seen=seen, codec="brotli", quality=5)
    store.write_bytes("theirs.golf", packed)
    case = Case.foreign("theirs.golf", PLAN, TTT, 32)
    assert case.origin == Told((*seen, "unknown"))
    said = " (invalid: val is upstream of the artifact)" if "val" in seen else ""
    assert [case.caveat(way) for way in ("plain", "sliding", "ttt")] == [said] * 3


def test_a_foreign_artifact_is_judged_by_the_plan_that_is_here(stream):
    store.write_bytes("theirs.bin", b"weights")
    case = Case.foreign("theirs.bin", PLAN, dataclasses.replace(TTT, lr=9.0), 32)
    assert (case.plan, case.tried.splits) == (TTT, ("dev",))


def test_a_file_that_is_not_there_is_named(stream):
    with pytest.raises(BadInput, match=r"nowhere\.golf: not found"):
        Told.of("nowhere.golf")


def test_a_file_that_is_not_the_one_weighed_is_refused(stream):
    store.write_bytes(GOLF, b"other")
    with pytest.raises(BadArtifact, match=r"model\.golf: is not the file that compress weighed: 5 bytes of another"):
        own()


def test_code_that_is_not_what_was_weighed_is_refused(stream):
    store.write_bytes(CODE, b"other")
    with pytest.raises(BadArtifact, match=r"code\.tar\.xz: is not the file that compress weighed: 5 bytes of another"):
        own()


def test_an_edited_lineage_is_refused(stream):
    tree = store.read_json(SIZES)
    tree["lineage"]["splits_seen"] = ["train"]
    store.write_json(SIZES, tree)
    with pytest.raises(BadArtifact, match=r"sizes\.json: its lineage does not fit its digest"):
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
    store.write_json(path, store.read_json(path) | harm)
    with pytest.raises(BadArtifact, match=words):
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
    store.write_json(path, {name: value for name, value in store.read_json(path).items() if name != key})
    with pytest.raises(BadArtifact, match=re.escape(path) + f": .*{key}"):
        own()


def test_training_without_a_limit_is_told_as_that(stream):
    store.write_json(CLOCK, store.read_json(CLOCK) | {"limit_seconds": None})
    assert own().clock.limit is None


def test_a_plan_for_windows_of_another_length_is_refused(stream):
    with pytest.raises(BadArtifact, match=r"model\.context 48 does not divide its chunk_tokens"):
        evidence.read_plan(PLAN, 48)
