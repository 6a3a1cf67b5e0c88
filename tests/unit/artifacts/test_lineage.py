import dataclasses
import json
from pathlib import Path

import pytest
import torch

from golf.artifacts import io, lineage, source_deps
from golf.config import loader
from golf.errors import ArtifactError
from tests.helpers.tiny_corpus import ROOT


def save_weights(path: Path, record: dict | None, **meta) -> Path:
    """A tensor file with this lineage."""
    meta |= {} if record is None else {"lineage": record}
    io.save_tensors(path, {"w": torch.ones(2)}, kind="weights", meta=meta)
    return path


@pytest.fixture
def paths(tmp_path) -> dict[str, Path]:
    """Three splits, weights influenced by train, and a plan influenced by train and val."""
    paths = {}
    for split in ("train", "dev", "val"):
        paths[split] = tmp_path / split
        io.write_json(tmp_path / split / "index.json", {"split": split})
    paths["weights"] = save_weights(
        tmp_path / "model.safetensors", lineage.make_lineage("train", {"train": paths["train"]})
    )
    paths["plan"] = tmp_path / "plan.json"
    record = lineage.make_lineage("ttt", {"weights": paths["weights"], "stream": paths["val"]})
    io.write_json(paths["plan"], {"splits_seen": record["splits_seen"], "lineage": record})
    return paths


def test_the_splits_seen_are_the_union_over_all_inputs(paths):
    def seen(*names):
        return lineage.make_lineage("ttt", {name: paths[name] for name in names})["splits_seen"]

    assert seen("weights") == ["train"]
    assert seen("weights", "dev") == ["train", "dev"]
    assert seen("dev", "weights") == ["train", "dev"]
    assert seen("dev", "plan", "weights") == ["train", "dev", "val"]


def test_a_file_without_lineage_is_of_unknown_origin(tmp_path):
    save_weights(tmp_path / "a.safetensors", None)
    io.write_json(tmp_path / "a.json", {"splits_seen": ["train"]})
    (tmp_path / "a.model").write_bytes(b"tokenizer")
    (tmp_path / "a.golf").write_bytes(b"weights")
    (tmp_path / "folder").mkdir()
    for name in ("a.safetensors", "a.json", "a.model", "a.golf", "folder"):
        assert lineage.list_upstream_splits(tmp_path / name) == ["unknown"]


def test_an_output_of_a_file_of_unknown_origin_says_so(paths, tmp_path):
    bare = save_weights(tmp_path / "bare.safetensors", None)
    assert lineage.make_lineage("ema", {"a": paths["weights"], "b": bare})["splits_seen"] == ["train", "unknown"]


def test_a_copied_file_keeps_its_lineage(paths, tmp_path):
    copied = tmp_path / "elsewhere.safetensors"
    copied.write_bytes(paths["weights"].read_bytes())
    assert lineage.read_lineage(copied) == lineage.read_lineage(paths["weights"])


def test_lineage_is_deterministic_and_independent_of_the_order_of_inputs(paths):
    section = loader.load_config(ROOT / "profiles" / "laptop.yaml").quantize
    one = lineage.make_lineage("quantize", {"a": paths["weights"], "b": paths["dev"]}, section, seed=3, world_size=2)
    two = lineage.make_lineage(
        "quantize", {"b": paths["dev"], "a": str(paths["weights"])}, section, seed=3, world_size=2
    )
    assert json.dumps(one) == json.dumps(two)
    assert list(one["inputs"]) == ["a", "b"]
    assert (one["stage"], one["seed"], one["ranks"]) == ("quantize", 3, 2)


def test_the_precision_of_a_stage_that_ran_a_model_is_recorded_by_name():
    record = lineage.make_lineage("train", {}, dtype=torch.bfloat16)
    assert lineage.validate(record, "a.json")["dtype"] == "bfloat16"
    assert "dtype" not in lineage.make_lineage("quantize", {})
    with pytest.raises(ArtifactError, match="was edited"):
        lineage.validate(record | {"dtype": "float32"}, "a.json")
    with pytest.raises(ArtifactError, match="malformed: dtype"):
        lineage.validate(lineage.with_digest(record | {"dtype": 16}), "a.json")


def test_an_input_is_recorded_with_its_path_and_sha256(paths, monkeypatch):
    monkeypatch.chdir(paths["weights"].parent)
    inputs = lineage.make_lineage("ema", {"weights": Path("model.safetensors"), "stream": "dev"})["inputs"]
    assert inputs == {
        "stream": {"path": "dev", "sha256": io.sha256_file("dev/index.json")},
        "weights": {"path": "model.safetensors", "sha256": io.sha256_file("model.safetensors")},
    }


