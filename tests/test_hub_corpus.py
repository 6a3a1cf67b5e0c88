"""golf/data/hub_corpus.py: a whole export from a stand-in server"""

import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from hub_exports import SHARD, VOCABULARY, asked, caseops, fetch, small
from hub_server import COMMIT, FOLDER, LATER, MANIFEST, Hub, described, numbered, shard
from processes import configured

from golf.data import corpus, hub, hub_corpus, shards
from golf.data.reading import read_back
from golf.data.stream import Stream
from golf.data.tokenizer import Tokenizer
from golf.ground import store
from golf.ground.errors import BadArtifact, BadInput
from golf.looking import inspect
from golf.rules import provenance

VAL = "datasets/datasets/fineweb10B_sp384/fineweb_val_000000.bin"


@pytest.fixture(scope="module")
def made():
    return small()


@pytest.fixture
def served(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = Hub(made.files)
    with server.serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield server


def build(name="out", vocabulary=VOCABULARY, to=None, **changes):
    out = Path(name)
    out.mkdir(exist_ok=True)
    return hub_corpus.build(to or fetch(), asked(**changes), vocabulary, out)


def build_in_root(root: str, name="out"):
    """With params.yaml, where the readers of train look for hub.root."""
    configured(Path.cwd(), {"hub.root": root})
    return build(name, root=root)


def splits(folder="out"):
    return {name: shards.open_split(Path(folder) / name) for name in ("train", "dev", "val")}


def test_val_is_the_export_s_and_dev_is_taken_off_the_end_of_train(served, made):
    manifest = build()
    found = splits()
    stream = np.concatenate(made.train)[: 3 * SHARD]
    train, dev = found["train"].all(), found["dev"].all()
    assert np.array_equal(found["val"].all(), np.concatenate(made.val))
    assert np.array_equal(np.concatenate([train, dev]), stream[: len(train) + len(dev)])
    assert 0 < len(stream) - len(train) - len(dev) < 1000  # the document that goes on in a shard that was not fetched
    assert 0.02 * len(stream) < len(dev) <= 0.1 * len(stream)
    assert manifest["splits"]["val"]["documents"] == len(made.val)
    assert manifest["splits"]["train"]["documents"] == (train == 1).sum()
    assert manifest["source"]["commit"] == COMMIT
    assert manifest["comparable_with_fineweb"] is False
    assert store.read_json("out/manifest.json") == manifest
    assert set(corpus.metrics(manifest)["train"]) == {"documents", "tokens"}
    assert corpus.metrics(manifest)["val"]["bytes_per_token"] > 1


def test_all_of_train_ends_with_its_last_document(served, made):
    manifest = build(train_shards=made.shards)
    found = splits()
    assert len(found["train"].all()) + len(found["dev"].all()) == sum(map(len, made.train))
    assert sum(manifest["splits"][name]["documents"] for name in ("train", "dev")) == len(made.train)


def test_the_held_out_texts_are_read_back_with_the_bytes_that_they_have(served):
    build()
    found, tokenizer = splits(), Tokenizer.open("out/tokenizer.model")
    for name in ("dev", "val"):
        read = read_back(found[name], tokenizer, "none")
        assert (read.differing, read.miscounted) == (0, 0)
        assert Stream.of(found[name], tokenizer).bytes.sum() == read.text_bytes == found[name].bytes


def test_whole_shards_are_hard_links_and_the_last_one_is_not(served):
    build()
    for name, linked in (("000000", True), ("000001", True), ("000002", False)):
        ours = Path(f"out/train/train_{name}.bin")
        theirs = Path(f"runs/hub/somebody--exports/{COMMIT}/{FOLDER}/fineweb_train_{name}.bin")
        assert os.path.samefile(ours, theirs) == linked
    assert os.path.samefile("out/val/val_000000.bin", f"runs/hub/somebody--exports/{COMMIT}/{VAL}")


def test_a_named_root_holds_the_shards_of_train_and_the_workspace_their_index(served, tmp_path):
    build("plain")
    build_in_root("root")
    index = shards.read_index(Path("out/train"))
    assert sorted(path.name for path in Path("out/train").iterdir()) == ["index.json"]
    assert sorted(path.name for path in (tmp_path / "root" / index["root"]).iterdir())[1:] == [
        row["file"] for row in index["shards"]
    ]
    assert np.array_equal(splits()["train"].all(), splits("plain")["train"].all())
    assert f"shards in {tmp_path.resolve() / 'root' / index['root']}" in inspect.explain(Path("out/train"))
    assert "none of them listed; none is in dev, val" in inspect.explain(Path("out/train"))


def test_a_root_s_shard_is_hashed_again_once_it_has_changed_and_else_is_not(served, tmp_path, monkeypatch):
    build_in_root("root")
    path = tmp_path / "root" / shards.read_index(Path("out/train"))["root"] / "train_000002.bin"
    with monkeypatch.context() as patch:
        patch.setattr("golf.ground.store.digest", lambda path: pytest.fail(f"{path} was read"))
        shards.open_split("out/train")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadArtifact, match=r"train_000002\.bin: its sha256 is not the index's"):
        shards.open_split("out/train")
    path.unlink()
    with pytest.raises(BadArtifact, match=r"train_000002\.bin: no such shard"):
        shards.open_split("out/train")


