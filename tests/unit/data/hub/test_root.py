"""golf/data/hub/root.py"""

from pathlib import Path

import pytest

from golf.data.hub import root as hub_root
from golf.errors import ArtifactError, InputError
from tests.helpers.stage_processes import write_params

INDEX = Path("artifacts/fetch/train/index.json")
CURE = "set hub.root to where the shards lie, or run: dvc repro -f fetch"


@pytest.fixture(autouse=True)
def work_dir(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("root", ["data", "../data", "~/data", "/srv/data"])
def test_a_folder_is_found_below_the_root_that_params_name_now(work_dir, monkeypatch, root):
    monkeypatch.setenv("HOME", str(work_dir / "home"))
    places = {"data": work_dir / "data", "../data": work_dir.parent / "data", "~/data": work_dir / "home/data"}
    wanted = places.get(root, Path("/srv/data"))
    assert hub_root.resolve_root(root) == wanted
    if root != "/srv/data":
        (wanted / "train-ab").mkdir(parents=True)
        write_params(work_dir, {"hub.root": root})
        assert hub_root.resolve_subfolder(INDEX, "train-ab") == wanted / "train-ab"


def test_the_home_of_nobody_is_no_root():
    with pytest.raises(
        InputError, match=r"hub\.root: ~nobody-of-this-name/data leads nowhere \(.*\); name the folder in"
    ):
        hub_root.resolve_root("~nobody-of-this-name/data")


def test_a_root_without_the_folder_names_it_the_key_and_the_cure(work_dir):
    write_params(work_dir, {"hub.root": "gone"})
    with pytest.raises(ArtifactError) as caught:
        hub_root.resolve_subfolder(INDEX, "train-ab")
    where = f"its shards should lie in {work_dir}/gone/train-ab, by hub.root, which is not there"
    assert str(caught.value) == f"{INDEX}: {where}; {CURE}"


def test_a_root_that_is_null_is_refused_where_shards_lie_in_one(work_dir):
    write_params(work_dir, {"hub.root": None})
    with pytest.raises(ArtifactError) as caught:
        hub_root.resolve_subfolder(INDEX, "train-ab")
    assert str(caught.value) == f"{INDEX}: its shards lie in train-ab of hub.root, which is null; {CURE}"


@pytest.mark.parametrize("name", ["", ".", "..", "/srv/train-ab", "../train-ab", "a/b"])
def test_an_index_names_no_folder_outside_the_root(work_dir, name):
    write_params(work_dir, {"hub.root": "."})
    with pytest.raises(ArtifactError, match=r"root must be the name of a folder in hub\.root, got .*; run fetch again"):
        hub_root.resolve_subfolder(INDEX, name)
