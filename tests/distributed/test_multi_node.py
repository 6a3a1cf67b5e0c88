"""Two machines, played by two process groups of this one"""

import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from golf.artifacts import io
from tests.helpers import tiny_project
from tests.helpers.stage_processes import assert_single_error

TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
STAGES_WITH_RANKS = ("train", "ttt", "calibrate", "evaluate")  # stages that can have several ranks
TWO_RANKS = {f"{stage}.ranks": 2 for stage in STAGES_WITH_RANKS}


def node_env(node: int, port: int) -> dict[str, str]:
    """What docs/distributed.md says to export on machine ``node`` of two."""
    return {
        "PET_NNODES": "2",
        "PET_NODE_RANK": str(node),
        "PET_MASTER_ADDR": "localhost",
        "PET_MASTER_PORT": str(port),
        "GOLF_PROBE_SEED": "00112233445566778899aabbccddeeff",
    }


@pytest.fixture
def port() -> int:
    with socket.socket() as free_socket:
        free_socket.bind(("localhost", 0))
        return free_socket.getsockname()[1]


@pytest.fixture
def start_node():
    """A function that starts a command as on one of two machines; what still runs after the test is killed."""
    running = []

    def start(node: int, port: int, folder, *command: str) -> subprocess.Popen:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=tiny_project.isolated_env(folder) | node_env(node, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.communicate()


def finish(process: subprocess.Popen, exit_code: int = 0) -> str:
    """Wait for a command to end with this code; return its output."""
    output, _ = process.communicate(timeout=240)
    assert process.returncode == exit_code, output
    return output


def stage_command(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"stages.{name}"


def losses(folder: Path) -> list[float]:
    with open(folder / "artifacts/train/log.csv", encoding="utf-8") as rows:
        return [float(row["loss"]) for row in csv.DictReader(rows)]


def test_two_machines_train_what_one_trains_and_only_the_first_writes(
    project_dir, start_node, port, tmp_path, monkeypatch
):
    monkeypatch.setenv("GOLF_RESUME_DIR", str(tmp_path / "runs"))
    before = losses(project_dir)
    shutil.rmtree(project_dir / "artifacts/train")
    tiny_project.set_params(project_dir, {"train.ranks": 2})
    other = tiny_project.copy_project(project_dir, tmp_path / "other")
    second = start_node(1, port, other, *stage_command("train"))
    output = finish(start_node(0, port, project_dir, *stage_command("train")))
    assert finish(second) == ""
    assert ", 2 ranks" in output
    assert not (other / "artifacts/train").exists()
    assert losses(project_dir) == pytest.approx(before, abs=1e-4)


def test_machines_with_unlike_params_are_refused_by_the_key_on_both(project_dir, start_node, port, tmp_path):
    tiny_project.set_params(project_dir, {"train.ranks": 2})
    other = tiny_project.copy_project(project_dir, tmp_path / "other")
    tiny_project.set_params(other, {"train.seed": 7})
    second = start_node(1, port, other, *stage_command("train"))
    for output in (
        finish(start_node(0, port, project_dir, *stage_command("train")), exit_code=1),
        finish(second, exit_code=1),
    ):
        assert_single_error(output.replace("train: all 2 ranks stopped\n", ""), "train")
        assert output.count("train.seed: 314 on rank 0") == 1


OTHER_STAGES = (
    "for stage in train ttt calibrate evaluate; do python -m stages.$stage || exit; done"  # docs/distributed.md
)


@pytest.mark.soak
def test_two_machines_in_a_shared_folder_make_bit_for_bit_what_one_makes(finished_run, start_node, port, tmp_path):
    folder = tiny_project.copy_project(finished_run, tmp_path / "shared")
    for name in tiny_project.STAGES[1:]:
        shutil.rmtree(folder / "artifacts" / name)
    tiny_project.set_params(folder, TWO_RANKS)
    single = tiny_project.copy_project(folder, tmp_path / "single")
    for name in tiny_project.STAGES[1:]:
        tiny_project.run_stage_process(name, single)
    tiny_project.git(folder, "init", "--quiet")
    tiny_project.dvc(folder, "repro", "fetch")
    second = start_node(1, port, folder, "sh", "-c", OTHER_STAGES)
    output = finish(start_node(0, port, folder, tiny_project.DVC_EXECUTABLE, "repro"))
    finish(second)
    assert output.count(", 2 ranks") == len(STAGES_WITH_RANKS)
    compared = [
        path
        for path in tiny_project.list_files(single / "artifacts")
        if path.endswith((".safetensors", ".golf", "plan.json"))
    ]
    assert len(compared) > 15
    different = [
        p for p in compared if (single / "artifacts" / p).read_bytes() != (folder / "artifacts" / p).read_bytes()
    ]
    assert different == []
    metrics = [io.read_json(run / "artifacts/evaluate/metrics.json") for run in (single, folder)]
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
    output = finish(start_node(0, port, project_dir, *command))
    finish(second)
    assert ", 2 ranks" in output
    assert (project_dir / "artifacts/calibrate/hessians.safetensors").stat().st_mtime_ns > hessians
    assert "calibrate" in tiny_project.dvc(project_dir, "status", "calibrate")
    tiny_project.dvc(project_dir, "commit", "--force", "calibrate")
    assert "calibrate" not in tiny_project.dvc(project_dir, "status", "calibrate")
