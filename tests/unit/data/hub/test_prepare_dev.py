"""golf/data/hub/prepare.py: dev's share of train, and documents of val and dev that train repeats"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from golf.compliance.catalog import CHECKS
from golf.data import split_reader
from golf.errors import InputError
from tests.helpers.hub_exports import SHARD_TOKENS, VOCAB_SIZE, build, fetch_config, make_export, open_splits
from tests.helpers.hub_server import MANIFEST_PATH, FakeHub, manifest_bytes, shard_files


def test_a_document_of_val_that_train_repeats_is_left_out_of_train(tmp_path, monkeypatch):
    export = make_export(repeated_val=(3,))
    monkeypatch.chdir(tmp_path)
    with FakeHub(export.files).serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = build(train_shards=export.n_train_shards)
    splits = open_splits()
    assert manifest["source"]["n_duplicates"] == 1
    assert len(export.train_documents) == sum(manifest["splits"][name]["documents"] for name in ("train", "dev")) + 1
    without = [ids for ids in export.train_documents if not np.array_equal(ids, export.val_documents[3])]
    stream = np.concatenate([splits["train"].read_tokens(), splits["dev"].read_tokens()])
    assert np.array_equal(stream, np.concatenate(without))
    train_index, dev_index = (split_reader.read_index(Path("out") / name) for name in ("train", "dev"))
    val_data = SimpleNamespace(val=splits["val"], train_index=train_index, dev_index=dev_index)
    assert CHECKS["C1-f"].run(SimpleNamespace(val_data=val_data)).status == "PASS"


def test_many_documents_of_val_in_train_are_rejected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeHub(make_export(repeated_val=(1, 3, 5)).files).serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(InputError, match=r"hub\.repo: 3 of val's 12 documents .* \(#2127\); set hub\.repo or"):
            build()


def test_documents_of_dev_that_train_repeats_are_left_out_and_allowed(tmp_path, monkeypatch, capfd):
    export = make_export(repeated_val=(3,))
    stream = np.concatenate([*export.train_documents[-9:-5], *export.train_documents])
    files = {path: data for path, data in export.files.items() if "train" not in path}
    files |= shard_files("train", stream, SHARD_TOKENS)
    files[MANIFEST_PATH] = manifest_bytes(files, VOCAB_SIZE, {"val": 12, "train": len(export.train_documents) + 4})
    monkeypatch.chdir(tmp_path)
    with FakeHub(files).serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = build(
            train_shards=len([path for path in files if "train" in path]), fetch_cfg=fetch_config(dev_percent=20.0)
        )
    assert manifest["source"]["n_duplicates"] == 5
    searched = manifest["splits"]["train"]["documents"] + 5
    assert f"train: 5 of {searched} documents are also in val or dev and left out" in capfd.readouterr().err


def test_a_dev_whose_every_document_is_val_s_names_the_key(tmp_path, monkeypatch):
    export = make_export()
    stream = np.concatenate([*export.train_documents, export.val_documents[3]])
    files = {path: data for path, data in export.files.items() if "train" not in path} | shard_files(
        "train", stream, SHARD_TOKENS
    )
    files[MANIFEST_PATH] = manifest_bytes(files, VOCAB_SIZE, {"val": 12, "train": len(export.train_documents) + 1})
    share = 100 * (len(export.val_documents[3]) + 1) / len(stream)
    monkeypatch.chdir(tmp_path)
    with FakeHub(files).serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(
            InputError, match=r"fetch\.dev_percent: .* 1 document\(s\), all of them in val as well; raise it"
        ):
            build(
                train_shards=len([path for path in files if "train" in path]), fetch_cfg=fetch_config(dev_percent=share)
            )


def test_a_dev_of_no_document_names_the_key(fake_hub):
    with pytest.raises(InputError, match=r"fetch\.dev_percent: 0\.001 % of 4,\d+ train tokens is not a whole document"):
        build(fetch_cfg=fetch_config(dev_percent=0.001))


def test_a_dev_of_several_shards_is_taken_off_all_of_them(fake_hub):
    build(fetch_cfg=fetch_config(dev_percent=45.0))
    train = open_splits()["train"]
    first, second = map(len, train.shards)
    assert (first, second < SHARD_TOKENS) == (SHARD_TOKENS, True)