def test_moving_the_root_changes_no_digest_and_asks_for_nothing(served, tmp_path):
    first, before = build_in_root("root"), sum(served.asked.values())
    index = store.digest("out/train/index.json")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    with pytest.raises(BadArtifact, match=r"root/train-\w+, by hub\.root, which is not there; set hub\.root to where"):
        shards.open_split("out/train")
    configured(tmp_path, {"hub.root": "elsewhere"})
    shards.open_split("out/train")
    assert build_in_root("elsewhere", "again") == first
    assert store.digest("again/train/index.json") == index
    assert sum(served.asked.values()) == before


def test_a_second_fetch_downloads_nothing_and_makes_the_same(served):
    first, asked_before = build(), sum(served.asked.values())
    assert build("again") == first
    assert sum(served.asked.values()) == asked_before


def test_a_branch_is_resolved_to_the_commit_which_the_manifest_holds(served, capfd):
    assert build(revision="main")["source"]["commit"] == COMMIT
    assert f"hub.revision: main is no commit, today it is {COMMIT}" in capfd.readouterr().err
    build()
    assert "hub.revision" not in capfd.readouterr().err


def test_the_caseops_export_brings_its_sidecar_and_needs_no_manifest(tmp_path, monkeypatch):
    made = caseops()
    monkeypatch.chdir(tmp_path)
    server = Hub(made.files)
    with server.serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(BadInput, match=r"fetch\.transform: none, but .* set fetch\.transform: caseops"):
            build(variant="sp384_caseops")
        manifest = build(variant="sp384_caseops", to=fetch(transform="caseops"))
    found, tokenizer = splits(), Tokenizer.open("out/tokenizer.model")
    assert np.array_equal(found["val"].all(), np.concatenate(made.val))  # not one of the sidecar's numbers among them
    assert found["train"].token_bytes is None
    assert manifest["transform"] == "caseops"
    for name in ("dev", "val"):
        read = read_back(found[name], tokenizer, "caseops")
        assert (read.differing, read.miscounted) == (0, 0)
        assert sum(sidecar[:].sum() for sidecar in found[name].token_bytes) == read.text_bytes


@pytest.mark.parametrize("variant", ["sp384", "sp384_caseops"])
def test_a_canonical_byte_count_is_demanded_where_one_is_known(served, monkeypatch, variant):
    right = build()["splits"]["val"]["bytes"]
    targets = len(splits()["val"].all()) - 1
    monkeypatch.setattr("golf.data.hub_check.WINDOW", 1)
    monkeypatch.setitem(hub.KNOWN, variant, hub.Known(12, targets, right))
    assert build("good")["comparable_with_fineweb"] == (variant == "sp384")
    monkeypatch.setitem(hub.KNOWN, variant, hub.Known(12, targets, right + 1))
    if variant == "sp384":
        with pytest.raises(BadArtifact, match=rf"val has {right:,} bytes .* the challenge's has {right + 1:,}"):
            build("bad")
    else:
        build("bad")


def test_a_variant_without_a_known_count_says_so(served, capfd):
    build()
    assert "no canonical byte count is known for sp384" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("key", "words"),
    [("docs_val", "has docs_val 12, its manifest says 13"), ("tokens_val", "has tokens_val"), ("tokens_train", "cut")],
)
def test_totals_other_than_the_manifest_s_are_refused(served, key, words):
    tree = json.loads(served.files[MANIFEST])
    tree["datasets"][0]["stats"][key] += SHARD if key == "tokens_train" else 1
    served.files[MANIFEST] = json.dumps(tree).encode()
    with pytest.raises(BadArtifact, match=words):
        build()


@pytest.mark.parametrize("key", ["docs_train", "tokens_train"])
def test_totals_of_train_are_demanded_where_all_of_it_is_fetched(served, made, key):
    tree = json.loads(served.files[MANIFEST])
    tree["datasets"][0]["stats"][key] -= 1
    served.files[MANIFEST] = json.dumps(tree).encode()
    build(train_shards=made.shards - 1)
    with pytest.raises(BadArtifact, match=f"has {key}"):
        build(train_shards=made.shards)


def test_an_id_beyond_the_vocabulary_names_the_shard(served, made):
    served.files[VAL] = shard(np.where(np.arange(SHARD) == 7, VOCABULARY, np.concatenate(made.val)[:SHARD]))
    with pytest.raises(BadArtifact, match=r"fineweb_val_000000\.bin: holds the id 384, ids must be below"):
        build()


def test_shards_without_bos_are_refused(served, made):
    served.files[VAL] = shard(np.full(SHARD, 9))
    with pytest.raises(BadArtifact, match="does not start with the BOS id 1"):
        build()


def test_a_model_of_another_vocabulary_is_refused_with_both_numbers(served):
    with pytest.raises(BadInput, match=r"model\.vocabulary: 512, sp384 has 384"):
        build(vocabulary=512)


