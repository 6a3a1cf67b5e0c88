import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from golf import judge
from golf.codec.container import Header
from golf.ground import store
from golf.ground.errors import BadArtifact

PLAN = SimpleNamespace(chunk_tokens=20, stride=4)
STREAM = judge.Stream(np.arange(2, 53, dtype=np.uint16), np.full(50, 3), bos=1)


class Recorder:
    """A method that knows how it was begun and scores by that."""

    def __init__(self):
        self.begun = []

    def begin(self, **how):
        self.begun.append(how)

    def score(self, prefix, chunk):
        return np.full(len(chunk), 1.0 / len(self.begun))

    def update(self, sealed):
        pass


def judged():
    method = Recorder()
    how = {"plan": PLAN, "stride": 2, "context": 8, "quiet": True, "stage": "evaluate"}
    return method, judge.judge_all(method, STREAM, headline="ttt", **how)


def test_the_headline_is_judged_first_and_each_way_once():
    method, found = judged()

    assert list(found) == ["ttt", "plain", "sliding"]
    assert [how["stride"] for how in method.begun] == [4, 8, 2]  # the plan's, the context, evaluate's


def test_only_the_way_that_learns_is_given_the_plan():
    method, _ = judged()

    assert [how["plan"] for how in method.begun] == [PLAN, None, None]
    assert {how["chunks"] for how in method.begun} == {3}


def test_the_headline_figure_is_the_way_that_was_named_and_never_the_best():
    _, found = judged()
    figures = judge.figures(found, "ttt")

    assert figures["val_bpb"] == figures["val_bpb_ttt"] > figures["val_bpb_sliding"]
    assert figures["val_bytes"] == 150
    assert figures["val_tokens"] == 50


def test_curves_have_one_column_for_each_way():
    _, found = judged()

    assert set(judge.bpb_so_far(found)[0]) == {"tokens", "plain", "sliding", "ttt"}
    assert set(judge.loss_by_position(found)[0]) == {"position", "plain", "sliding", "ttt"}


def test_ledgers_are_written_for_each_way(tmp_path):
    _, found = judged()
    judge.save_ledgers(found, tmp_path, stream="val")

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{w}.safetensors" for w in ("plain", "sliding", "ttt")]


def test_training_seconds_are_added_over_the_stages_that_read_training_text(tmp_path):
    store.write_json(tmp_path / "a.json", {"train_seconds": 100.5, "limit_seconds": 120.0})
    store.write_json(tmp_path / "b.json", {"train_seconds": 4.25})

    assert judge.clocks(tmp_path / "a.json", tmp_path / "b.json") == {
        "train_seconds": 104.75,
        "train_limit_seconds": 120.0,
    }


@pytest.fixture
def artifact(tmp_path, tiny_shape):
    """A file, its header, and what compress said of it."""
    path = tmp_path / "model.golf"
    path.write_bytes(bytes(100))
    header = Header(model=tiny_shape, seen=("train",), sections=())
    plan = SimpleNamespace(ttt=SimpleNamespace(chunk_tokens=64, batch_tokens=32))
    return path, header, {"payload_bytes": 100, "splits_seen": ["train"]}, plan


def test_the_file_that_was_weighed_is_judged(artifact, tiny_shape):
    assert judge.weighed(*artifact) == tiny_shape


def test_a_file_that_was_not_the_one_weighed_is_refused(artifact):
    path, header, sizes, plan = artifact
    with pytest.raises(BadArtifact, match=r"model\.golf: is not the file that compress weighed: 100 bytes"):
        judge.weighed(path, header, sizes | {"payload_bytes": 99}, plan)
    with pytest.raises(BadArtifact, match="that saw train, val"):
        judge.weighed(path, dataclasses.replace(header, seen=("train", "val")), sizes, plan)


def test_a_plan_for_another_context_is_refused(artifact):
    path, header, sizes, plan = artifact
    plan.ttt.batch_tokens = 48
    with pytest.raises(BadArtifact, match="its context 32 does not divide the plan's batch_tokens"):
        judge.weighed(path, header, sizes, plan)


def test_a_stream_whose_bytes_are_not_its_index_s_is_refused(monkeypatch):
    class Split:
        name, bos, bytes, tokenizer_sha256 = "val", 1, 151, "x"

        def all(self):
            return STREAM.tokens

    tokenizer = SimpleNamespace(sha256="x")
    monkeypatch.setattr(judge.ByteTable, "of", lambda _: SimpleNamespace(count=lambda tokens: np.full(50, 3)))
    with pytest.raises(BadArtifact, match="stand for 150 bytes, its index says 151"):
        judge.Stream.of(Split(), tokenizer)
    with pytest.raises(BadArtifact, match=r"was tokenised with x, tokenizer\.model is y"):
        judge.Stream.of(Split(), SimpleNamespace(sha256="y"))


def test_a_plan_file_with_a_wrong_key_is_refused_by_name(tmp_path):
    store.write_json(tmp_path / "plan.json", {"ttt": {"lr": "high"}, "splits_seen": ["dev"]})
    with pytest.raises(BadArtifact, match=r"plan\.json: .*ttt\.lr: must be a number"):
        judge.read_plan(tmp_path / "plan.json")
