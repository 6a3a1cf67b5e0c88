"""golf/ground/ancestry.py and golf/looking/ancestry.py: golf lineage PATH"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from golf.data import shards
from golf.ground import ancestry, lineage, store
from golf.ground.errors import BadArtifact, BadInput
from golf.looking.ancestry import WIDTH, tree

HESSIANS = "artifacts/calibrate/hessians.safetensors"
CODES = "artifacts/quantize/codes.safetensors"
TRAINED = "artifacts/train/model.safetensors"
ADAPTED = "artifacts/ttt/model.safetensors"
GOLF = "artifacts/compress/model.golf"
CODE = "artifacts/compress/code.tar.xz"
SIZES = "artifacts/compress/sizes.json"
VAL = "artifacts/fetch/val"


def split(name: str, documents: int) -> None:
    tokens = np.array([1, 2, 3], dtype=np.uint16)
    names = [f"{number:064}" for number in range(documents)]
    rows = [shards.Written(name, text=name, text_folded=name, bytes=5, tokens=tokens) for name in names]
    about = {"vocabulary": 300, "bos": 1, "tokenizer_sha256": "0" * 64, "shard_tokens": 1000}
    shards.write_split(f"artifacts/fetch/{name}", name, rows, **about)


def made(path: str, stage: str, inputs: dict, **how) -> None:
    """A file as the stage would write it, with its lineage."""
    origin = lineage.of(stage, inputs, **how)
    store.save_tensors(path, {"w": torch.ones(2)}, kind="weights", meta={"lineage": origin})


def run(stream: str) -> None:
    """A run in small, in which the artifact is made of weights that were adapted on ``stream``."""
    for name, documents in (("train", 7), ("dev", 2), ("val", 3)):
        split(name, documents)
    made(TRAINED, "train", {"train": "artifacts/fetch/train"}, seed=42, ranks=8)
    made(ADAPTED, "ttt", {"weights": TRAINED, "stream": f"artifacts/fetch/{stream}"})
    made(HESSIANS, "calibrate", {"weights": ADAPTED, "train": "artifacts/fetch/train"})
    made(CODES, "quantize", {"weights": ADAPTED, "hessians": HESSIANS})
    store.write_bytes(GOLF, b"GOLF")
    store.write_bytes(CODE, b"code")
    origin = lineage.of("compress", {"codes": CODES})
    digests = {"payload_sha256": store.digest(GOLF), "code_sha256": store.digest(CODE)}
    told = digests | {"splits_seen": origin["splits_seen"], "lineage": origin}
    store.write_json(SIZES, told)


@pytest.fixture
def clean(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("dev")
    return tmp_path


@pytest.fixture
def leaked(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("val")
    return tmp_path


def test_the_tree_names_every_artifact_behind_a_submission_down_to_its_text(clean):
    lines = tree(GOLF).splitlines()
    assert lines[0] == GOLF
    for path in (CODES, ADAPTED, TRAINED, HESSIANS, "artifacts/fetch/dev"):
        assert any(line.lstrip("│├└─ ") == path for line in lines), path
    text = "\n".join(lines)
    assert "by ttt; saw train, dev" in text
    assert "seed 42, 8 ranks, parameters " in text
    assert f"sha256 {store.digest(TRAINED)[:12]}, by train; saw train" in text
    assert "2 documents, 6 tokens" in text
    assert "val" not in text


@pytest.mark.parametrize("path", [GOLF, SIZES, CODES, VAL])
def test_any_artifact_can_be_asked_and_its_tree_fits_80_columns(leaked, path):
    assert max(map(len, tree(path).splitlines())) <= WIDTH == 80


def test_what_was_made_of_the_same_file_twice_is_told_once(clean):
    text = tree(GOLF)
    assert text.count(TRAINED) == 1
    assert text.count(ADAPTED) == 2
    assert text.count("as above") == 2  # the adapted weights, and the train split of both train and calibrate


def test_the_way_by_which_val_got_in_is_marked_and_said(leaked):
    lines = tree(GOLF).splitlines()
    marked = [line.removesuffix(" <- val").lstrip("│├└─ ") for line in lines if line.endswith(" <- val")]
    assert {GOLF, CODES, ADAPTED, VAL} <= set(marked)
    assert TRAINED not in marked
    said = " ".join(line.strip() for line in lines)
    assert f"val got in: {VAL} -> {ADAPTED} -> " in said


def test_the_path_of_a_split_runs_from_its_folder_to_the_artifact(leaked):
    assert ancestry.path_of("val", HESSIANS) == [VAL, ADAPTED, HESSIANS]
    assert ancestry.path_of("val", GOLF) == [VAL, ADAPTED, CODES, GOLF]
    assert ancestry.path_of("dev", GOLF) == []
    for names in (("a", "b"), ("b", "a")):
        made(CODES, "quantize", dict(zip(names, (ADAPTED, HESSIANS), strict=True)))
        assert ancestry.path_of("val", CODES) == [VAL, ADAPTED, CODES], "the shortest"
    assert ancestry.path_of("train", TRAINED) == ["artifacts/fetch/train", TRAINED]
    assert ancestry.path_of("val", VAL) == [VAL]


def test_a_split_that_did_not_get_in_has_no_path(clean):
    assert ancestry.path_of("val", GOLF) == []
    assert ancestry.path_of("dev", GOLF)[0] == "artifacts/fetch/dev"


def test_the_path_is_still_told_when_vals_own_folder_is_gone(leaked):
    shutil.rmtree(VAL)
    assert ancestry.path_of("val", ADAPTED) == [VAL, ADAPTED]
    assert "gone: split val" in tree(ADAPTED)


def test_an_input_that_changed_since_is_not_followed_and_the_split_it_carried_is_not_lost(leaked):
    store.write_bytes(ADAPTED, b"another run")
    text = tree(CODES)
    assert "changed since, nothing known before it" in text
    assert ancestry.path_of("val", HESSIANS) == [
        "val",
        f"{ADAPTED} (changed since)",
        HESSIANS,
    ]


def test_an_input_that_is_gone_is_said_to_be_gone(leaked):
    Path(ADAPTED).unlink()
    assert "gone, nothing known before it" in tree(CODES)
    assert ancestry.path_of("val", CODES)[:2] == ["val", f"{ADAPTED} (gone)"]


def test_weights_without_lineage_are_of_unknown_origin(clean):
    store.save_tensors("bare.safetensors", {"w": torch.ones(1)}, kind="weights", meta={})
    assert "no lineage: of unknown origin" in tree("bare.safetensors")
    assert "no code files are recorded" in tree("bare.safetensors")


def test_an_edited_lineage_is_refused_wherever_it_stands_in_the_tree(leaked):
    tensors, meta = store.load_tensors(ADAPTED)
    meta["lineage"]["splits_seen"] = ["train"]
    store.save_tensors(ADAPTED, tensors, kind="weights", meta=meta)
    with pytest.raises(BadArtifact, match=r"ttt/model\.safetensors: its lineage does not fit its digest"):
        tree(ADAPTED)
    with pytest.raises(BadArtifact, match=r"ttt/model\.safetensors: its lineage does not fit its digest"):
        made(CODES, "quantize", {"weights": ADAPTED})


def test_a_lineage_that_was_sealed_anew_without_val_is_contradicted_by_its_inputs(leaked):
    origin = lineage.sealed(lineage.of("quantize", {"weights": ADAPTED}) | {"splits_seen": ["train"]})
    store.save_tensors(CODES, {"w": torch.ones(2)}, kind="weights", meta={"lineage": origin})
    assert ancestry.path_of("val", CODES) == [VAL, ADAPTED, CODES]
    assert f"{CODES}: its lineage leaves out a split of its inputs" in tree(CODES)


def test_a_whole_run_can_be_asked_from_another_folder(leaked, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert ancestry.path_of("val", leaked / CODES)[:2] == [VAL, ADAPTED]
    monkeypatch.chdir(leaked / "artifacts" / "quantize")
    assert ancestry.path_of("val", "codes.safetensors")[:2] == [VAL, ADAPTED]


def test_the_tree_says_whether_the_code_is_still_that_of_this_checkout(clean, monkeypatch):
    found = lineage.of("ema", {"weights": TRAINED})
    assert "code files are as in this checkout" in tree(TRAINED)
    total = len({*found["code"], *lineage.code("train")})
    edited = {"golf/model/gpt.py": "0" * 64, "golf/gone.py": "0" * 64}
    store.write_json("a.json", {"lineage": lineage.sealed(found | {"code": found["code"] | edited})})
    assert f"2 of {total + 1} code files differ from this checkout: golf/gone.py," in tree("a.json")
    assert "golf/model/gpt.py" in tree("a.json")


def test_a_path_with_nothing_at_it_is_named_with_the_cure(tmp_path):
    for path in (tmp_path / "none.golf", tmp_path):
        with pytest.raises(BadInput, match="not found; name an artifact"):
            tree(path)


def test_a_damaged_file_is_named(clean):
    Path(CODES).write_bytes(b"cut")
    with pytest.raises(BadArtifact, match=r"codes\.safetensors: not a tensor file"):
        tree(CODES)


def test_many_artifacts_made_of_the_same_few_files_are_walked_once_each(clean, monkeypatch):
    for layer in range(30):
        below = {str(i): f"{layer}_{i}.safetensors" for i in range(2)} if layer else {"w": TRAINED}
        for i in range(2):
            made(f"{layer + 1}_{i}.safetensors", "ema", below)
    opened = []
    read = lineage.read
    monkeypatch.setattr(lineage, "read", lambda path: opened.append(path) or read(path))
    assert len(ancestry.path_of("train", "30_0.safetensors")) == 32
    assert len(opened) == len(set(opened)) == 29 * 2 + 2
