"""golf/ground/nodes.py, and two machines that are two process groups of this one"""

import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import thimble as project
from processes import told_once

from golf.ground import nodes, store
from golf.ground.errors import GolfError

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
RANKED = ("train", "ttt", "calibrate", "evaluate")  # stages that can have several ranks
WHOLE = {f"{stage}.ranks": 2 for stage in RANKED}


@pytest.fixture
def second_of_two(monkeypatch):
    for name, value in machine(1, 29500).items():
        monkeypatch.setenv(name, value)


def machine(number: int, port: int) -> dict[str, str]:
    """What docs/machines.md says to export on machine ``number`` of two."""
    return {
        "PET_NNODES": "2",
        "PET_NODE_RANK": str(number),
        "PET_MASTER_ADDR": "localhost",
        "PET_MASTER_PORT": str(port),
        "GOLF_SECRET": "00112233445566778899aabbccddeeff",
    }


def test_without_torchruns_variables_a_machine_is_alone_and_runs_all_ranks():
    place = nodes.place("train", 8)
    assert (place["min_nodes"], place["nproc_per_node"], place["rdzv_endpoint"]) == (1, 8, "localhost:0")


def test_the_second_machine_of_two_runs_half_of_the_ranks_and_goes_to_the_first(second_of_two):
    place = nodes.place("train", 8)
    assert (place["max_nodes"], place["nproc_per_node"]) == (2, 4)
    assert (place["rdzv_backend"], place["rdzv_configs"]["rank"]) == ("static", 1)
    assert (place["rdzv_endpoint"], place["run_id"]) == ("localhost:29500", "golf-train")


def test_ranks_that_machines_cannot_share_evenly_are_refused_by_their_key(second_of_two):
    with pytest.raises(GolfError, match=r"train\.ranks: 7 can't be shared out evenly over PET_NNODES=2 machines"):
        nodes.share("train", 7)


@pytest.mark.parametrize(("count", "own"), [("2", "2"), ("1:2", "0"), ("2", "-1"), ("", "0")])
def test_numbers_of_machines_that_are_none_are_refused(monkeypatch, count, own):
    monkeypatch.setenv("PET_NNODES", count)
    monkeypatch.setenv("PET_NODE_RANK", own)
    with pytest.raises(GolfError, match=r"PET_NNODES=.*, PET_NODE_RANK=.*: must be numbers, as 2 and 0, then 2 and 1"):
        nodes.place("train", 2)


def test_machines_without_an_address_to_meet_at_are_refused_by_the_variable(second_of_two, monkeypatch):
    monkeypatch.delenv("PET_MASTER_PORT")
    with pytest.raises(GolfError, match=r"PET_MASTER_PORT: not set, and PET_NNODES=2 machines need it"):
        nodes.place("train", 2)


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.fixture
def start():
    """Start a command as on one machine of two; whatever still runs at the end is ended."""
    running = []

    def begin(number: int, port: int, folder, *command: str) -> subprocess.Popen:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=project.environment(folder) | machine(number, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.communicate()


def ended(process: subprocess.Popen, code: int = 0) -> str:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == code, said
    return said


def stage(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"stages.{name}"


def losses(folder: Path) -> list[float]:
    with open(folder / "artifacts/train/log.csv", encoding="utf-8") as rows:
        return [float(row["loss"]) for row in csv.DictReader(rows)]


def test_two_machines_train_what_one_trains_and_the_first_alone_writes(place, start, port, tmp_path, monkeypatch):
    monkeypatch.setenv("GOLF_RUNS", str(tmp_path / "runs"))
    before = losses(place)
    shutil.rmtree(place / "artifacts/train")
    project.turn(place, {"train.ranks": 2})
    other = project.copy(place, tmp_path / "other")
    second = start(1, port, other, *stage("train"))
    said = ended(start(0, port, place, *stage("train")))
    assert ended(second) == ""
    assert ", 2 ranks" in said
    assert not (other / "artifacts/train").exists()
    assert losses(place) == pytest.approx(before, abs=1e-4)


def test_machines_with_unlike_params_are_refused_by_the_key_on_both(place, start, port, tmp_path):
    project.turn(place, {"train.ranks": 2})
    other = project.copy(place, tmp_path / "other")
    project.turn(other, {"train.seed": 7})
    second = start(1, port, other, *stage("train"))
    for said in (ended(start(0, port, place, *stage("train")), code=1), ended(second, code=1)):
        told_once(said.replace("train: all 2 ranks stopped\n", ""), "train")
        assert said.count("train.seed: 314 on rank 0") == 1


REST = "for stage in train ttt calibrate evaluate; do python -m stages.$stage || exit; done"  # docs/machines.md


@pytest.mark.soak
def test_two_machines_in_a_shared_folder_make_bit_for_bit_what_one_makes(finished_run, start, port, tmp_path):
    folder = project.copy(finished_run, tmp_path / "shared")
    for name in project.STAGES[1:]:
        shutil.rmtree(folder / "artifacts" / name)
    project.turn(folder, WHOLE)
    alone = project.copy(folder, tmp_path / "alone")
    for name in project.STAGES[1:]:
        project.run(name, alone)
    project.git(folder, "init", "--quiet")
    project.dvc(folder, "repro", "fetch")
    second = start(1, port, folder, "sh", "-c", REST)
    said = ended(start(0, port, folder, project.DVC, "repro"))
    ended(second)
    assert said.count(", 2 ranks") == len(RANKED)
    same = [
        path for path in project.files(alone / "artifacts") if path.endswith((".safetensors", ".golf", "plan.json"))
    ]
    assert len(same) > 15
    unlike = [p for p in same if (alone / "artifacts" / p).read_bytes() != (folder / "artifacts" / p).read_bytes()]
    assert unlike == []
    metrics = [store.read_json(each / "artifacts/evaluate/metrics.json") for each in (alone, folder)]
    assert metrics[0]["val_bpb"] == metrics[1]["val_bpb"]
    assert project.dvc(folder, "status").strip().endswith("up to date.")


@pytest.mark.soak
def test_torchrun_itself_starts_ranks_on_two_machines(place, start, port):
    project.turn(place, {"calibrate.ranks": 2})
    project.git(place, "init", "--quiet")
    project.dvc(place, "commit", "--force")
    hessians = (place / "artifacts/calibrate/hessians.safetensors").stat().st_mtime_ns
    command = (TORCHRUN, "--nproc_per_node=1", "-m", "stages.calibrate")
    second = start(1, port, place, *command)
    said = ended(start(0, port, place, *command))
    ended(second)
    assert ", 2 ranks" in said
    assert (place / "artifacts/calibrate/hessians.safetensors").stat().st_mtime_ns > hessians
    assert "calibrate" in project.dvc(place, "status", "calibrate")
    project.dvc(place, "commit", "--force", "calibrate")
    assert "calibrate" not in project.dvc(place, "status", "calibrate")
