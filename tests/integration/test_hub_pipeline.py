"""The whole pipeline on an export from a fake hub, with train's shards in hub.root outside the workspace"""

from pathlib import Path

import numpy as np
import pytest

from golf.artifacts import io
from golf.data import split_reader
from tests.helpers import stage_errors, tiny_project
from tests.helpers.hub_exports import VOCAB_SIZE, hub_config, make_export
from tests.helpers.hub_server import FakeHub

SETTINGS = {
    "fetch.source": "hub",
    "fetch.dev_percent": 25.0,
    "model.vocab_size": VOCAB_SIZE,
    "train.steps": 6,
    "train.ema_snapshots": 1,
    "prequant.epochs": 1,
    "calibrate.batches": 1,
}


@pytest.fixture(scope="module")
def export():
    return make_export()


@pytest.fixture
def project_dir(export, tmp_path, monkeypatch) -> Path:
    """A workspace that fetched the export with hub.root = ../data; the hub is then gone."""
    folder = tiny_project.create_project(tmp_path / "project")
    hub = {key: getattr(hub_config(), key) for key in ("repo", "revision", "variant", "workers")}
    hub |= {"train_shards": export.n_train_shards, "root": "../data"}
    tiny_project.set_params(folder, SETTINGS | {f"hub.{key}": value for key, value in hub.items()})
    monkeypatch.chdir(folder)
    with FakeHub(export.files).serve() as address, monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", address)
        tiny_project.run_stage_in_process("fetch")
    return folder


def test_an_export_goes_from_fetch_to_a_verdict_with_train_s_shards_in_the_root(project_dir, export):
    index = split_reader.read_index(Path("artifacts/fetch/train"))
    assert list(Path("artifacts/fetch/train").iterdir()) == [Path("artifacts/fetch/train/index.json")]
    train, dev = (split_reader.open_split(f"artifacts/fetch/{name}", hub_root="../data") for name in ("train", "dev"))
    assert {Path(shard.path).parent for shard in train.shards} == {project_dir.parent / "data" / index["root"]}
    assert np.array_equal(
        np.concatenate([train.read_tokens(), dev.read_tokens()]), np.concatenate(export.train_documents)
    )

    for stage in tiny_project.STAGES[1:]:
        tiny_project.run_stage_in_process(stage)
    verdict = io.read_json("artifacts/evaluate/verdict.json")
    statuses = {row["check"]: row["status"] for row in verdict["checks"]}
    assert verdict["verdict"].startswith(
        "valid, not a record run: the corpus is not a FineWeb export with a known byte count"
    )
    assert statuses["C1-f"] == "PASS"
    assert "FAIL" not in statuses.values()
    assert io.read_json("artifacts/evaluate/metrics.json")["val_tokens"] == sum(map(len, export.val_documents)) - 1


def test_training_without_the_root_names_it_and_a_hint(project_dir, capfd):
    (project_dir / "../data").rename(project_dir / "../moved")
    with stage_errors.restore_signal_handlers():
        stderr = stage_errors.run_failing_stage("train", capfd)
    assert (
        "by hub.root, which does not exist; set hub.root to where the shards lie, or run: dvc repro -f fetch" in stderr
    )
    tiny_project.set_params(project_dir, {"hub.root": "../moved"})
    tiny_project.run_stage_in_process("train")
