"""stages/fetch.py"""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from golf.artifacts import io
from golf.data import split_reader
from golf.errors import InputError
from stages import fetch
from tests.helpers import stage_processes
from tests.helpers.tiny_corpus import ROOT


@pytest.fixture
def project_dir(tmp_path, monkeypatch, tiny_corpus):
    """A folder with params.yaml and a tiny corpus, in which the stage can run."""
    tree = YAML(typ="safe").load((ROOT / "profiles" / "record.yaml").read_text(encoding="utf-8"))
    tree["fetch"] |= {"source": "files", "path": "texts", "tokenizer": "train", "val_percent": 15, "dev_percent": 15}
    tree["model"]["vocab_size"] = 384
    with open(tmp_path / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(tree, file)
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(tiny_corpus):
        (tmp_path / "texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fetch_writes_what_the_other_stages_read(project_dir):
    fetch.main()
    assert {path.name for path in (project_dir / "artifacts" / "fetch").iterdir()} == {
        "train",
        "dev",
        "val",
        "tokenizer.model",
        "manifest.json",
        "metrics.json",
    }
    manifest = io.read_json(fetch.MANIFEST_PATH)
    for name, path in (("train", fetch.TRAIN_DIR), ("dev", fetch.DEV_DIR), ("val", fetch.VAL_DIR)):
        assert split_reader.open_split(path, 384).n_tokens == manifest["splits"][name]["tokens"]
        assert io.read_json(fetch.METRICS_PATH)[name]["tokens"] == manifest["splits"][name]["tokens"]


def test_fetch_again_replaces_stale_shards_and_keeps_other_files(project_dir):
    fetch.main()
    fetch_dir = project_dir / "artifacts" / "fetch"
    (fetch_dir / "train" / "train_000009.bin").write_bytes(b"stale")
    (fetch_dir / "run.json").write_text("{}")
    before = contents(fetch_dir)
    fetch.main()
    after = contents(fetch_dir)
    assert before.pop(Path("train/train_000009.bin")) == b"stale"
    assert after == before


def test_an_edited_text_gives_other_shards(project_dir):
    fetch.main()
    before = io.read_json(fetch.MANIFEST_PATH)
    (project_dir / "texts" / "0.txt").write_text("Now something else.", encoding="utf-8")
    fetch.main()
    assert io.read_json(fetch.MANIFEST_PATH)["source"] != before["source"]


def test_a_fetch_that_fails_leaves_the_last_good_one(project_dir):
    fetch.main()
    before = contents(project_dir / "artifacts")
    (project_dir / "texts" / "zz.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"texts/zz\.txt: not UTF-8 at byte 0"):
        fetch.main()
    assert contents(project_dir / "artifacts") == before


def test_bad_input_ends_the_command_with_one_message_and_no_traceback(project_dir):
    for path in (project_dir / "texts").iterdir():
        path.unlink()
    code, err = stage_processes.run_stage_process(project_dir, "fetch")
    assert code == 1
    assert "fetch.path: no texts in texts" in err
    stage_processes.assert_single_error(err, "fetch")
    assert not list(project_dir.rglob("*.partial"))