def test_a_changed_input_changes_the_lineage(paths):
    before = lineage.make_lineage("ema", {"weights": paths["weights"]})
    io.save_tensors(paths["weights"], {"w": torch.zeros(2)}, kind="weights", meta={})
    assert lineage.make_lineage("ema", {"weights": paths["weights"]})["inputs"] != before["inputs"]


def test_a_changed_index_changes_the_lineage(paths):
    before = lineage.make_lineage("train", {"train": paths["train"]})
    io.write_json(paths["train"] / "index.json", {"split": "train", "shards": []})
    assert lineage.make_lineage("train", {"train": paths["train"]})["inputs"] != before["inputs"]


def test_any_changed_parameter_changes_the_lineage():
    section = loader.load_config(ROOT / "profiles" / "laptop.yaml").quantize
    base = lineage.make_lineage("quantize", {}, section)["parameters"]
    for change in ({"damping_frac": 0.02}, {"weights": "ttt"}, {"block_size": 64}):
        assert lineage.make_lineage("quantize", {}, dataclasses.replace(section, **change))["parameters"] != base
    assert lineage.make_lineage("quantize", {}, section, 4096)["parameters"] != base


def test_a_files_digest_is_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert lineage.hash_artifact(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ---- source files


def test_the_source_files_do_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = lineage.make_lineage("quantize", {})["code"]
    assert list(code) == source_deps.list_stage_sources("quantize", ROOT)
    assert code["golf/quantization/gptq.py"] == io.sha256_file(ROOT / "golf/quantization/gptq.py")
    assert {"golf/errors.py", "golf/quantization/__init__.py"}.isdisjoint(code), "cannot change an output"


def test_source_files_are_hashed_once_so_that_later_edits_do_not_count(monkeypatch):
    hashes = lineage.hash_sources("ema")
    monkeypatch.setattr(io, "sha256_file", lambda path: "edited")
    assert lineage.hash_sources("ema") is hashes


# ---- edited records


@pytest.mark.parametrize(
    ("key", "value"),
    [("splits_seen", []), ("seed", 4), ("ranks", 8), ("inputs", {}), ("code", {}), ("parameters", "0"), ("stage", "x")],
)
def test_an_edit_of_any_key_is_detected_and_the_file_named(tmp_path, paths, key, value):
    record = lineage.make_lineage("train", {"train": paths["train"]}, seed=3)
    path = save_weights(tmp_path / "edited.safetensors", record | {key: value})
    with pytest.raises(
        ArtifactError, match=r"edited\.safetensors: the lineage does not match its digest: it was edited"
    ):
        lineage.list_upstream_splits(path)
    with pytest.raises(ArtifactError, match=r"edited\.safetensors"):
        lineage.make_lineage("ema", {"weights": path})


@pytest.mark.parametrize("key", sorted(lineage.FIELD_TYPES))
def test_a_lineage_with_a_key_missing_is_refused(key):
    record = lineage.make_lineage("train", {})
    del record[key]
    with pytest.raises(ArtifactError, match=r"a\.json: its lineage must have the keys stage, inputs"):
        lineage.validate(record, "a.json")


@pytest.mark.parametrize("record", [None, [], "train", {}, 3])
def test_a_value_that_is_no_lineage_is_refused(record):
    with pytest.raises(ArtifactError, match=r"a\.json: its lineage must have the keys"):
        lineage.validate(record, "a.json")


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
def test_wrong_types_are_refused_even_with_a_valid_digest(key, value):
    record = lineage.with_digest(lineage.make_lineage("train", {}) | {key: value})
    with pytest.raises(ArtifactError, match=rf"its lineage is malformed: {key}"):
        lineage.validate(record, "a.json")


def test_a_plan_must_name_the_same_splits_as_its_lineage(paths):
    plan = io.read_json(paths["plan"])
    io.write_json(paths["plan"], plan | {"splits_seen": ["train", "dev"]})
    with pytest.raises(ArtifactError, match=r"plan\.json: splits_seen is \['train', 'dev'\], but"):
        lineage.list_upstream_splits(paths["plan"])


def test_a_golf_file_takes_its_lineage_from_sizes_json_only_if_the_sha256_matches(tmp_path):
    artifact, sizes = tmp_path / "model.golf", tmp_path / "sizes.json"
    artifact.write_bytes(b"weights")
    record = lineage.make_lineage("compress", {})
    io.write_json(sizes, {"payload_sha256": io.sha256_file(artifact), "splits_seen": [], "lineage": record})
    assert lineage.read_lineage(artifact) == record
    artifact.write_bytes(b"others")
    assert lineage.read_lineage(artifact) is None
