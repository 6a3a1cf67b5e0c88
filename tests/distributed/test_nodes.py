"""golf/distributed/nodes.py, and two machines that are two process groups of this one"""

import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from golf.distributed import nodes
from golf.errors import GolfError
from tests.helpers import tiny_project
from tests.helpers.stage_processes import assert_single_error

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
RANKED = ("train", "ttt", "calibrate", "evaluate")  # stages that can have several ranks
WHOLE = {f"{stage}.ranks": 2 for stage in RANKED}


@pytest.fixture
def second_node_env(monkeypatch):
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
    place = nodes.launch_config("train", 8)
    assert (place["min_nodes"], place["nproc_per_node"], place["rdzv_endpoint"]) == (1, 8, "localhost:0")


def test_the_second_machine_of_two_runs_half_of_the_ranks_and_goes_to_the_first(second_node_env):
    place = nodes.launch_config("train", 8)
    assert (place["max_nodes"], place["nproc_per_node"]) == (2, 4)
    assert (place["rdzv_backend"], place["rdzv_configs"]["rank"]) == ("static", 1)
    assert (place["rdzv_endpoint"], place["run_id"]) == ("localhost:29500", "golf-train")


def test_ranks_that_machines_cannot_share_evenly_are_refused_by_their_key(second_node_env):
    with pytest.raises(GolfError, match=r"train\.ranks: 7 can't be shared out evenly over PET_NNODES=2 machines"):
        nodes.local_world_size("train", 7)


@pytest.mark.parametrize(("count", "own"), [("2", "2"), ("1:2", "0"), ("2", "-1"), ("", "0")])
def test_numbers_of_machines_that_are_none_are_refused(monkeypatch, count, own):
    monkeypatch.setenv("PET_NNODES", count)
    monkeypatch.setenv("PET_NODE_RANK", own)
    with pytest.raises(GolfError, match=r"PET_NNODES=.*, PET_NODE_RANK=.*: must be numbers, as 2 and 0, then 2 and 1"):
        nodes.launch_config("train", 2)


def test_machines_without_an_address_to_meet_at_are_refused_by_the_variable(second_node_env, monkeypatch):
    monkeypatch.delenv("PET_MASTER_PORT")
    with pytest.raises(GolfError, match=r"PET_MASTER_PORT: not set, and PET_NNODES=2 machines need it"):
        nodes.launch_config("train", 2)


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.fixture
def start_node():
    """Start a command as on one machine of two; whatever still runs at the end is ended."""
    running = []

    def begin(number: int, port: int, folder, *command: str) -> subprocess.Popen:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=tiny_project.isolated_env(folder) | machine(number, port),
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


def test_two_machines_train_what_one_trains_and_the_first_alone_writes(
    project_dir, start_node, port, tmp_path, monkeypatch
):
    monkeypatch.setenv("GOLF_RUNS", str(tmp_path / "runs"))
    before = losses(project_dir)
    shutil.rmtree(project_dir / "artifacts/train")
    tiny_project.set_params(project_dir, {"train.ranks": 2})
    other = tiny_project.copy_project(project_dir, tmp_path / "other")
    second = start_node(1, port, other, *stage("train"))
    said = ended(start_node(0, port, project_dir, *stage("train")))
    assert ended(second) == ""
    assert ", 2 ranks" in said
    assert not (other / "artifacts/train").exists()
    assert losses(project_dir) == pytest.approx(before, abs=1e-4)


def test_machines_with_unlike_params_are_refused_by_the_key_on_both(project_dir, start_node, port, tmp_path):
    tiny_project.set_params(project_dir, {"train.ranks": 2})
    other = tiny_project.copy_project(project_dir, tmp_path / "other")
    tiny_project.set_params(other, {"train.seed": 7})
    second = start_node(1, port, other, *stage("train"))
    for said in (ended(start_node(0, port, project_dir, *stage("train")), code=1), ended(second, code=1)):
        assert_single_error(said.replace("train: all 2 ranks stopped\n", ""), "train")
        assert said.count("train.seed: 314 on rank 0") == 1


REST = "for stage in train ttt calibrate evaluate; do python -m stages.$stage || exit; done"  # docs/machines.md


@pytest.mark.soak
def test_two_machines_in_a_shared_folder_make_bit_for_bit_what_one_makes(finished_run, start_node, port, tmp_path):
    folder = tiny_project.copy_project(finished_run, tmp_path / "shared")
    for name in tiny_project.STAGES[1:]:
        shutil.rmtree(folder / "artifacts" / name)
    tiny_project.set_params(folder, WHOLE)
    alone = tiny_project.copy_project(folder, tmp_path / "alone")
    for name in tiny_project.STAGES[1:]:
        tiny_project.run_stage_process(name, alone)
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.dvc(folder, "repro", "fetch")
    second = start_node(1, port, folder, "sh", "-c", REST)
    said = ended(start_node(0, port, folder, tiny_project.DVC_EXECUTABLE, "repro"))
    ended(second)
    assert said.count(", 2 ranks") == len(RANKED)
    same = [
        path
        for path in tiny_project.list_files(alone / "artifacts")
        if path.endswith((".safetensors", ".golf", "plan.json"))
    ]
    assert len(same) > 15
    unlike = [p for p in same if (alone / "artifacts" / p).read_bytes() != (folder / "artifacts" / p).read_bytes()]
    assert unlike == []
    metrics = [io.read_json(each / "artifacts/evaluate/metrics.json") for each in (alone, folder)]
    assert metrics[0]["val_bpb"] == metrics[1]["val_bpb"]
    assert tiny_project.dvc(folder, "status").strip().endswith("up to date.")


@pytest.mark.soak
def test_torchrun_itself_starts_ranks_on_two_machines(project_dir, start_node, port):
    tiny_project.set_params(project_dir, {"calibrate.ranks": 2})
    tiny_project.git(project_dir, "init", "--quiet")
    tiny_project.dvc(project_dir, "commit", "--force")
    hessians = (project_dir / "artifacts/calibrate/hessians.safetensors").stat().st_mtime_ns
    command = (TORCHRUN, "--nproc_per_node=1", "-m", "stages.calibrate")
    second = start_node(1, port, project_dir, *command)
    said = ended(start_node(0, port, project_dir, *command))
    ended(second)
    assert ", 2 ranks" in said
    assert (project_dir / "artifacts/calibrate/hessians.safetensors").stat().st_mtime_ns > hessians
    assert "calibrate" in tiny_project.dvc(project_dir, "status", "calibrate")
    tiny_project.dvc(project_dir, "commit", "--force", "calibrate")
    assert "calibrate" not in tiny_project.dvc(project_dir, "status", "calibrate")
