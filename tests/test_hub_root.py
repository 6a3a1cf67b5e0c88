"""golf/data/hub_root.py"""

from pathlib import Path

import pytest
from processes import configured

from golf.data import hub_root
from golf.ground.errors import BadArtifact, BadInput

INDEX = Path("artifacts/fetch/train/index.json")
CURE = "set hub.root to where the shards lie, or run: dvc repro -f fetch"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("root", ["data", "../data", "~/data", "/srv/data"])
def test_a_folder_is_found_below_the_root_that_params_name_now(here, monkeypatch, root):
    monkeypatch.setenv("HOME", str(here / "home"))
    places = {"data": here / "data", "../data": here.parent / "data", "~/data": here / "home/data"}
    wanted = places.get(root, Path("/srv/data"))
    assert hub_root.resolved(root) == wanted
    if root != "/srv/data":
        (wanted / "train-ab").mkdir(parents=True)
        configured(here, {"hub.root": root})
        assert hub_root.below(INDEX, "train-ab") == wanted / "train-ab"


def test_the_home_of_nobody_is_no_root():
    with pytest.raises(
        BadInput, match=r"hub\.root: ~nobody-of-this-name/data leads nowhere \(.*\); name the folder in"
    ):
        hub_root.resolved("~nobody-of-this-name/data")


def test_a_root_without_the_folder_names_it_the_key_and_the_cure(here):
    configured(here, {"hub.root": "gone"})
    with pytest.raises(BadArtifact) as caught:
        hub_root.below(INDEX, "train-ab")
    where = f"its shards should lie in {here}/gone/train-ab, by hub.root, which is not there"
    assert str(caught.value) == f"{INDEX}: {where}; {CURE}"


def test_a_root_that_is_null_is_refused_where_shards_lie_in_one(here):
    configured(here, {"hub.root": None})
    with pytest.raises(BadArtifact) as caught:
        hub_root.below(INDEX, "train-ab")
    assert str(caught.value) == f"{INDEX}: its shards lie in train-ab of hub.root, which is null; {CURE}"


@pytest.mark.parametrize("name", ["", ".", "..", "/srv/train-ab", "../train-ab", "a/b"])
def test_an_index_names_no_folder_outside_the_root(here, name):
    configured(here, {"hub.root": "."})
    with pytest.raises(BadArtifact, match=r"root must be the name of a folder in hub\.root, got .*; run fetch again"):
        hub_root.below(INDEX, name)