def test_a_document_of_val_that_train_repeats_is_left_out_of_train(tmp_path, monkeypatch):
    made = small(repeat=(3,))
    monkeypatch.chdir(tmp_path)
    with Hub(made.files).serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = build(train_shards=made.shards)
    found = splits()
    assert manifest["source"]["repeated"] == 1
    assert len(made.train) == sum(manifest["splits"][name]["documents"] for name in ("train", "dev")) + 1
    without = [ids for ids in made.train if not np.array_equal(ids, made.val[3])]
    stream = np.concatenate([found["train"].all(), found["dev"].all()])
    assert np.array_equal(stream, np.concatenate(without))
    indexes = [shards.read_index(Path("out") / name) for name in ("train", "dev", "val")]
    assert provenance.disjoint(*indexes[:2], indexes[2]["documents"]).status == "PASS"


def test_many_documents_of_val_in_train_are_no_accident(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Hub(small(repeat=(1, 3, 5)).files).serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(BadInput, match=r"hub\.repo: 3 of val's 12 documents .* \(#2127\); set hub\.repo or"):
            build()


def test_documents_of_dev_that_train_repeats_are_left_out_and_no_offence(tmp_path, monkeypatch, capfd):
    made = small(repeat=(3,))
    stream = np.concatenate([*made.train[-9:-5], *made.train])
    files = {path: data for path, data in made.files.items() if "train" not in path}
    files |= numbered("train", stream, SHARD)
    files[MANIFEST] = described(files, VOCABULARY, {"val": 12, "train": len(made.train) + 4})
    monkeypatch.chdir(tmp_path)
    with Hub(files).serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = build(train_shards=len([path for path in files if "train" in path]), to=fetch(dev_percent=20.0))
    assert manifest["source"]["repeated"] == 5
    searched = manifest["splits"]["train"]["documents"] + 5
    assert f"train: 5 of {searched} documents are in val or dev as well, and left out" in capfd.readouterr().err


def test_a_dev_whose_every_document_is_val_s_names_the_key(tmp_path, monkeypatch):
    made = small()
    stream = np.concatenate([*made.train, made.val[3]])
    files = {path: data for path, data in made.files.items() if "train" not in path} | numbered("train", stream, SHARD)
    files[MANIFEST] = described(files, VOCABULARY, {"val": 12, "train": len(made.train) + 1})
    share = 100 * (len(made.val[3]) + 1) / len(stream)
    monkeypatch.chdir(tmp_path)
    with Hub(files).serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(BadInput, match=r"fetch\.dev_percent: .* 1 document\(s\), all in val as well; raise it"):
            build(train_shards=len([path for path in files if "train" in path]), to=fetch(dev_percent=share))


def test_a_dev_of_no_document_names_the_key(served):
    with pytest.raises(BadInput, match=r"fetch\.dev_percent: 0\.001 % of 4,\d+ train tokens is no whole document"):
        build(to=fetch(dev_percent=0.001))


def test_a_dev_of_several_shards_is_taken_off_all_of_them(served):
    build(to=fetch(dev_percent=45.0))
    train = splits()["train"]
    first, second = map(len, train.shards)
    assert (first, second < SHARD) == (SHARD, True)


def test_the_challenge_s_own_manifest_and_tokenizer_go_through(shared_data, tmp_path, monkeypatch):
    tree = json.loads((shared_data / "manifests/manifest.sp1024.json").read_bytes())
    tokenizer = Tokenizer.open(shared_data / "tokenizers/fineweb_1024_bpe.model")
    with lzma.open(shared_data / "fineweb_docs200/verify_docs.jsonl.xz", "rt", encoding="utf-8") as lines:
        ids = tokenizer.encode([json.loads(line)["text"] for line in lines])
    folder = "datasets/datasets/fineweb10B_sp1024"
    files = {"datasets/tokenizers/fineweb_1024_bpe.model": tokenizer.model}
    files |= numbered("val", np.concatenate(ids[:20]), 100_000, folder)
    files |= numbered("train", np.concatenate(ids[20:]), 100_000, folder)
    real = Hub(files | {MANIFEST: json.dumps(tree).encode()})
    server = Hub(files | {MANIFEST: described(files, 1024, {"val": 20, "train": len(ids) - 20}, like=tree)})
    server.commit = LATER
    monkeypatch.chdir(tmp_path)
    with real.serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(BadArtifact, match="train shards, its manifest says 195"):
            build(vocabulary=1024, variant="sp1024")
    with server.serving() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        manifest = build(vocabulary=1024, variant="sp1024", revision="main")
        with pytest.raises(BadInput, match=r"hub\.variant: sp4096 is not in somebody/exports, which has sp1024"):
            build("other", vocabulary=1024, variant="sp4096", revision="main")
    assert manifest["splits"]["val"]["documents"] == 20
    read = read_back(splits()["val"], tokenizer, "none")
    assert (read.differing, read.miscounted) == (0, 0)
