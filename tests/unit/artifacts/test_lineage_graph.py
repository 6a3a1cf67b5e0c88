"""golf/artifacts/lineage_graph.py and golf/cli/lineage_tree.py: golf lineage PATH"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from golf.artifacts import io, lineage, lineage_graph
from golf.cli.lineage_tree import WIDTH, render_tree
from golf.data import split_reader
from golf.errors import ArtifactError, InputError

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
    rows = [split_reader.EncodedDocument(name, text=name, text_folded=name, bytes=5, tokens=tokens) for name in names]
    about = {"vocab_size": 300, "bos": 1, "tokenizer_sha256": "0" * 64, "shard_tokens": 1000}
    split_reader.write_split(f"artifacts/fetch/{name}", name, rows, **about)


def made(path: str, stage: str, inputs: dict, **how) -> None:
    """A file as the stage would write it, with its lineage."""
    origin = lineage.make_lineage(stage, inputs, **how)
    io.save_tensors(path, {"w": torch.ones(2)}, kind="weights", meta={"lineage": origin})


def run(stream: str) -> None:
    """A run in small, in which the artifact is made of weights that were adapted on ``stream``."""
    for name, documents in (("train", 7), ("dev", 2), ("val", 3)):
        split(name, documents)
    made(TRAINED, "train", {"train": "artifacts/fetch/train"}, seed=42, ranks=8)
    made(ADAPTED, "ttt", {"weights": TRAINED, "stream": f"artifacts/fetch/{stream}"})
    made(HESSIANS, "calibrate", {"weights": ADAPTED, "train": "artifacts/fetch/train"})
    made(CODES, "quantize", {"weights": ADAPTED, "hessians": HESSIANS})
    io.write_bytes(GOLF, b"GOLF")
    io.write_bytes(CODE, b"code")
    origin = lineage.make_lineage("compress", {"codes": CODES})
    digests = {"payload_sha256": io.sha256_file(GOLF), "code_sha256": io.sha256_file(CODE)}
    told = digests | {"splits_seen": origin["splits_seen"], "lineage": origin}
    io.write_json(SIZES, told)


@pytest.fixture
def clean_project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("dev")
    return tmp_path


@pytest.fixture
def leaked_project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("val")
    return tmp_path


def test_the_tree_names_every_artifact_behind_a_submission_down_to_its_text(clean_project):
    lines = render_tree(GOLF).splitlines()
    assert lines[0] == GOLF
    for path in (CODES, ADAPTED, TRAINED, HESSIANS, "artifacts/fetch/dev"):
        assert any(line.lstrip("│├└─ ") == path for line in lines), path
    text = "\n".join(lines)
    assert "by ttt; saw train, dev" in text
    assert "seed 42, 8 ranks, parameters " in text
    assert f"sha256 {io.sha256_file(TRAINED)[:12]}, by train; saw train" in text
    assert "2 documents, 6 tokens" in text
    assert "val" not in text


@pytest.mark.parametrize("path", [GOLF, SIZES, CODES, VAL])
def test_any_artifact_can_be_asked_and_its_tree_fits_80_columns(leaked_project, path):
    assert max(map(len, render_tree(path).splitlines())) <= WIDTH == 80


def test_what_was_made_of_the_same_file_twice_is_told_once(clean_project):
    text = render_tree(GOLF)
    assert text.count(TRAINED) == 1
    assert text.count(ADAPTED) == 2
    assert text.count("as above") == 2  # the adapted weights, and the train split of both train and calibrate


def test_the_way_by_which_val_got_in_is_marked_and_said(leaked_project):
    lines = render_tree(GOLF).splitlines()
    marked = [line.removesuffix(" <- val").lstrip("│├└─ ") for line in lines if line.endswith(" <- val")]
    assert {GOLF, CODES, ADAPTED, VAL} <= set(marked)
    assert TRAINED not in marked
    said = " ".join(line.strip() for line in lines)
    assert f"val got in: {VAL} -> {ADAPTED} -> " in said


def test_the_path_of_a_split_runs_from_its_folder_to_the_artifact(leaked_project):
    assert lineage_graph.load_path_from_split("val", HESSIANS) == [VAL, ADAPTED, HESSIANS]
    assert lineage_graph.load_path_from_split("val", GOLF) == [VAL, ADAPTED, CODES, GOLF]
    assert lineage_graph.load_path_from_split("dev", GOLF) == []
    for names in (("a", "b"), ("b", "a")):
        made(CODES, "quantize", dict(zip(names, (ADAPTED, HESSIANS), strict=True)))
        assert lineage_graph.load_path_from_split("val", CODES) == [VAL, ADAPTED, CODES], "the shortest"
    assert lineage_graph.load_path_from_split("train", TRAINED) == ["artifacts/fetch/train", TRAINED]
    assert lineage_graph.load_path_from_split("val", VAL) == [VAL]


def test_a_split_that_did_not_get_in_has_no_path(clean_project):
    assert lineage_graph.load_path_from_split("val", GOLF) == []
    assert lineage_graph.load_path_from_split("dev", GOLF)[0] == "artifacts/fetch/dev"


def test_the_path_is_still_told_when_vals_own_folder_is_gone(leaked_project):
    shutil.rmtree(VAL)
    assert lineage_graph.load_path_from_split("val", ADAPTED) == [VAL, ADAPTED]
    assert "gone: split val" in render_tree(ADAPTED)


def test_an_input_that_changed_since_is_not_followed_and_the_split_it_carried_is_not_lost(leaked_project):
    io.write_bytes(ADAPTED, b"another run")
    text = render_tree(CODES)
    assert "changed since, nothing known before it" in text
    assert lineage_graph.load_path_from_split("val", HESSIANS) == [
        "val",
        f"{ADAPTED} (changed since)",
        HESSIANS,
    ]


def test_an_input_that_is_gone_is_said_to_be_gone(leaked_project):
    Path(ADAPTED).unlink()
    assert "gone, nothing known before it" in render_tree(CODES)
    assert lineage_graph.load_path_from_split("val", CODES)[:2] == ["val", f"{ADAPTED} (gone)"]


def test_weights_without_lineage_are_of_unknown_origin(clean_project):
    io.save_tensors("bare.safetensors", {"w": torch.ones(1)}, kind="weights", meta={})
    assert "no lineage: of unknown origin" in render_tree("bare.safetensors")
    assert "no code files are recorded" in render_tree("bare.safetensors")


def test_an_edited_lineage_is_refused_wherever_it_stands_in_the_tree(leaked_project):
    tensors, meta = io.load_tensors(ADAPTED)
    meta["lineage"]["splits_seen"] = ["train"]
    io.save_tensors(ADAPTED, tensors, kind="weights", meta=meta)
    with pytest.raises(ArtifactError, match=r"ttt/model\.safetensors: its lineage does not fit its digest"):
        render_tree(ADAPTED)
    with pytest.raises(ArtifactError, match=r"ttt/model\.safetensors: its lineage does not fit its digest"):
        made(CODES, "quantize", {"weights": ADAPTED})


def test_a_lineage_that_was_sealed_anew_without_val_is_contradicted_by_its_inputs(leaked_project):
    origin = lineage.with_digest(lineage.make_lineage("quantize", {"weights": ADAPTED}) | {"splits_seen": ["train"]})
    io.save_tensors(CODES, {"w": torch.ones(2)}, kind="weights", meta={"lineage": origin})
    assert lineage_graph.load_path_from_split("val", CODES) == [VAL, ADAPTED, CODES]
    assert f"{CODES}: its lineage leaves out a split of its inputs" in render_tree(CODES)


def test_a_whole_run_can_be_asked_from_another_folder(leaked_project, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert lineage_graph.load_path_from_split("val", leaked_project / CODES)[:2] == [VAL, ADAPTED]
    monkeypatch.chdir(leaked_project / "artifacts" / "quantize")
    assert lineage_graph.load_path_from_split("val", "codes.safetensors")[:2] == [VAL, ADAPTED]


def test_the_tree_says_whether_the_code_is_still_that_of_this_checkout(clean_project, monkeypatch):
    found = lineage.make_lineage("ema", {"weights": TRAINED})
    assert "code files are as in this checkout" in render_tree(TRAINED)
    total = len({*found["code"], *lineage.source_hashes("train")})
    edited = {"golf/model/gpt.py": "0" * 64, "golf/gone.py": "0" * 64}
    io.write_json("a.json", {"lineage": lineage.with_digest(found | {"code": found["code"] | edited})})
    assert f"2 of {total + 1} code files differ from this checkout: golf/gone.py," in render_tree("a.json")
    assert "golf/model/gpt.py" in render_tree("a.json")


def test_a_path_with_nothing_at_it_is_named_with_the_cure(tmp_path):
    for path in (tmp_path / "none.golf", tmp_path):
        with pytest.raises(InputError, match="not found; name an artifact"):
            render_tree(path)


def test_a_damaged_file_is_named(clean_project):
    Path(CODES).write_bytes(b"cut")
    with pytest.raises(ArtifactError, match=r"codes\.safetensors: not a tensor file"):
        render_tree(CODES)


def test_many_artifacts_made_of_the_same_few_files_are_walked_once_each(clean_project, monkeypatch):
    for layer in range(30):
        below = {str(i): f"{layer}_{i}.safetensors" for i in range(2)} if layer else {"w": TRAINED}
        for i in range(2):
            made(f"{layer + 1}_{i}.safetensors", "ema", below)
    opened = []
    read = lineage.read_lineage
    monkeypatch.setattr(lineage, "read_lineage", lambda path: opened.append(path) or read(path))
    assert len(lineage_graph.load_path_from_split("train", "30_0.safetensors")) == 32
    assert len(opened) == len(set(opened)) == 29 * 2 + 2
