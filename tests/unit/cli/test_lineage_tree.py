"""golf/cli/lineage_tree.py: the lineage of an artifact as a tree"""

import shutil
from pathlib import Path

import pytest
import torch

from golf.artifacts import io, lineage
from golf.cli.lineage_tree import WIDTH, render_tree
from golf.errors import ArtifactError
from tests.helpers.lineage_files import ADAPTED, CODES, GOLF, HESSIANS, SIZES, TRAINED, VAL


def test_the_tree_names_every_artifact_from_the_submission_to_the_splits(clean_project):
    lines = render_tree(GOLF).splitlines()
    assert lines[0] == GOLF
    for path in (CODES, ADAPTED, TRAINED, HESSIANS, "artifacts/fetch/dev"):
        assert any(line.lstrip("│├└─ ") == path for line in lines), path
    text = "\n".join(lines)
    assert "by ttt; upstream train, dev" in text
    assert "seed 42, 8 ranks, parameters " in text
    assert f"sha256 {io.sha256_file(TRAINED)[:12]}, by train; upstream train" in text
    assert "2 documents, 6 tokens" in text
    assert "val" not in text


@pytest.mark.parametrize("path", [GOLF, SIZES, CODES, VAL])
def test_the_tree_of_any_artifact_fits_80_columns(leaked_project, path):
    assert max(map(len, render_tree(path).splitlines())) <= WIDTH == 80


def test_a_file_used_twice_is_described_once(clean_project):
    text = render_tree(GOLF)
    assert text.count(TRAINED) == 1
    assert text.count(ADAPTED) == 2
    assert text.count("as above") == 2  # the adapted weights, and the train split of both train and calibrate


def test_the_path_from_val_is_marked_and_named(leaked_project):
    lines = render_tree(GOLF).splitlines()
    marked = [line.removesuffix(" <- val").lstrip("│├└─ ") for line in lines if line.endswith(" <- val")]
    assert {GOLF, CODES, ADAPTED, VAL} <= set(marked)
    assert TRAINED not in marked
    text = " ".join(line.strip() for line in lines)
    assert f"val is upstream: {VAL} -> {ADAPTED} -> " in text


def test_a_missing_split_folder_is_reported(leaked_project):
    shutil.rmtree(VAL)
    assert "missing: split val" in render_tree(ADAPTED)


def test_a_changed_input_is_reported(leaked_project):
    io.write_bytes(ADAPTED, b"another run")
    assert "changed since, its inputs are unknown" in render_tree(CODES)


def test_a_missing_input_is_reported(leaked_project):
    Path(ADAPTED).unlink()
    assert "missing, its inputs are unknown" in render_tree(CODES)


def test_weights_without_lineage_are_of_unknown_origin(clean_project):
    io.save_tensors("bare.safetensors", {"w": torch.ones(1)}, kind="weights", meta={})
    assert "unknown origin: no lineage" in render_tree("bare.safetensors")
    assert "no source files are recorded" in render_tree("bare.safetensors")


def test_a_record_that_omits_a_split_of_its_inputs_is_reported(leaked_project):
    record = lineage.with_digest(lineage.make_lineage("quantize", {"weights": ADAPTED}) | {"splits_seen": ["train"]})
    io.save_tensors(CODES, {"w": torch.ones(2)}, kind="weights", meta={"lineage": record})
    assert f"{CODES}: its lineage omits a split of its inputs" in render_tree(CODES)


def test_the_tree_reports_source_files_that_differ(clean_project, monkeypatch):
    record = lineage.make_lineage("ema", {"weights": TRAINED})
    assert "source files are unchanged in this checkout" in render_tree(TRAINED)
    total = len({*record["code"], *lineage.hash_sources("train")})
    edited = {"golf/model/gpt.py": "0" * 64, "golf/gone.py": "0" * 64}
    io.write_json("a.json", {"lineage": lineage.with_digest(record | {"code": record["code"] | edited})})
    assert f"2 of {total + 1} source files differ in this checkout: golf/gone.py," in render_tree("a.json")
    assert "golf/model/gpt.py" in render_tree("a.json")


def test_a_missing_path_is_named_with_a_hint(tmp_path):
    for path in (tmp_path / "none.golf", tmp_path):
        with pytest.raises(ArtifactError, match="not found: it must be an artifact or a split folder"):
            render_tree(path)


def test_a_damaged_file_is_named(clean_project):
    Path(CODES).write_bytes(b"cut")
    with pytest.raises(ArtifactError, match=r"codes\.safetensors: not a tensor file"):
        render_tree(CODES)


def test_a_truncated_checkpoint_or_shard_is_not_called_sound(clean_project):
    shard = next(Path("artifacts/fetch/train").glob("*.bin"))
    shard.write_bytes(shard.read_bytes()[:-2])
    text = render_tree(ADAPTED)
    assert f"damaged: {shard}: " in " ".join(text.replace("│", " ").split())
    assert max(map(len, text.splitlines())) <= 80
    weights = Path(ADAPTED)
    weights.write_bytes(weights.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match=rf"{ADAPTED}: damaged"):
        render_tree(ADAPTED)
