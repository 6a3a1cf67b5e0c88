"""golf/artifacts/lineage_graph.py"""

import shutil
from pathlib import Path

import pytest
import torch

from golf.artifacts import io, lineage, lineage_graph
from golf.errors import ArtifactError
from tests.helpers.lineage_files import ADAPTED, CODES, GOLF, HESSIANS, TRAINED, VAL, write_artifact


def find_path_from_split(split: str, path) -> list[str]:
    return lineage_graph.find_path_from_split(split, lineage_graph.load_graph(path))


def test_the_path_runs_from_the_split_folder_to_the_artifact(leaked_project):
    assert find_path_from_split("val", HESSIANS) == [VAL, ADAPTED, HESSIANS]
    assert find_path_from_split("val", GOLF) == [VAL, ADAPTED, CODES, GOLF]
    assert find_path_from_split("dev", GOLF) == []
    for names in (("a", "b"), ("b", "a")):
        write_artifact(CODES, "quantize", dict(zip(names, (ADAPTED, HESSIANS), strict=True)))
        assert find_path_from_split("val", CODES) == [VAL, ADAPTED, CODES], "the shortest"
    assert find_path_from_split("train", TRAINED) == ["artifacts/fetch/train", TRAINED]
    assert find_path_from_split("val", VAL) == [VAL]


def test_a_split_without_influence_has_no_path(clean_project):
    assert find_path_from_split("val", GOLF) == []
    assert find_path_from_split("dev", GOLF)[0] == "artifacts/fetch/dev"


def test_the_path_is_known_even_if_the_split_folder_is_missing(leaked_project):
    shutil.rmtree(VAL)
    assert find_path_from_split("val", ADAPTED) == [VAL, ADAPTED]


def test_the_splits_of_a_changed_input_still_count(leaked_project):
    io.write_bytes(ADAPTED, b"another run")
    assert find_path_from_split("val", HESSIANS) == ["val", f"{ADAPTED} (changed since)", HESSIANS]


def test_the_splits_of_a_missing_input_still_count(leaked_project):
    Path(ADAPTED).unlink()
    assert find_path_from_split("val", CODES)[:2] == ["val", f"{ADAPTED} (missing)"]


def test_an_edited_lineage_is_refused_anywhere_in_the_graph(leaked_project):
    tensors, meta = io.load_tensors(ADAPTED)
    meta["lineage"]["splits_seen"] = ["train"]
    io.save_tensors(ADAPTED, tensors, kind="weights", meta=meta)
    with pytest.raises(ArtifactError, match=r"ttt/model\.safetensors: the lineage does not match its digest"):
        lineage_graph.load_graph(ADAPTED)
    with pytest.raises(ArtifactError, match=r"ttt/model\.safetensors: the lineage does not match its digest"):
        write_artifact(CODES, "quantize", {"weights": ADAPTED})


def test_a_record_without_val_is_contradicted_by_its_inputs_despite_a_valid_digest(leaked_project):
    record = lineage.with_digest(lineage.make_lineage("quantize", {"weights": ADAPTED}) | {"splits_seen": ["train"]})
    io.save_tensors(CODES, {"w": torch.ones(2)}, kind="weights", meta={"lineage": record})
    assert find_path_from_split("val", CODES) == [VAL, ADAPTED, CODES]
    assert lineage_graph.find_underreported_splits(lineage_graph.load_graph(CODES)) == [CODES]


def test_the_graph_does_not_depend_on_the_working_directory(leaked_project, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert find_path_from_split("val", leaked_project / CODES)[:2] == [VAL, ADAPTED]
    monkeypatch.chdir(leaked_project / "artifacts" / "quantize")
    assert find_path_from_split("val", "codes.safetensors")[:2] == [VAL, ADAPTED]


def test_each_file_of_a_large_graph_is_read_once(clean_project, monkeypatch):
    for layer in range(30):
        inputs = {str(i): f"{layer}_{i}.safetensors" for i in range(2)} if layer else {"w": TRAINED}
        for i in range(2):
            write_artifact(f"{layer + 1}_{i}.safetensors", "ema", inputs)
    opened = []
    read = lineage.read_lineage
    monkeypatch.setattr(lineage, "read_lineage", lambda path: opened.append(path) or read(path))
    assert len(find_path_from_split("train", "30_0.safetensors")) == 32
    assert len(opened) == len(set(opened)) == 29 * 2 + 2
