"""golf/ground/lineage.py"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from golf.ground import closure, lineage, params, store
from golf.ground.errors import BadArtifact

ROOT = Path(__file__).parents[1]


def weights(path: Path, origin: dict | None, **meta) -> Path:
    """A tensor file with this lineage."""
    meta |= {} if origin is None else {"lineage": origin}
    store.save_tensors(path, {"w": torch.ones(2)}, kind="weights", meta=meta)
    return path


@pytest.fixture
def place(tmp_path) -> dict[str, Path]:
    """A train, a dev and a val split, weights that saw train, and a plan that saw train and val."""
    found = {}
    for split in ("train", "dev", "val"):
        found[split] = tmp_path / split
        store.write_json(tmp_path / split / "index.json", {"split": split})
    found["weights"] = weights(tmp_path / "model.safetensors", lineage.of("train", {"train": found["train"]}))
    found["plan"] = tmp_path / "plan.json"
    origin = lineage.of("ttt", {"weights": found["weights"], "stream": found["val"]})
    store.write_json(found["plan"], {"splits_seen": origin["splits_seen"], "lineage": origin})
    return found


def test_the_splits_seen_are_the_union_over_all_inputs(place):
    def seen(*names):
        return lineage.of("ttt", {name: place[name] for name in names})["splits_seen"]

    assert seen("weights") == ["train"]
    assert seen("weights", "dev") == ["train", "dev"]
    assert seen("dev", "weights") == ["train", "dev"]
    assert seen("dev", "plan", "weights") == ["train", "dev", "val"]


def test_a_file_without_lineage_is_of_unknown_origin(tmp_path):
    weights(tmp_path / "a.safetensors", None)
    store.write_json(tmp_path / "a.json", {"splits_seen": ["train"]})
    (tmp_path / "a.model").write_bytes(b"tokenizer")
    (tmp_path / "a.golf").write_bytes(b"weights")
    (tmp_path / "folder").mkdir()
    for name in ("a.safetensors", "a.json", "a.model", "a.golf", "folder"):
        assert lineage.splits_of(tmp_path / name) == ["unknown"]


def test_what_is_made_from_a_file_of_unknown_origin_says_so(place, tmp_path):
    bare = weights(tmp_path / "bare.safetensors", None)
    assert lineage.of("ema", {"a": place["weights"], "b": bare})["splits_seen"] == ["train", "unknown"]


def test_lineage_goes_along_when_the_file_is_copied(place, tmp_path):
    copied = tmp_path / "elsewhere.safetensors"
    copied.write_bytes(place["weights"].read_bytes())
    assert lineage.read(copied) == lineage.read(place["weights"])


def test_lineage_is_the_same_each_time_and_in_whatever_order_inputs_are_named(place):
    section = params.read(ROOT / "profiles" / "laptop.yaml").quantize
    one = lineage.of("quantize", {"a": place["weights"], "b": place["dev"]}, section, seed=3, ranks=2)
    two = lineage.of("quantize", {"b": place["dev"], "a": str(place["weights"])}, section, seed=3, ranks=2)
    assert json.dumps(one) == json.dumps(two)
    assert list(one["inputs"]) == ["a", "b"]
    assert (one["stage"], one["seed"], one["ranks"]) == ("quantize", 3, 2)


def test_an_input_is_recorded_by_its_path_as_given_and_its_sha256(place, monkeypatch):
    monkeypatch.chdir(place["weights"].parent)
    found = lineage.of("ema", {"weights": Path("model.safetensors"), "stream": "dev"})["inputs"]
    assert found == {
        "stream": {"path": "dev", "sha256": store.digest("dev/index.json")},
        "weights": {"path": "model.safetensors", "sha256": store.digest("model.safetensors")},
    }


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


# ---- the code that made it


def test_the_code_files_are_those_that_dvc_yaml_lists_whatever_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = lineage.of("quantize", {})["code"]
    assert list(found) == closure.of_stage("quantize", ROOT)
    assert found["golf/quant/gptq.py"] == store.digest(ROOT / "golf/quant/gptq.py")
    assert {"golf/ground/errors.py", "golf/quant/__init__.py"}.isdisjoint(found), "can't change a result"


def test_code_is_hashed_once_a_process_so_that_a_later_edit_does_not_speak_for_what_ran(monkeypatch):
    found = lineage.code("ema")
    monkeypatch.setattr(store, "digest", lambda path: "edited")
    assert lineage.code("ema") is found


# ---- lineage that was edited


@pytest.mark.parametrize(
    ("key", "value"),
    [("splits_seen", []), ("seed", 4), ("ranks", 8), ("inputs", {}), ("code", {}), ("parameters", "0"), ("stage", "x")],
)
def test_an_edit_of_any_key_is_seen_and_the_file_named(tmp_path, place, key, value):
    origin = lineage.of("train", {"train": place["train"]}, seed=3)
    path = weights(tmp_path / "edited.safetensors", origin | {key: value})
    with pytest.raises(BadArtifact, match=r"edited\.safetensors: its lineage does not fit its digest: it was edited"):
        lineage.splits_of(path)
    with pytest.raises(BadArtifact, match=r"edited\.safetensors"):
        lineage.of("ema", {"weights": path})


@pytest.mark.parametrize("key", sorted(lineage.TYPES))
def test_a_lineage_with_a_key_missing_is_refused(key):
    origin = lineage.of("train", {})
    del origin[key]
    with pytest.raises(BadArtifact, match=r"a\.json: its lineage must hold stage, inputs"):
        lineage.check(origin, "a.json")


@pytest.mark.parametrize("tree", [None, [], "train", {}, 3])
def test_what_is_no_lineage_at_all_is_refused(tree):
    with pytest.raises(BadArtifact, match=r"a\.json: its lineage must hold"):
        lineage.check(tree, "a.json")


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
    origin = lineage.sealed(lineage.of("train", {}) | {key: value})
    with pytest.raises(BadArtifact, match=rf"its lineage is malformed: {key}"):
        lineage.check(origin, "a.json")


def test_a_plan_that_names_other_splits_beside_its_lineage_was_edited(place):
    told = store.read_json(place["plan"])
    store.write_json(place["plan"], told | {"splits_seen": ["train", "dev"]})
    with pytest.raises(BadArtifact, match=r"plan\.json: says splits_seen \['train', 'dev'\], its lineage"):
        lineage.splits_of(place["plan"])


def test_a_submission_takes_its_lineage_from_the_sizes_beside_it_only_if_they_are_of_its_bytes(tmp_path):
    golf, sizes = tmp_path / "model.golf", tmp_path / "sizes.json"
    golf.write_bytes(b"weights")
    origin = lineage.of("compress", {})
    store.write_json(sizes, {"payload_sha256": store.digest(golf), "splits_seen": [], "lineage": origin})
    assert lineage.read(golf) == origin
    golf.write_bytes(b"others")
    assert lineage.read(golf) is None
