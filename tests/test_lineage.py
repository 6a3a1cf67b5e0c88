"""golf/ground/lineage.py"""

import dataclasses
from pathlib import Path

import pytest
import torch

from golf.ground import lineage, params, store

ROOT = Path(__file__).parents[1]


@pytest.fixture
def place(tmp_path) -> dict[str, Path]:
    """A train split, a dev split, weights that saw train, and a plan that saw train and val."""
    found = {}
    for split in ("train", "dev"):
        found[split] = tmp_path / split
        store.write_json(tmp_path / split / "index.json", {"split": split})
    found["weights"] = tmp_path / "model.safetensors"
    meta = {"lineage": {"splits_seen": ["train"]}}
    store.save_tensors(found["weights"], {"w": torch.ones(2)}, kind="weights", meta=meta)
    found["plan"] = tmp_path / "plan.json"
    store.write_json(found["plan"], {"splits_seen": ["train", "val"]})
    return found


def test_the_splits_seen_are_the_union_over_all_inputs(place):
    def seen(*names):
        return lineage.of("ttt", {name: place[name] for name in names})["splits_seen"]

    assert seen("weights") == ["train"]
    assert seen("weights", "dev") == ["train", "dev"]
    assert seen("dev", "weights") == ["train", "dev"]
    assert seen("dev", "plan", "weights") == ["train", "dev", "val"]


def test_a_file_without_lineage_is_of_unknown_origin(tmp_path):
    store.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(1)}, kind="x", meta={})
    store.write_json(tmp_path / "a.json", {})
    (tmp_path / "a.model").write_bytes(b"tokenizer")
    for name in ("a.safetensors", "a.json", "a.model"):
        assert lineage.splits_of(tmp_path / name) == ["unknown"]


def test_lineage_is_the_same_each_time_and_in_whatever_order_inputs_are_named(place):
    section = params.read(ROOT / "profiles" / "laptop.yaml").quantize
    one = lineage.of("quantize", {"a": place["weights"], "b": place["dev"]}, section, seed=3, ranks=2)
    two = lineage.of("quantize", {"b": place["dev"], "a": str(place["weights"])}, section, seed=3, ranks=2)
    assert one == two
    assert list(one["inputs"]) == ["a", "b"]
    assert (one["stage"], one["seed"], one["ranks"]) == ("quantize", 3, 2)


def test_another_input_gives_another_lineage(place):
    before = lineage.of("ema", {"weights": place["weights"]})
    store.save_tensors(place["weights"], {"w": torch.zeros(2)}, kind="weights", meta={})
    assert lineage.of("ema", {"weights": place["weights"]})["inputs"] != before["inputs"]


def test_another_index_gives_a_split_another_lineage(place):
    before = lineage.of("train", {"train": place["train"]})
    store.write_json(place["train"] / "index.json", {"split": "train", "shards": []})
    assert lineage.of("train", {"train": place["train"]})["inputs"] != before["inputs"]


def test_any_parameter_that_changes_changes_the_lineage():
    section = params.read(ROOT / "profiles" / "laptop.yaml").quantize
    base = lineage.of("quantize", {}, section)["parameters"]
    for change in ({"damp": 0.02}, {"weights": "ttt"}, {"block": 64}):
        assert lineage.of("quantize", {}, dataclasses.replace(section, **change))["parameters"] != base
    assert lineage.of("quantize", {}, section, 4096)["parameters"] != base


def test_a_file_is_known_by_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert lineage.file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
