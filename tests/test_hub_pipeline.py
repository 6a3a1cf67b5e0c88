"""The whole pipeline on an export from a stand-in server, with train's shards in a root outside the workspace"""

from pathlib import Path

import numpy as np
import pytest
import refusals
import thimble as project
from hub_exports import VOCABULARY, asked, small
from hub_server import Hub

from golf.data import shards
from golf.ground import store

SETTINGS = {
    "fetch.source": "hub",
    "fetch.dev_percent": 25.0,
    "model.vocabulary": VOCABULARY,
    "train.steps": 6,
    "train.ema_snapshots": 1,
    "prequant.epochs": 1,
    "calibrate.batches": 1,
}


@pytest.fixture(scope="module")
def made():
    return small()


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A workspace that fetched the export into ../data, whose hub then went away."""
    folder = project.lay_out(tmp_path / "place")
    hub = {key: getattr(asked(), key) for key in ("repo", "revision", "variant", "workers")}
    hub |= {"train_shards": made.shards, "root": "../data"}
    project.turn(folder, SETTINGS | {f"hub.{key}": value for key, value in hub.items()})
    monkeypatch.chdir(folder)
    with Hub(made.files).serving() as address, monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", address)
        project.act("fetch")
    return folder


def test_an_export_goes_from_fetch_to_a_verdict_with_train_s_shards_in_the_root(place, made):
    index = shards.read_index(Path("artifacts/fetch/train"))
    assert list(Path("artifacts/fetch/train").iterdir()) == [Path("artifacts/fetch/train/index.json")]
    train, dev = (shards.open_split(f"artifacts/fetch/{name}") for name in ("train", "dev"))
    assert {Path(shard.path).parent for shard in train.shards} == {place.parent / "data" / index["root"]}
    assert np.array_equal(np.concatenate([train.all(), dev.all()]), np.concatenate(made.train))

    for stage in project.STAGES[1:]:
        project.act(stage)
    found = store.read_json("artifacts/evaluate/verdict.json")
    statuses = {row["check"]: row["status"] for row in found["checks"]}
    assert found["verdict"].startswith(
        "valid, not a record run: the corpus is no FineWeb export with a known byte count"
    )
    assert statuses["C1-f"] == "PASS"
    assert "FAIL" not in statuses.values()
    assert store.read_json("artifacts/evaluate/metrics.json")["val_tokens"] == sum(map(len, made.val)) - 1


def test_training_without_the_root_names_it_and_the_cure(place, capfd):
    (place / "../data").rename(place / "../moved")
    with refusals.handlers_kept():
        said = refusals.refused("train", capfd)
    assert "by hub.root, which is not there; set hub.root to where the shards lie, or run: dvc repro -f fetch" in said
    project.turn(place, {"hub.root": "../moved"})
    project.act("train")
