"""golf/artifacts/lineage.py"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from golf.artifacts import io, lineage, source_deps
from golf.config import loader
from golf.errors import ArtifactError
from tests.helpers.tiny_corpus import ROOT


def weights(path: Path, origin: dict | None, **meta) -> Path:
    """A tensor file with this lineage."""
    meta |= {} if origin is None else {"lineage": origin}
    io.save_tensors(path, {"w": torch.ones(2)}, kind="weights", meta=meta)
    return path


@pytest.fixture
def paths(tmp_path) -> dict[str, Path]:
    """A train, a dev and a val split, weights that saw train, and a plan that saw train and val."""
    found = {}
    for split in ("train", "dev", "val"):
        found[split] = tmp_path / split
        io.write_json(tmp_path / split / "index.json", {"split": split})
    found["weights"] = weights(tmp_path / "model.safetensors", lineage.make_lineage("train", {"train": found["train"]}))
    found["plan"] = tmp_path / "plan.json"
    origin = lineage.make_lineage("ttt", {"weights": found["weights"], "stream": found["val"]})
    io.write_json(found["plan"], {"splits_seen": origin["splits_seen"], "lineage": origin})
    return found


def test_the_splits_seen_are_the_union_over_all_inputs(paths):
    def seen(*names):
        return lineage.make_lineage("ttt", {name: paths[name] for name in names})["splits_seen"]

    assert seen("weights") == ["train"]
    assert seen("weights", "dev") == ["train", "dev"]
    assert seen("dev", "weights") == ["train", "dev"]
    assert seen("dev", "plan", "weights") == ["train", "dev", "val"]


def test_a_file_without_lineage_is_of_unknown_origin(tmp_path):
    weights(tmp_path / "a.safetensors", None)
    io.write_json(tmp_path / "a.json", {"splits_seen": ["train"]})
    (tmp_path / "a.model").write_bytes(b"tokenizer")
    (tmp_path / "a.golf").write_bytes(b"weights")
    (tmp_path / "folder").mkdir()
    for name in ("a.safetensors", "a.json", "a.model", "a.golf", "folder"):
        assert lineage.upstream_splits(tmp_path / name) == ["unknown"]


def test_what_is_made_from_a_file_of_unknown_origin_says_so(paths, tmp_path):
    bare = weights(tmp_path / "bare.safetensors", None)
    assert lineage.make_lineage("ema", {"a": paths["weights"], "b": bare})["splits_seen"] == ["train", "unknown"]


def test_lineage_goes_along_when_the_file_is_copied(paths, tmp_path):
    copied = tmp_path / "elsewhere.safetensors"
    copied.write_bytes(paths["weights"].read_bytes())
    assert lineage.read_lineage(copied) == lineage.read_lineage(paths["weights"])


def test_lineage_is_the_same_each_time_and_in_whatever_order_inputs_are_named(paths):
    section = loader.load_config(ROOT / "profiles" / "laptop.yaml").quantize
    one = lineage.make_lineage("quantize", {"a": paths["weights"], "b": paths["dev"]}, section, seed=3, world_size=2)
    two = lineage.make_lineage(
        "quantize", {"b": paths["dev"], "a": str(paths["weights"])}, section, seed=3, world_size=2
    )
    assert json.dumps(one) == json.dumps(two)
    assert list(one["inputs"]) == ["a", "b"]
    assert (one["stage"], one["seed"], one["ranks"]) == ("quantize", 3, 2)


def test_an_input_is_recorded_by_its_path_as_given_and_its_sha256(paths, monkeypatch):
    monkeypatch.chdir(paths["weights"].parent)
    found = lineage.make_lineage("ema", {"weights": Path("model.safetensors"), "stream": "dev"})["inputs"]
    assert found == {
        "stream": {"path": "dev", "sha256": io.sha256_file("dev/index.json")},
        "weights": {"path": "model.safetensors", "sha256": io.sha256_file("model.safetensors")},
    }


def test_another_input_gives_another_lineage(paths):
    before = lineage.make_lineage("ema", {"weights": paths["weights"]})
    io.save_tensors(paths["weights"], {"w": torch.zeros(2)}, kind="weights", meta={})
    assert lineage.make_lineage("ema", {"weights": paths["weights"]})["inputs"] != before["inputs"]


def test_another_index_gives_a_split_another_lineage(paths):
    before = lineage.make_lineage("train", {"train": paths["train"]})
    io.write_json(paths["train"] / "index.json", {"split": "train", "shards": []})
    assert lineage.make_lineage("train", {"train": paths["train"]})["inputs"] != before["inputs"]


def test_any_parameter_that_changes_changes_the_lineage():
    section = loader.load_config(ROOT / "profiles" / "laptop.yaml").quantize
    base = lineage.make_lineage("quantize", {}, section)["parameters"]
    for change in ({"damp": 0.02}, {"weights": "ttt"}, {"block": 64}):
        assert lineage.make_lineage("quantize", {}, dataclasses.replace(section, **change))["parameters"] != base
    assert lineage.make_lineage("quantize", {}, section, 4096)["parameters"] != base


def test_a_file_is_known_by_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert lineage.artifact_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ---- the code that made it


def test_the_code_files_are_those_that_dvc_yaml_lists_whatever_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = lineage.make_lineage("quantize", {})["code"]
    assert list(found) == source_deps.stage_sources("quantize", ROOT)
    assert found["golf/quantization/gptq.py"] == io.sha256_file(ROOT / "golf/quantization/gptq.py")
    assert {"golf/errors.py", "golf/quant/__init__.py"}.isdisjoint(found), "can't change a result"


def test_code_is_hashed_once_a_process_so_that_a_later_edit_does_not_speak_for_what_ran(monkeypatch):
    found = lineage.source_hashes("ema")
    monkeypatch.setattr(io, "sha256_file", lambda path: "edited")
    assert lineage.source_hashes("ema") is found


# ---- lineage that was edited


@pytest.mark.parametrize(
    ("key", "value"),
    [("splits_seen", []), ("seed", 4), ("ranks", 8), ("inputs", {}), ("code", {}), ("parameters", "0"), ("stage", "x")],
)
def test_an_edit_of_any_key_is_seen_and_the_file_named(tmp_path, paths, key, value):
    origin = lineage.make_lineage("train", {"train": paths["train"]}, seed=3)
    path = weights(tmp_path / "edited.safetensors", origin | {key: value})
    with pytest.raises(ArtifactError, match=r"edited\.safetensors: its lineage does not fit its digest: it was edited"):
        lineage.upstream_splits(path)
    with pytest.raises(ArtifactError, match=r"edited\.safetensors"):
        lineage.make_lineage("ema", {"weights": path})


@pytest.mark.parametrize("key", sorted(lineage.FIELD_TYPES))
def test_a_lineage_with_a_key_missing_is_refused(key):
    origin = lineage.make_lineage("train", {})
    del origin[key]
    with pytest.raises(ArtifactError, match=r"a\.json: its lineage must hold stage, inputs"):
        lineage.validate(origin, "a.json")


@pytest.mark.parametrize("tree", [None, [], "train", {}, 3])
def test_what_is_no_lineage_at_all_is_refused(tree):
    with pytest.raises(ArtifactError, match=r"a\.json: its lineage must hold"):
        lineage.validate(tree, "a.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inputs", ["a"]),
        ("inputs", {"a": "0" * 64}),
        ("inputs", {"a": {"path": 1, "sha256": "0"}}),
        ("code", {"a.py": None}),
        ("splits_seen", ["test"]),
        ("splits_seen", [["val"]]),
        ("splits_seen", "val"),
        ("ranks", "many"),
    ],
)
def test_a_lineage_of_other_types_is_refused_though_its_digest_fits(key, value):
    origin = lineage.with_digest(lineage.make_lineage("train", {}) | {key: value})
    with pytest.raises(ArtifactError, match=rf"its lineage is malformed: {key}"):
        lineage.validate(origin, "a.json")


def test_a_plan_that_names_other_splits_beside_its_lineage_was_edited(paths):
    told = io.read_json(paths["plan"])
    io.write_json(paths["plan"], told | {"splits_seen": ["train", "dev"]})
    with pytest.raises(ArtifactError, match=r"plan\.json: says splits_seen \['train', 'dev'\], its lineage"):
        lineage.upstream_splits(paths["plan"])


def test_a_submission_takes_its_lineage_from_the_sizes_beside_it_only_if_they_are_of_its_bytes(tmp_path):
    golf, sizes = tmp_path / "model.golf", tmp_path / "sizes.json"
    golf.write_bytes(b"weights")
    origin = lineage.make_lineage("compress", {})
    io.write_json(sizes, {"payload_sha256": io.sha256_file(golf), "splits_seen": [], "lineage": origin})
    assert lineage.read_lineage(golf) == origin
    golf.write_bytes(b"others")
    assert lineage.read_lineage(golf) is None
